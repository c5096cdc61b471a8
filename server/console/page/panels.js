// What the page shows of a sample.

import { $, fillFigures, fillTable, number, say, setText } from "./table.js";
import { Plot } from "./plot.js";

const fields = (text) => Object.fromEntries(text.split(",").map((part) => {
  const at = part.indexOf("=");
  return [part.slice(0, at), part.slice(at + 1)];
}));

/** numbered are the lines of INFO of a name and a number, as objects. */
const numbered = (info, name) => Object.keys(info).filter((line) => new RegExp(`^${name}\\d+$`).test(line))
  .sort((a, b) => a.slice(name.length) - b.slice(name.length)).map((line) => fields(info[line]));

/** prefixed are the lines of INFO that begin with a prefix, as [rest of the name, object]. */
const prefixed = (info, prefix) => Object.keys(info).filter((line) => line.startsWith(prefix) && info[line].includes("="))
  .map((line) => [line.slice(prefix.length), fields(info[line])]);

export const micros = (us) => us === null || us === undefined ? "–" : us < 10_000 ? `${us < 10 ? us.toFixed(1) : number(Math.round(us))} µs` : `${number(Math.round(us / 1000))} ms`;

function duration(seconds) {
  const s = Number(seconds);
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.floor(s / 60)} min`;
  return s < 172_800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86_400)} days`;
}

const requests = new Plot($("#requests-plot"), "Requests a second", number, 1);
const latency = new Plot($("#latency-plot"), "Latency", micros, 2);

function plots(sample) {
  const last = sample.points.at(-1);
  setText($("#requests-now"), last ? number(last.requests) : "–");
  setText($("#mean-now"), micros(last?.mean));
  setText($("#p99-now"), micros(last?.p99));
  requests.draw([sample.points.map((p) => [p.at, p.requests])], sample.at);
  latency.draw([sample.points.map((p) => [p.at, p.mean]), sample.points.map((p) => [p.at, p.p99])], sample.at);
}

function nodes(info) {
  const committed = Number(info.raft_commit_index);
  fillTable($("#nodes"), numbered(info, "raft_member").map((m) => {
    const here = m.id === info.node_id;
    const role = m.leads === "1" ? "leader" : m.voter === "1" ? "follower" : "learner";
    const name = m.client || (here && info.node_label) || m.id.slice(0, 8);
    const up = m.up === "1";
    return [
      here ? `${name} (this node)` : name, role, { text: up ? "up" : "does not answer", class: up ? "good" : "bad" },
      { n: number(m.term) }, { n: number(m.applied) }, { n: up ? number(Math.max(0, committed - m.applied)) : "?" },
    ];
  }), "No members are known.");
  const role = info.raft_leader === "1" ? "leads" : info.raft_leader_id ? "follows" : "knows no leader";
  setText($("#node"), `${info.node_label || info.node_id.slice(0, 8)} ${role}, port ${info.tcp_port}, up ${duration(info.uptime_in_seconds)}, version ${info.quipu_version}`);
}

function figures(info) {
  fillFigures($("#memory dl"), [
    ["used", info.used_memory_human, "used_memory_human"],
    ["data, bytes", number(info.used_memory_dataset), "used_memory_dataset"],
    ["index of keys, bytes", number(info.data_index_bytes), "data_index_bytes"],
    ["clients, bytes", number(info.mem_clients_normal), "mem_clients_normal"],
    ["most so far", info.used_memory_peak_human, "used_memory_peak_human"],
    ["resident", info.used_memory_rss_human, "used_memory_rss_human"],
    ["limit (maxmemory)", info.maxmemory === "0" ? "none" : info.maxmemory_human, "maxmemory_human"],
    ["of the machine", info.total_system_memory_human, "total_system_memory_human"],
  ]);
  fillFigures($("#node-figures dl"), [
    ["clients", number(info.connected_clients), "connected_clients"],
    ["commands so far", number(info.total_commands_processed), "total_commands_processed"],
    ["refused", number(info.refused_commands), "refused_commands"],
    ["expired keys", number(info.expired_keys), "expired_keys"],
    ["free on disk, bytes", number(info.disk_free_bytes), "disk_free_bytes"],
    ["log since snapshot, bytes", number(info.log_bytes_since_snapshot), "log_bytes_since_snapshot"],
    ["answered ahead", number(info.local_ack_pending_increments), "local_ack_pending_increments"],
    ...numberedKeys(info),
  ]);
}

const numberedKeys = (info) => Object.keys(info).filter((line) => /^db\d+$/.test(line)).map((line) => [`keys in ${line}`, number(fields(info[line]).keys), line]);

function commands(info) {
  const rows = prefixed(info, "cmdstat_").sort(([, a], [, b]) => b.calls - a.calls).slice(0, 12);
  fillTable($("#commands"), rows.map(([name, c]) => {
    const p = fields(info[`latency_percentiles_usec_${name}`] ?? "");
    return [name, { n: number(c.calls) }, { n: c.usec_per_call }, { n: p.p50 ?? "–" }, { n: p.p99 ?? "–" }];
  }), "None were called.");
}

/** known is a number, or that it is not known: only the node that leads knows how far other regions are. */
const known = (n) => ({ n: n < 0 ? "?" : number(n) });

function regions(info) {
  setText($("#region"), info.region ? `This is region ${info.region}.` : "");
  fillTable($("#regions"), prefixed(info, "region_link_").map(([name, l]) => [
    name, { text: l.state, class: l.state === "connected" ? "good" : "" }, known(l.keys), known(l.age_ms), { n: number(l.rtt_us) }, { n: number(l.rows) },
  ]), info.region ? "No other region is named in the settings." : "This cluster is no region.");
}

function sources({ error, data }) {
  if (!say($("#sources"), error)) return;
  const rows = data.rows.map((s) => [s.name, { text: s.state ?? "nobody counts it now", class: s.reason ? "bad" : "" }, s.position, { n: s.lag === null ? "?" : number(s.lag) }]);
  if (data.count > data.rows.length) rows.push([`and ${number(data.count - data.rows.length)} more`, "", "", { n: "" }]);
  fillTable($("#sources"), rows, data.refused ?? "Nothing is counted from a log of events.");
}

function sinks({ error, data }) {
  if (!say($("#sinks"), error)) return;
  const behind = (n) => n === null ? "?" : n < 0 ? "reads all keys anew" : number(n);
  fillTable($("#sinks"), data.rows.map((s) => [s.name, { text: s.state, class: s.reason ? "bad" : "" }, { n: number(Math.round(s.rate)) }, { n: behind(s.behind) }]),
    data.refused ?? (data.searched ? "None tells of itself." : "None was found so far; the search goes through all keys."));
}

function warnings({ error, data }) {
  if (!say($("#warnings"), error)) return;
  fillTable($("#warnings"), data.map((w) => [new Date(w.at).toLocaleString(), { text: w.level, class: w.level === "WARN" ? "" : "bad" }, w.text]), "None since the start of the node.");
}

/** show shows a sample. */
export function show(sample) {
  plots(sample);
  const error = $("#info-error");
  error.hidden = !sample.info.error;
  setText(error, sample.info.error ?? "");
  if (sample.info.data) {
    for (const part of [nodes, figures, commands, regions]) part(sample.info.data);
  }
  const unknown = sample.hotkeys.error?.startsWith("ERR unknown command");
  $("#hotkeys .error").classList.toggle("dim", Boolean(unknown));
  if (say($("#hotkeys"), unknown ? "Not available: this node does not count them." : sample.hotkeys.error)) {
    fillTable($("#hotkeys"), sample.hotkeys.data.map((k) => [k.key, { n: k.db }, { n: number(k.reads) }, { n: number(k.writes) }, { n: number(k.operations) }]), "No key was used.");
  }
  sources(sample.sources);
  sinks(sample.sinks);
  warnings(sample.warnings);
}
