// The anomalies of a series: marks on the chart, a list to go through, a file of all judged points.
import { moment, number } from "./chart.js";
import { fill, find, make, percent, quoted, swatch } from "./elements.js";
import { say } from "./texts.js";

/** The results that have judged the series, as layers of the chart. */
export function marks(results) {
  return judging(results).map(({ name, color, judged }) => ({ name: `${name} ${say("marked")}`, color, points: unlikely(judged), marks: true }));
}

/** A sentence for each model: how many points are anomalies, were judged, and were not. */
export function found(results, level) {
  return judging(results).map(({ name, judged: { points } }) => {
    const [count, judged] = [points.filter(({ anomaly }) => anomaly).length, points.filter(({ score }) => score !== null).length];
    const not = points.filter(({ anomaly }) => anomaly === null).length;
    const words = say("anomalies_words", { model: name, count, judged, level: percent(level) });
    return not ? `${words} ${say("not_judged", { count: not })}` : words;
  });
}

/** The list, in the order of time; ``look`` is called with the point that a person chose. */
export function renderAnomalies(results, timed, level, look) {
  const rows = judging(results).flatMap((result) => unlikely(result.judged).map((point) => ({ ...point, result })));
  rows.sort((one, other) => one.x - other.x);
  find("anomalies-card").hidden = !judging(results).length;
  fill(find("anomalies-notes"), ...found(results, level).map((textContent) => make("li", { textContent })));
  find("anomalies-list").hidden = !rows.length;
  const names = [timed ? "time" : "row", "model", "value", "expected", "interval", "score"];
  const head = names.map((name) => make("th", { scope: "col", textContent: say(name) }));
  const body = rows.map((row) => make("tr", {}, ...cells(row, timed, look)));
  find("anomalies").replaceChildren(make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body));
}

function cells({ result, ...point }, timed, look) {
  const show = make("button", { type: "button", className: "link", textContent: moment(point.x, timed), title: say("look_at") });
  show.addEventListener("click", () => look(point, result.name));
  const texts = [number(point.value), number(point.expected), bounds(point), number(point.score)];
  return [
    make("th", { scope: "row" }, show),
    make("td", {}, swatch(result.color), result.name),
    ...texts.map((textContent) => make("td", { textContent })),
  ];
}

/** ``23.47 … 26.16`` */
export function bounds({ lower, upper }) {
  return `${number(lower)} … ${number(upper)}`;
}

/** All points with all digits; an empty cell is a missing value, or a point that is not judged. */
export function judgedCsv(results, timed) {
  const rows = judging(results).flatMap(({ name, judged }) => judged.points.map((point) => {
    const values = [point.value, point.expected, point.lower, point.upper, point.score, point.anomaly];
    return [quoted(name), moment(point.x, timed), ...values.map((value) => value ?? "")].join(",");
  }));
  return [`model,${timed ? "time" : "row"},value,expected,lower,upper,score,anomaly`, ...rows, ""].join("\n");
}

function judging(results) {
  return results.filter(({ judged }) => judged);
}

function unlikely({ points }) {
  return points.filter(({ anomaly }) => anomaly);
}
