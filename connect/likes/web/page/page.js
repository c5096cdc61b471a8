// The page of the likes demo. The server tells it how things are (server-sent events, at most ten a second); it asks the
// server for three things: a like, the firehose, a kill.
import { Cords } from "./cords.js";
import { drawChart } from "./chart.js";

const $ = (id) => document.getElementById(id);
const count = new Intl.NumberFormat("en").format;
const text = (element, value) => { if (element.textContent !== value) element.textContent = value; };

async function ask(path, request) {
  const response = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(request) });
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}

// A visitor is one user, however often they like something: likes grow by each click, fans once.
function visitor(most) {
  let id = Number.parseInt(sessionStorage.getItem("visitor") ?? "", 10);
  if (!(id >= 0 && id < most)) {
    id = Math.floor(Math.random() * most);
    sessionStorage.setItem("visitor", String(id));
  }
  return id;
}

let cords;
let myself = 0;

function onHello(hello) {
  myself = visitor(hello.visitors);
  if (!cords) cords = new Cords($("cords"), hello.posts, like);
  text($("honest"), hello.honest);
}

// A like shows at once. The broker's answer says which of the post's likes it is; from when that many are counted, the
// count has it.
async function like(post) {
  const mine = cords.expect(post);
  try {
    mine.number = await ask("like", { post, visitor: myself });
  } catch {
    cords.forget(post, mine);
  }
}

function onNumbers(n) {
  text($("sent"), count(n.sent));
  text($("counted"), count(n.counted));
  text($("sql"), count(n.sql));
  const gap = (a, b, where) => (a === b ? where : a > b ? `${count(a - b)} to come` : `${count(b - a)} too many`);
  text($("counted-gap"), `${gap(n.sent, n.counted, "in Quipu")}, ${n.node ? `told by ${n.node}` : "looking for a node"}`);
  text($("sql-gap"), gap(n.counted, n.sql, "in SQLite").replace("too many", "ahead"));
  $("meet").classList.toggle("long", n.sent >= 10_000_000);
  const meet = n.sent === n.counted && n.counted === n.sql && n.waiting === 0;
  $("meet").classList.toggle("met", meet);
  let verdict = meet ? "They meet." : `${count(Math.max(n.sent, n.counted) - Math.min(n.sent, n.counted, n.sql))} on the way.`;
  if (n.waiting > 0 && n.trouble) verdict += ` ${count(n.waiting)} wait for the broker.`;
  if (n.held) verdict += " The firehose holds until they have met.";
  text($("verdict"), verdict);
  cords?.show(n.counts);
}

// The firehose is everybody's: what another page sets shows here, but not while it is being set here.
let setting = 0;
const rateOf = (at) => Math.max(1, Math.round(50000 ** (at / 1000)));
const placeOf = (rate) => Math.round((1000 * Math.log(rate)) / Math.log(50000));

function tidy(rate) { // two digits are enough
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(rate)) - 1);
  return Math.round(rate / unit) * unit;
}

function showFire(on, rate) {
  $("fire").checked = on;
  text($("fire-state"), on ? "on" : "off");
  text($("rate-text"), count(rate));
  $("rate").setAttribute("aria-valuetext", `${count(rate)} likes a second`);
}

function setFire() {
  const on = $("fire").checked;
  const rate = tidy(rateOf(Number($("rate").value)));
  showFire(on, rate);
  setting++;
  ask("firehose", { on, rate }).catch(() => {}).finally(() => setting--);
}

function onFire(fire) {
  if (setting > 0) return;
  $("rate").value = String(placeOf(fire.rate));
  showFire(fire.on, fire.rate);
}

const stateWords = { up: "runs", starting: "starts", down: "is down" };

function onParts(parts) {
  const list = $("parts");
  while (list.children.length < parts.length) list.append(document.createElement("li"));
  parts.forEach((part, i) => {
    const item = list.children[i];
    text(item, part.name);
    item.className = `${part.state}${part.leader ? " leader" : ""}`;
    item.title = `${part.name} ${stateWords[part.state]}${part.leader ? " and leads" : ""}, process ${part.pid}`;
    item.setAttribute("aria-label", item.title);
  });
  const target = {
    leader: parts.find((p) => p.leader && p.state === "up"),
    connector: parts.find((p) => p.kind === "connector" && p.state === "up"),
    broker: parts.find((p) => p.kind === "broker" && p.state === "up"),
  };
  for (const button of document.querySelectorAll("[data-kill]")) {
    const part = target[button.dataset.kill];
    button.disabled = !part;
    const one = button.dataset.kill === "connector" ? "one of two" : part && `${part.kind === "broker" ? "" : `${part.name}, `}pid ${part.pid}`;
    text(button.querySelector("small"), part ? one : "comes back …");
  }
}

const node = (name, className, value) => {
  const e = document.createElement(name);
  e.className = className;
  e.textContent = value;
  return e;
};

// entry shows a kill: what was killed, and, when that is known, what it has cost.
function entry(item, kill) {
  const words = [node("b", "who", kill.name), ` was ended by kill -9 ${kill.pid}. `];
  if (!kill.back) words.push(node("span", "dim", "It comes back …"));
  else words.push(`Back after ${kill.back}. `);
  if (kill.outcome) words.push(node("strong", kill.good ? "good" : "bad", `${kill.outcome}.`), node("span", "detail", kill.detail));
  else if (kill.back) words.push(node("span", "dim", "Comparing …"));
  const text = document.createElement("p");
  text.append(...words);
  item.replaceChildren(node("time", "", kill.at), text);
}

// Only what is new changes: a screen reader reads that.
function onLog(kills) {
  const list = $("log");
  if (kills.length > 0) list.querySelector(".none")?.remove();
  for (const kill of kills) {
    let item = list.querySelector(`[data-number="${kill.number}"]`);
    if (!item) {
      item = document.createElement("li");
      item.dataset.number = kill.number;
      list.prepend(item);
    }
    const state = JSON.stringify(kill);
    if (item.dataset.state !== state) entry(item, kill);
    item.dataset.state = state;
  }
  for (const item of list.querySelectorAll("[data-number]")) {
    if (!kills.some((kill) => String(kill.number) === item.dataset.number)) item.remove();
  }
}

function onSketches(s) {
  cords?.showFans(s.fans);
  if (!s.top?.length) return;
  const rows = s.top.map((t) => {
    const item = document.createElement("li");
    const title = document.createElement("span");
    title.className = "title";
    title.textContent = t.title;
    const estimate = document.createElement("span");
    estimate.textContent = count(t.estimate);
    const exact = document.createElement("small");
    exact.textContent = t.estimate === t.exact ? "exact" : count(t.exact);
    item.append(title, estimate, exact);
    return item;
  });
  $("top").replaceChildren(...rows);
}

function listen() {
  const source = new EventSource("events");
  const on = (kind, show) => source.addEventListener(kind, (event) => show(JSON.parse(event.data)));
  on("hello", onHello);
  on("numbers", onNumbers);
  on("firehose", onFire);
  on("parts", onParts);
  on("log", onLog);
  on("sketches", onSketches);
  on("chart", (chart) => drawChart($("chart"), $("chart-max"), chart));
  source.onopen = () => { $("offline").hidden = true; };
  source.onerror = () => {
    $("offline").hidden = false;
    text($("offline"), "The demo does not answer. The page goes on by itself when it is back.");
  };
}

$("fire").addEventListener("change", setFire);
$("rate").addEventListener("input", () => {
  const rate = tidy(rateOf(Number($("rate").value)));
  showFire($("fire").checked, rate);
});
$("rate").addEventListener("change", setFire);
for (const button of document.querySelectorAll("[data-kill]")) {
  button.addEventListener("click", () => ask("kill", { what: button.dataset.kill }).catch(() => {}));
}
listen();
