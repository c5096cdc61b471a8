// Parts of the page that several panels use. Text from the node only ever becomes textContent.

export const $ = (selector, from = document) => from.querySelector(selector);

export const number = (n) => Number(n).toLocaleString("en-US");

/** setText changes an element only where it says something else: so a selection stays, and nothing is drawn for nothing. */
export function setText(element, text) {
  text = String(text);
  if (element.textContent !== text) element.textContent = text;
}

/** fillTable gives a section's table these rows. A cell is a text, or {text, n: a number, class}. */
export function fillTable(section, rows, empty) {
  const table = $("table", section);
  const body = table.tBodies[0];
  const columns = table.tHead.rows[0].cells.length;
  if (rows.length === 0) rows = [[{ text: empty, class: "empty", span: columns }]];
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((cells, i) => {
    const row = body.rows[i] ?? body.insertRow();
    while (row.cells.length > cells.length) row.deleteCell(-1);
    cells.forEach((value, j) => {
      const cell = row.cells[j] ?? row.insertCell();
      const of = typeof value === "object" ? value : { text: value };
      setText(cell, of.text ?? of.n);
      cell.className = [of.n !== undefined ? "n" : "", of.class ?? ""].join(" ").trim();
      cell.colSpan = of.span ?? 1;
    });
  });
}

/** say shows why a section has no figures, and hides its table meanwhile. */
export function say(section, error) {
  const text = $(":scope > .error", section);
  text.hidden = !error;
  setText(text, error ?? "");
  $("table", section).hidden = Boolean(error);
  return !error;
}

/** fillFigures gives a list these figures: [name, value, the line of INFO that it is]. */
export function fillFigures(list, figures) {
  for (const [name, value, line] of figures) {
    let at = $(`[data-info="${line}"]`, list);
    if (!at) {
      const group = document.createElement("div");
      const term = document.createElement("dt");
      at = document.createElement("dd");
      at.dataset.info = line;
      term.textContent = name;
      group.append(term, at);
      list.append(group);
    }
    setText(at, value);
  }
}
