// Keys by prefix, a page at a time.

import { $, fillTable, number, say, setText } from "./table.js";

const section = $("#keys"), more = $("#more"), said = $("#keys-said");
let asked = null, cursor = "0";

function expires(ms) {
  if (ms === null) return "";
  if (ms < 0) return "never";
  return ms < 120_000 ? `${Math.ceil(ms / 1000)} s` : ms < 7_200_000 ? `${Math.floor(ms / 60_000)} min` : `${number(Math.floor(ms / 3_600_000))} h`;
}

/** browse shows the page behind the cursor, and calls lost when the login is over. */
async function browse(lost) {
  more.disabled = true;
  const query = new URLSearchParams({ ...asked, cursor });
  let page;
  try {
    const answer = await fetch(`keys?${query}`);
    if (answer.status === 401) return lost();
    if (!answer.ok) throw new Error(await answer.text());
    page = await answer.json();
  } catch (error) {
    say(section, error.message);
    more.disabled = asked === null;
    return;
  }
  cursor = page.cursor;
  if (say(section, page.error)) {
    fillTable(section, page.rows.map((r) => [
      r.key, r.type, r.cut ? `${r.value} … and ${number(r.cut)} bytes` : r.value, { n: expires(r.ttl) },
    ]), "None here.");
  }
  const end = cursor === "0";
  setText(said, `${page.rows.length} shown. ${end ? "These are the last." : "There may be more: go on."}`);
  more.disabled = end;
}

/** start wires the form. */
export function start(lost) {
  $("#keys-form").addEventListener("submit", (event) => {
    event.preventDefault();
    asked = { prefix: $("#prefix").value, db: $("#db").value };
    cursor = "0";
    browse(lost);
  });
  more.addEventListener("click", async () => {
    await browse(lost);
    if (more.disabled) $("#prefix").focus();
  });
}

/** clear forgets what was shown, when somebody else may look. */
export function clear() {
  asked = null;
  more.disabled = true;
  fillTable(section, [], "");
  $("table", section).hidden = true;
  setText(said, "By SCAN, about fifty at a time.");
}
