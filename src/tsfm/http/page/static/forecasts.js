// Requests for a series, and what their answers say, in the form that the page shows.
import { Failure, infer } from "./api.js";

const MOST_TO_FILL = 8192; // points of one request for imputation
export const DETECTION = "anomaly_detection";
export const METRICS = ["mase", "rmsse", "wql", "coverage"];

/** Quantile levels of an interval around the median: 0.8 gives [0.1, 0.5, 0.9]. */
export function levels(interval) {
  const tail = Number(((1 - interval) / 2).toFixed(6));
  return [tail, 0.5, Number((1 - tail).toFixed(6))];
}

/** The fields of a request with the newest points that the model accepts. */
export function request(series, model, asked, task = model.task) {
  const most = task === "imputation" ? Math.min(model.limits.max_rows, MOST_TO_FILL) : model.limits.max_rows;
  const input = { item_id: series.name.slice(0, 200), target: series.values.slice(-most) };
  const parameters = {};
  if (series.timed && series.freq) {
    input.start = series.times.slice(-most)[0];
    parameters.freq = series.freq;
  }
  if (task === DETECTION) parameters.level = asked.level;
  if (task === "forecast") {
    parameters.prediction_length = asked.horizon;
    parameters.quantile_levels = levels(asked.interval);
  }
  return { inputs: [input], parameters };
}

/** A model's forecast: {points, warnings}. */
export async function forecast(series, model, asked) {
  const answer = await infer(model, "forecast", request(series, model, asked));
  const prediction = only(answer);
  const xs = ahead(series, asked.horizon, prediction.timestamps);
  return { points: quantiles(prediction, xs, asked), warnings: warnings(answer, prediction) };
}

/** A model's forecasts of the last windows, their errors, and the time that they took: {points, scores, naive, season, seconds}. */
export async function backtest(series, model, asked) {
  const fields = request(series, model, asked);
  Object.assign(fields.parameters, { n_windows: asked.windows, step_size: asked.horizon });
  const begun = performance.now();
  const prediction = only(await infer(model, "cross_validation", fields));
  const seconds = (performance.now() - begun) / 1000;
  const first = series.values.length - fields.inputs[0].target.length;
  const places = (window) => series.xs.slice(first + window.cutoff, first + window.cutoff + asked.horizon);
  return {
    points: prediction.windows.flatMap((window) => quantiles(window, places(window), asked)),
    scores: scores(prediction.metrics, asked),
    naive: scores(prediction.seasonal_naive, asked),
    season: prediction.season_length,
    seconds,
  };
}

/** The metrics of the page; coverage is that of the interval between two levels. */
function scores({ mase, rmsse, wql, coverage }, asked) {
  const [low, , high] = levels(asked.interval);
  return { mase, rmsse, wql, coverage: coverage[high] === undefined ? null : coverage[high] - coverage[low] };
}

/** A model's values in the gaps: {points, warnings}. */
export async function imputation(series, model) {
  const fields = request(series, model, {});
  const answer = await infer(model, "imputation", fields);
  const prediction = only(answer);
  const first = series.values.length - fields.inputs[0].target.length;
  const points = prediction.target
    .map((median, index) => ({ x: series.xs[first + index], median, filled: prediction.mask[index] === 1 }))
    .filter((point) => point.filled);
  return { points, warnings: warnings(answer, prediction) };
}

/** A model's judgement of each point: {points: [{x, value, expected, lower, upper, score, anomaly}], warnings}. */
export async function anomalies(series, model, asked) {
  const fields = request(series, model, asked, DETECTION);
  const answer = await infer(model, DETECTION, fields);
  const prediction = only(answer);
  const { target } = fields.inputs[0];
  const first = series.values.length - target.length;
  const names = ["expected", "lower", "upper", "score", "anomaly"];
  const points = target.map((value, index) => ({
    x: series.xs[first + index],
    value,
    ...Object.fromEntries(names.map((name) => [name, prediction[name][index]])),
  }));
  return { points, warnings: warnings(answer, prediction) };
}

function only(answer) {
  const [prediction] = answer.predictions;
  if (prediction.error) throw new Failure(400, prediction.error);
  return prediction;
}

function warnings(answer, prediction) {
  return [...(answer.warnings ?? []), ...(prediction.warnings ?? [])];
}

function quantiles(prediction, xs, asked) {
  const [low, , high] = levels(asked.interval);
  return xs.map((x, step) => ({
    x,
    median: prediction["0.5"][step],
    lower: prediction[String(low)][step],
    upper: prediction[String(high)][step],
  }));
}

/** The places of the steps ahead on the axis. */
function ahead(series, count, timestamps) {
  const last = series.xs.at(-1);
  const step = usualStep(series.xs);
  if (!series.timed || !timestamps) return Array.from({ length: count }, (_, k) => last + step * (k + 1));
  const given = timestamps.map((time) => Date.parse(`${time}Z`) / 1000);
  // The service counts from the first point; where rows are missing, it has not come as far as the last one.
  const shift = given[0] > last ? 0 : last + step - given[0];
  return given.map((x) => x + shift);
}

function usualStep(xs) {
  const steps = xs.slice(1).map((x, index) => x - xs[index]);
  return steps.sort((a, b) => a - b)[steps.length >> 1] || 1;
}
