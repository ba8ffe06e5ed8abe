// The backtest of all chosen models: a table of errors, time and memory, and the winner.
import { fill, find, make, percent, swatch } from "./elements.js";
import { METRICS } from "./forecasts.js";
import { say } from "./texts.js";

/** Draw the table, or hide it where nothing was tested. */
export function renderScores(results, asked) {
  const tested = results.filter((result) => result.tested).map(({ name, color, tested: one }) => ({ name, color, ...one }));
  find("scores-card").hidden = !tested.length;
  if (!tested.length) return;
  const { horizon, interval, windows } = asked;
  const naive = { name: `${say("seasonal_naive")} (${say("season", { length: tested[0].season })})`, color: "#8a95a3", scores: tested[0].naive };
  const rows = [...tested, naive];
  const hints = [winner(rows), say("scores_hint", { windows, steps: horizon, level: percent(interval) })];
  fill(find("scores-hint"), ...hints.flatMap((text, index) => (index ? [" ", text] : [make("strong", { textContent: text })])));
  const names = ["model", ...METRICS, "seconds", "memory"].map((name) => make("th", { scope: "col", textContent: say(name) }));
  const body = rows.map((row) => make("tr", {},
    make("th", { scope: "row" }, swatch(row.color), row.name),
    ...METRICS.map((metric) => score(rows, row, metric, interval)),
    make("td", { textContent: row.seconds?.toFixed(2) ?? "–" }),
    make("td", { textContent: row.memory === undefined ? "–" : `${row.memory} MiB` })));
  find("scores").replaceChildren(make("thead", {}, make("tr", {}, ...names)), make("tbody", {}, ...body));
}

function score(rows, { scores }, metric, interval) {
  // How far a score is from the best possible one; a metric is null where there is nothing to divide by.
  const distance = (value) => (value === null ? Infinity : Math.abs(value - (metric === "coverage" ? interval : 0)));
  const best = Math.min(...rows.map((row) => distance(row.scores[metric])));
  const value = scores[metric];
  const text = value === null ? "–" : metric === "coverage" ? percent(value) : value.toFixed(3);
  return make("td", { textContent: text, className: distance(value) === best ? "best" : "" });
}

/** Who has the smallest error, and by how much: by MASE, or by WQL where the series has no scale for MASE. */
function winner(rows) {
  const metric = rows.every(({ scores }) => scores.mase !== null) ? "mase" : "wql";
  const known = rows.filter(({ scores }) => scores[metric] !== null);
  if (!known.length) return "";
  const [first, second] = known.sort((one, other) => one.scores[metric] - other.scores[metric]);
  const [value, other] = [first.scores[metric], second.scores[metric]];
  const words = { metric: say(metric), model: first.name, value: value.toFixed(3), next: second.name, other: other.toFixed(3) };
  return say(value === other ? "tie" : "winner", { ...words, less: percent(1 - value / other) });
}
