// The page: what a person does, in order. The other modules know nothing of each other's elements.
import { hasToken, models as findModels, onToken } from "./api.js";
import { COLORS, Chart, moment, number } from "./chart.js";
import { Data } from "./data.js";
import { fill, find, make, save, swatch } from "./elements.js";
import { METRICS, backtest, forecast, imputation, request } from "./forecasts.js";
import { Service } from "./service.js";
import { curl, isLong, python, sql } from "./snippets.js";
import { TEXTS, current, preferred, say, translate } from "./texts.js";

const state = { models: [], chosen: new Set(), results: [], asked: null, failures: [], busy: false };
const chart = new Chart(find("chart"));
const data = new Data(dataChanged, showFailure);
const service = new Service(refresh);

// Models

async function loadModels() {
  state.models = await findModels();
  const running = state.models.filter((model) => model.task === own().task && state.chosen.has(model.family));
  state.chosen = new Set((running.length ? running : [own()]).map((model) => model.family));
  find("horizon").max = own().limits.max_horizon;
  renderModels();
}

/** The models of the host may have come and gone, and the own one may be ready now. */
async function refresh() {
  try {
    await loadModels();
    if (!data.table) await data.loadSample();
  } catch (error) {
    showFailure(error);
  }
}

function own() {
  return state.models.find((model) => model.own);
}

function fills() {
  return own()?.task === "imputation";
}

function chosenModels() {
  return state.models.filter((model) => state.chosen.has(model.family));
}

function color(family) {
  return COLORS[state.models.findIndex((model) => model.family === family) % COLORS.length];
}

function renderModels() {
  const able = state.models.filter((model) => model.task === own().task);
  fill(find("models"), ...state.models.map((model) => make("li", {}, able.includes(model) ? choice(model) : link(model))));
  find("models-hint").hidden = able.length < 2;
  find("forecast-options").hidden = fills();
  renderButton();
}

function choice(model) {
  const usable = model.state === "ready" || model.own;
  const box = make("input", { type: "checkbox", value: model.family, checked: state.chosen.has(model.family), disabled: !usable });
  box.addEventListener("change", () => {
    state.chosen[box.checked ? "add" : "delete"](model.family);
    renderButton();
  });
  const what = model.state === "token" ? say("another_token") : usable ? (model.checkpoint ?? "") : say(`state_${model.state}`);
  return make("label", {}, box, make("span", {}, swatch(color(model.family)), model.family, " ", make("span", { className: "what", textContent: what })));
}

/** A model of another task: its own page shows it. */
function link(model) {
  const href = `${location.protocol}//${location.hostname}:${model.port}/`;
  return make("span", { className: "what" }, `${model.family} · `, make("a", { href, textContent: say("open_page") }));
}

// Data and requests

function dataChanged() {
  state.results = [];
  state.asked = null;
  showFailures([]);
  render();
}

function asked() {
  return {
    horizon: find("horizon").valueAsNumber,
    interval: Number(find("interval").value),
    windows: find("backtest").checked ? find("windows").valueAsNumber : 0,
  };
}

async function run(event) {
  event.preventDefault();
  const invalid = fills() ? null : [find("horizon"), find("windows")].find((field) => field.offsetParent && !field.checkValidity());
  if (invalid) return void invalid.reportValidity();
  if (state.busy || !data.series) return;
  const [series, wanted, chosen] = [data.series, asked(), chosenModels()];
  showFailures([]);
  setBusy(true);
  const results = await Promise.all(chosen.map((model) => one(series, model, wanted)));
  setBusy(false);
  if (series.values !== data.series?.values) return; // other data was read meanwhile
  state.asked = wanted;
  state.results = results.filter((result) => !result.error);
  showFailures(results.filter((result) => result.error));
  render();
  announce();
  service.look();
}

/** All that one model answers, or its error. */
async function one(series, model, wanted) {
  const shown = { model, name: model.family, color: color(model.family) };
  try {
    if (fills()) return { ...shown, ...(await imputation(series, model)), bare: true };
    const tested = wanted.windows ? backtest(series, model, wanted) : null;
    return { ...shown, ...(await forecast(series, model, wanted)), tested: await tested };
  } catch (error) {
    return { ...shown, error };
  }
}

function setBusy(busy) {
  state.busy = busy;
  document.body.setAttribute("aria-busy", busy);
  if (busy) find("live").textContent = say("running");
  renderButton();
}

function announce() {
  const words = state.results.map(({ name, points, bare }) => say(bare ? "done_fill" : "done", { model: name, count: points.length }));
  find("live").textContent = words.join(" ");
}

// What is shown

function showFailure(error) {
  showFailures([{ error }]);
}

/** Say what failed: {error, name}, where name is the model's, if one failed. */
function showFailures(failures) {
  state.failures = failures;
  const lines = failures.flatMap(({ error, name }) => {
    const words = error.message || say("unreachable");
    const known = `error_${error.status}`;
    return [
      make("strong", { textContent: name ? say("partly", { model: name, error: words }) : words }),
      make("p", { textContent: known in TEXTS.en ? say(known) : "" }),
    ];
  });
  fill(find("message"), ...lines);
}

function layers() {
  const tested = state.results.filter((result) => result.tested).map(({ name, color: one, tested: { points } }) => ({
    name: `${name} ${say("tested")}`, color: one, points, dashed: true,
  }));
  return [...tested, ...state.results];
}

function render() {
  renderButton();
  const { series } = data;
  if (!series) return;
  find("chart-title").textContent = series.name;
  chart.show(series, layers(), state.results.length && !fills() ? state.asked.horizon * (state.asked.windows + 1) : 0);
  find("chart-words").textContent = [
    say("chart_data", { name: series.name, count: series.values.length }),
    ...state.results.filter(({ points }) => points.length).map(({ name, points }) =>
      say("chart_forecast", { model: name, count: points.length, first: number(points[0].median), last: number(points.at(-1).median) })),
  ].join(" ");
  const warnings = state.results.flatMap(({ name, warnings: words }) => words.map((text) => `${name}: ${text}`));
  if (fills() && state.results.length && !state.results[0].points.length) warnings.push(say("no_gaps"));
  fill(find("warnings"), ...warnings.map((textContent) => make("li", { textContent })));
  find("save-csv").disabled = !state.results.length;
  renderNumbers(series);
  renderScores();
  renderCode();
}

function renderButton() {
  const button = find("run");
  button.disabled = !data.series || !state.chosen.size; // not while busy: it would lose the focus
  button.textContent = say(state.busy ? "running" : fills() ? "run_fill" : find("backtest").checked ? "run_backtest" : "run");
  find("backtest-options").hidden = !find("backtest").checked;
}

function parts(result) {
  return result.bare ? ["median"] : ["median", "lower", "upper"];
}

function renderNumbers(series) {
  const { results } = state;
  find("numbers-card").hidden = !results.some(({ points }) => points.length);
  const label = (result, part) => (result.bare ? say("filled") : say(part));
  const time = make("th", { scope: "col", rowSpan: 2, textContent: say(series.timed ? "time" : "row") });
  const names = results.map((result) => make("th", { scope: "colgroup", colSpan: parts(result).length }, swatch(result.color), result.name));
  const columns = results.flatMap((result) => parts(result).map((part) => make("th", { scope: "col", textContent: label(result, part) })));
  const rows = (results[0]?.points ?? []).map(({ x }, step) =>
    make("tr", {}, make("th", { scope: "row", textContent: moment(x, series.timed) }), ...results.flatMap((result) =>
      parts(result).map((part) => make("td", { textContent: number(result.points[step]?.[part]) })))));
  find("numbers").replaceChildren(make("thead", {}, make("tr", {}, time, ...names), make("tr", {}, ...columns)), make("tbody", {}, ...rows));
}

function renderScores() {
  const tested = state.results.filter((result) => result.tested);
  find("scores-card").hidden = !tested.length;
  if (!tested.length) return;
  const { horizon, interval, windows } = state.asked;
  find("scores-hint").textContent = say("scores_hint", { windows, steps: horizon, level: percent(interval) });
  const naive = { name: `${say("seasonal_naive")} (${say("season", { length: tested[0].tested.season })})`, color: "#8a95a3", tested: { scores: tested[0].tested.naive } };
  const rows = [...tested, naive];
  // How far a score is from the best possible one; a metric is null where there is nothing to divide by.
  const distance = (scores, metric) => (scores[metric] === null ? Infinity : Math.abs(scores[metric] - (metric === "coverage" ? interval : 0)));
  const best = (metric) => Math.min(...rows.map(({ tested: { scores } }) => distance(scores, metric)));
  const cell = (scores, metric) => {
    const value = scores[metric];
    const text = value === null ? "–" : metric === "coverage" ? percent(value) : value.toFixed(3);
    return make("td", { textContent: text, className: distance(scores, metric) === best(metric) ? "best" : "" });
  };
  const head = make("tr", {}, make("th", { scope: "col", textContent: say("model") }), ...METRICS.map((metric) => make("th", { scope: "col", textContent: say(metric) })));
  const body = rows.map(({ name, color: one, tested: { scores } }) =>
    make("tr", {}, make("th", { scope: "row" }, swatch(one), name), ...METRICS.map((metric) => cell(scores, metric))));
  find("scores").replaceChildren(make("thead", {}, head), make("tbody", {}, ...body));
}

function percent(share) {
  return `${Number((100 * share).toFixed(1))} %`;
}

// Code and files

function snippet() {
  const model = state.results[0].model;
  const { series } = data;
  const base = model.own ? location.origin : `${location.protocol}//${location.hostname}:${model.port}`;
  return { base, task: model.task, fields: request(series, model, state.asked), token: hasToken(), key: model.sql, column: series.column, fill: fills(), freq: series.freq ?? "1h", ...state.asked };
}

function renderCode() {
  find("code-card").hidden = !state.results.length;
  if (!state.results.length) return;
  const kind = document.querySelector('input[name="code"]:checked').value;
  const what = snippet();
  find("code").textContent = { curl, python, sql }[kind](what);
  find("save-request").hidden = kind === "sql" || !isLong(what.fields);
  find("copy").textContent = say("copy");
}

async function copy() {
  const text = find("code").textContent;
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
  } else {
    // Without https, on another host, a browser gives no clipboard: the text is selected and copied the old way.
    getSelection().selectAllChildren(find("code"));
    document.execCommand("copy");
  }
  find("copy").textContent = find("live").textContent = say("copied");
}

function csv() {
  const cell = (value) => (/[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const { timed } = data.series;
  const rows = state.results.flatMap((result) => result.points.map((point) =>
    [cell(result.name), moment(point.x, timed), point.median, point.lower ?? "", point.upper ?? ""].join(",")));
  return [`model,${timed ? "time" : "row"},median,lower,upper`, ...rows, ""].join("\n");
}

function fileName(suffix) {
  return `${data.series.name.replace(/[^\p{L}\p{N}.-]+/gu, "-")}.${suffix}`;
}

// The token

function askForToken(wrong) {
  const dialog = find("token-dialog");
  find("token-wrong").hidden = !wrong;
  find("token").value = "";
  dialog.showModal();
  return new Promise((resolve) => {
    const close = (value) => {
      dialog.onclose = null;
      find("token").value = "";
      dialog.close();
      resolve(value);
    };
    find("token-form").onsubmit = (event) => {
      event.preventDefault();
      close(find("token").value.trim() || null);
    };
    find("token-cancel").onclick = () => close(null);
    dialog.onclose = () => close(null); // by the Escape key
  });
}

function speak(language) {
  translate(language);
  find("language").value = language;
  if (state.models.length) renderModels();
  data.render();
  render();
  service.render();
  showFailures(state.failures);
}

find("language").addEventListener("change", (event) => speak(event.target.value));
find("panel").addEventListener("submit", run);
find("backtest").addEventListener("change", renderButton);
for (const radio of document.getElementsByName("code")) radio.addEventListener("change", renderCode);
find("copy").addEventListener("click", copy);
find("save-request").addEventListener("click", () => save("request.json", new Blob([JSON.stringify(snippet().fields)], { type: "application/json" })));
find("save-csv").addEventListener("click", () => save(fileName("csv"), new Blob([csv()], { type: "text/csv" })));
find("save-png").addEventListener("click", async () => data.series && save(fileName("png"), await chart.picture(data.series.name, layers())));
find("zoom-in").addEventListener("click", () => chart.zoom(0.5));
find("zoom-out").addEventListener("click", () => chart.zoom(2));
find("earlier").addEventListener("click", () => chart.move(-0.25));
find("later").addEventListener("click", () => chart.move(0.25));
find("zoom-reset").addEventListener("click", () => chart.all());
onToken(askForToken);
speak(preferred());
await refresh();
await service.look();
document.body.dataset.ready = current();
