// What is served, how busy it is, and what an error means.
import { busy, ownModel, quantile } from "./api.js";
import { fill, find, make } from "./elements.js";
import { current, say } from "./texts.js";

const LOOK_MS = 5000;
const ABILITIES = [["fact_covariates", "future_covariates_how"], ["fact_variates", "multivariate_how"], ["fact_anomalies", "anomaly_detection_how"]];
const STATUSES = [400, 401, 403, 404, 405, 413, 415, 429, 500, 503, 504, 507];

/** Looks at the service now and then while the page is seen. */
export class Service {
  /** ``changed`` is called when the model's state is another one, and when the page is seen again. */
  constructor(changed) {
    this.changed = changed;
    this.model = null;
    this.load = null;
    this.down = false;
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState !== "visible") return;
      this.look();
      this.changed();
    });
    setInterval(() => document.visibilityState === "visible" && this.look(), LOOK_MS);
  }

  async look() {
    try {
      const before = this.model?.state;
      this.model = await ownModel();
      this.load = await busy();
      if (before && before !== this.model.state) this.changed();
      this.down = false;
    } catch (error) {
      this.down = error.status === 0;
    }
    this.render();
  }

  render() {
    const { model, load, down } = this;
    const serving = down ? say("unreachable") : model ? say("serves", { family: model.family, state: say(`state_${model.state}`) }) : "";
    if (find("serving").textContent !== serving) find("serving").textContent = serving; // it is read out when it changes
    find("dot").className = `dot ${down ? "down" : model?.state === "ready" ? "ready" : "loading"}`;
    if (model && load) fill(find("facts"), ...pairs(this.#facts(model, load)));
    fill(find("error-list"), ...pairs([0, ...STATUSES].map((status) => [status ? String(status) : "–", say(`error_${status}`)])));
  }

  #facts(model, load) {
    const count = (value) => value.toLocaleString(current());
    const { limits } = model;
    const half = quantile(load.buckets, 0.5);
    const latency = half === null ? say("nothing_yet") : say("fact_latency_words", { half: seconds(half), most: seconds(quantile(load.buckets, 0.99)) });
    const rows = [[say("fact_family"), [model.family, model.checkpoint].filter(Boolean).join(" · ")]];
    rows.push([say("fact_licence"), say("fact_licence_words", { licence: model.licence, use: say(`commercial_${model.commercial}`), year: model.year })]);
    if (model.max_context) rows.push([say("fact_context"), say("fact_points", { least: count(limits.min_rows), most: count(model.max_context) })]);
    if (model.path) rows.push([say("fact_arithmetic"), model.path]);
    for (const [name, key] of ABILITIES) if (model[key]) rows.push([say(name), say(`how_${model[key]}`)]);
    const words = { rows: count(limits.max_rows), steps: count(limits.max_horizon), queue: limits.queue, seconds: limits.deadline_s };
    rows.push(
      [say("fact_limits"), say("fact_limits_words", words)],
      [say("fact_queue"), `${load.waiting} / ${limits.queue}`],
      [say("fact_requests"), say("fact_requests_words", { good: count(load.good), bad: count(load.bad) })],
      [say("fact_latency"), latency],
      [say("fact_version"), `taos-tsfm ${model.version}`],
    );
    return rows;
  }
}

function pairs(rows) {
  return rows.flatMap(([name, value]) => [make("dt", { textContent: name }), make("dd", { textContent: value })]);
}

function seconds(value) {
  if (value === Infinity) return "> 60 s";
  return value < 1 ? `${Math.round(value * 1000)} ms` : `${value} s`;
}
