// Bars of the last minute, drawn as one path.

const width = 600;
const height = 180;
const count = new Intl.NumberFormat("en").format;

// nice is a round number that is not below most.
function nice(most) {
  const unit = 10 ** Math.floor(Math.log10(Math.max(most, 10)));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((n) => n * unit).find((n) => n >= most);
}

export function drawChart(svg, label, chart) {
  const values = chart.values;
  const most = nice(Math.max(...values));
  const step = width / values.length;
  let bars = "";
  values.forEach((value, i) => {
    const h = value > 0 ? Math.max(1.5, (value / most) * height) : 0;
    if (h > 0) bars += `M${(i * step + 1).toFixed(1)} ${height}v${(-h).toFixed(1)}h${(step - 2.4).toFixed(1)}v${h.toFixed(1)}z`;
  });
  svg.querySelector(".bars").setAttribute("d", bars);
  svg.querySelector(".grid").setAttribute("d", [0, 0.5, 1].map((y) => `M0 ${y * height}H${width}`).join(""));
  label.textContent = count(most);
  const recent = values.at(-3); // the last seconds are not complete yet
  svg.setAttribute("aria-label", `Likes a second in the last minute: at most ${count(Math.max(...values))}, lately ${count(recent)}`);
}
