// Lines over the last five minutes, as SVG.

const WIDTH = 600, HEIGHT = 140, SPAN = 300_000, GAP = 4000; // ms
const NS = "http://www.w3.org/2000/svg";

const make = (name, attributes, to) => {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  to.append(element);
  return element;
};

/** round makes a number the next of 1, 2, 5 times a power of ten. */
export function round(n) {
  if (!(n > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(n));
  return [1, 2, 5, 10].find((step) => step * power >= n * 0.9999999) * power;
}

/** path is the line of points [time, value]; a value that is not known, or a long time without one, is a gap. */
export function path(points, from, top) {
  let text = "", last = null;
  for (const [at, value] of points) {
    if (value === null || value === undefined) { last = null; continue; }
    if (at < from) continue;
    const x = ((at - from) / SPAN * WIDTH).toFixed(1), y = (HEIGHT - Math.min(1, value / top) * HEIGHT).toFixed(1);
    text += `${last !== null && at - last < GAP ? "L" : "M"}${x} ${y}`;
    if (last === null || at - last >= GAP) text += `h.01`;
    last = at;
  }
  return text;
}

/** Plot draws lines into an element. */
export class Plot {
  constructor(at, name, format, lines) {
    this.name = name;
    this.format = format;
    this.top = document.createElement("p");
    this.top.className = "axis";
    this.top.ariaHidden = "true";
    at.append(this.top);
    this.svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" }, at);
    for (const y of [0, HEIGHT / 2, HEIGHT]) make("line", { class: "grid", x1: 0, x2: WIDTH, y1: y, y2: y }, this.svg);
    this.paths = Array.from({ length: lines }, (_, i) => make("path", { class: i ? "second" : "first" }, this.svg));
    const axis = document.createElement("p");
    axis.className = "axis";
    axis.ariaHidden = "true";
    for (const text of ["5 min ago", "now"]) {
      const end = document.createElement("span");
      end.textContent = text;
      axis.append(end);
    }
    at.append(axis);
  }

  /** draw shows lines of [time, value] up to a time. */
  draw(lines, now) {
    const from = now - SPAN;
    const known = lines.flat().filter(([at, value]) => at >= from && value !== null && value !== undefined).map(([, value]) => value);
    const most = Math.max(0, ...known);
    const top = round(most);
    this.top.textContent = this.format(top);
    lines.forEach((points, i) => this.paths[i].setAttribute("d", path(points, from, top)));
    this.svg.setAttribute("aria-label", `${this.name}: at most ${this.format(most)} in the last five minutes`);
  }
}
