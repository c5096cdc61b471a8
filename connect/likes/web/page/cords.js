// Cords that hang from a main cord, one a post, each knotted with its count: a place of the decimal number is a cluster of as many
// knots as its digit, the highest on top; the ones are one long knot of as many turns, as on the quipus of the Inca.

const svgNS = "http://www.w3.org/2000/svg";
const count = new Intl.NumberFormat("en").format;
const height = 236;
const top = 16; // of the first place
const leastPlaces = 4;

const element = (name, attributes = {}) => {
  const e = document.createElementNS(svgNS, name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  return e;
};

const html = (name, className, text = "") => {
  const e = document.createElement(name);
  e.className = className;
  e.textContent = text;
  return e;
};

export class Cords {
  constructor(root, posts, like) {
    this.places = 0;
    this.list = posts.map((post, i) => new Cord(post, i, like));
    root.replaceChildren(...this.list.map((cord) => cord.root));
  }

  // expect shows a like before it is counted; number is which of the post's likes it is, once that is known.
  expect(post) {
    const cord = this.list.find((c) => c.post === post);
    const mine = { number: Infinity };
    cord.mine.push(mine);
    cord.sway();
    this.draw();
    return mine;
  }

  forget(post, mine) {
    const cord = this.list.find((c) => c.post === post);
    cord.mine = cord.mine.filter((m) => m !== mine);
    this.draw();
  }

  show(counts) {
    this.list.forEach((cord, i) => cord.counted(counts[i]));
    this.draw();
  }

  draw() {
    const values = this.list.map((cord) => cord.value());
    const places = Math.max(leastPlaces, ...values.map((v) => String(v).length));
    this.list.forEach((cord, i) => cord.draw(values[i], places));
  }

  showFans(fans) {
    this.list.forEach((cord, i) => cord.showFans(fans[i]));
  }
}

class Cord {
  constructor(post, i, like) {
    this.post = post.id;
    this.mine = [];
    this.count = 0;
    this.drawn = []; // digits by place, the ones last
    this.root = html("article", `cord dye${i + 1}`);
    this.svg = element("svg", { viewBox: `0 0 40 ${height + 30}`, "aria-hidden": "true" });
    this.svg.append(element("path", { class: "strand", d: `M20 0V${height + 18}M20 ${height + 18}l-3 9M20 ${height + 18}l0 11M20 ${height + 18}l3 9` }));
    this.number = html("p", "number", "0");
    this.title = html("h3", "title", post.title);
    this.button = html("button", "like");
    this.button.type = "button";
    this.button.dataset.post = post.id;
    this.button.setAttribute("aria-label", `Like ${post.title}`);
    const heart = element("svg", { viewBox: "0 0 24 22", "aria-hidden": "true" });
    heart.append(element("path", { d: "M12 21C5 15.5 1 11.700 1 7.200 1 3.800 3.600 1.500 6.600 1.500c2.100 0 4.100 1.200 5.400 3.300 1.300-2.100 3.300-3.300 5.400-3.300 3 0 5.600 2.300 5.600 5.700 0 4.500-4 8.300-11 13.800z" }));
    this.button.append(heart, "Like");
    this.button.addEventListener("click", () => like(this.post));
    this.fans = html("p", "fans", "no fans");
    this.root.append(this.svg, this.number, this.title, this.button, this.fans);
  }

  counted(n) {
    this.count = n;
    this.mine = this.mine.filter((m) => m.number > n);
  }

  value() { return this.count + this.mine.length; }

  sway() {
    this.svg.classList.remove("sway");
    void this.svg.getBoundingClientRect(); // so that the animation begins anew
    this.svg.classList.add("sway");
  }

  draw(value, places) {
    if (value === this.shown && places === this.places) return;
    if (places !== this.places) this.retie(places);
    this.shown = value;
    this.number.textContent = count(value);
    const digits = String(value).padStart(places, "0");
    for (let place = 0; place < places; place++) {
      const digit = Number(digits[place]);
      if (digit === this.drawn[place]) continue;
      this.drawn[place] = digit;
      this.clusters[place].replaceChildren(...knots(digit, place === places - 1, height / places));
    }
  }

  // retie makes room for another number of places.
  retie(places) {
    this.places = places;
    this.drawn = [];
    for (const cluster of this.clusters ?? []) cluster.remove();
    this.clusters = Array.from({ length: places }, (_, place) =>
      element("g", { class: "knots", transform: `translate(20 ${top + (place * height) / places})` }));
    this.svg.append(...this.clusters);
  }

  showFans(fans) {
    if (!fans || fans.exact === 0) return;
    const words = [count(fans.estimate), count(fans.exact)];
    if (this.fanWords === words.join()) return;
    this.fanWords = words.join();
    this.fans.replaceChildren(html("span", "", words[1] === "1" ? "fan" : "fans"), html("span", "", `≈ ${words[0]}`), html("span", "", `= ${words[1]}`));
  }
}

// knots of one place, within its room.
function knots(digit, ones, room) {
  const step = Math.min(8, (room - 7) / 9);
  const ry = (step * 0.56).toFixed(2);
  const long = ones && digit > 1; // turns that touch each other
  return Array.from({ length: digit }, (_, i) =>
    element("ellipse", { cx: 0, cy: (i * step * (long ? 0.82 : 1)).toFixed(1), rx: long ? 7.4 : 6.2, ry }));
}
