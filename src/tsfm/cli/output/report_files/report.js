// The file that --output writes: the page's chart for each series, drawn when it comes into view.
import { COLORS, Chart } from "./chart.js";
import { make, save } from "./elements.js";
import { preferred, say, translate } from "./texts.js";

const { title } = document;
translate(preferred());
document.title = title;

const soon = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    soon.unobserve(target);
    draw(target, JSON.parse(target.querySelector("script").textContent));
  }
}, { rootMargin: "400px" });
for (const card of document.querySelectorAll("[data-plot]")) soon.observe(card);

function draw(card, { name, xs, timed, values, layers, marks, shown }) {
  const lines = layers.map((layer, at) => ({
    ...layer,
    color: COLORS[at % COLORS.length],
    points: layer.xs.map((x, k) => ({ x, median: layer.median[k], lower: layer.lower[k], upper: layer.upper[k] })),
  }));
  const points = marks.map(([x, value]) => ({ x, value }));
  const all = points.length ? [...lines, { name: say("marked"), color: COLORS[4], marks: true, points }] : lines;
  const chart = new Chart(card.querySelector(".chart"));
  chart.show({ name, xs, timed, values }, all);
  if (shown) chart.see(xs.at(-Math.min(shown, xs.length)), chart.full[1]);
  const button = (textContent, label, act) => {
    const made = make("button", { type: "button", textContent, title: say(label), "aria-label": say(label) });
    made.addEventListener("click", act);
    return made;
  };
  card.querySelector(".tools").append(
    button("+", "zoom_in", () => chart.zoom(0.5)),
    button("−", "zoom_out", () => chart.zoom(2)),
    button("‹", "earlier", () => chart.move(-0.25)),
    button("›", "later", () => chart.move(0.25)),
    button(say("zoom_reset"), "zoom_reset", () => chart.all()),
    button("PNG", "save_png", async () => save(`${name}.png`, await chart.picture(name, all))),
  );
  card.dataset.drawn = all.length;
}
