// The page: what a person does, in order. The other modules know nothing of each other's elements.
import { bounds, found, judgedCsv, marks, renderAnomalies } from "./anomalies.js";
import { hasToken, models as findModels, onToken } from "./api.js";
import { COLORS, Chart, moment, number } from "./chart.js";
import { Data } from "./data.js";
import { fill, find, make, quoted, save, swatch } from "./elements.js";
import { DETECTION, anomalies, backtest, forecast, imputation, request } from "./forecasts.js";
import { renderScores } from "./scores.js";
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
  find("models-all").hidden = able.length < 2;
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

/** Choose every model that can be chosen. */
function chooseAll() {
  for (const box of find("models").querySelectorAll("input:enabled")) {
    box.checked = true;
    state.chosen.add(box.value);
  }
  renderButton();
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
    windows: !fills() && find("backtest").checked ? find("windows").valueAsNumber : 0,
    level: find("detect").checked ? Number(find("level").value) : 0,
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
  const results = await answers(series, chosen, wanted);
  setBusy(false);
  if (series.values !== data.series?.values) return; // other data was read meanwhile
  state.asked = wanted;
  state.results = results.filter((result) => !result.error);
  showFailures(results.filter((result) => result.error));
  render();
  announce();
  service.look();
}

/** What all models answer. Backtests run one after the other, so that the time of each is that of one model alone. */
async function answers(series, chosen, wanted) {
  if (!wanted.windows) return Promise.all(chosen.map((model) => one(series, model, wanted)));
  const results = [];
  for (const model of chosen) {
    find("live").textContent = say("running_one", { model: model.family, number: results.length + 1, count: chosen.length });
    results.push(await one(series, model, wanted));
  }
  return results;
}

/** All that one model answers, or its error. */
async function one(series, model, wanted) {
  const shown = { model, name: model.family, color: color(model.family), bare: fills() };
  try {
    const tested = wanted.windows ? { ...(await backtest(series, model, wanted)), memory: await memory(model) } : null;
    const judged = wanted.level ? anomalies(series, model, wanted) : null;
    const answer = fills() ? imputation(series, model) : forecast(series, model, wanted);
    const [{ points, warnings }, judgement] = await Promise.all([answer, judged]);
    return { ...shown, points, warnings: [...new Set([...warnings, ...(judgement?.warnings ?? [])])], tested, judged: judgement };
  } catch (error) {
    return { ...shown, error };
  }
}

/** MiB of memory that a model's service has now. */
async function memory({ family }) {
  return (await findModels()).find((model) => model.family === family)?.resident_mib;
}

function setBusy(busy) {
  state.busy = busy;
  document.body.setAttribute("aria-busy", busy);
  if (busy) find("live").textContent = say("running");
  renderButton();
}

function announce() {
  const words = state.results.map(({ name, points, bare }) => say(bare ? "done_fill" : "done", { model: name, count: points.length }));
  find("live").textContent = [...words, ...found(state.results, state.asked.level)].join(" ");
}

/** Show one anomaly on the chart, and say its numbers. */
function look(point, name) {
  chart.lookAt(point.x);
  const words = { model: name, time: moment(point.x, data.series.timed), value: number(point.value), expected: number(point.expected), interval: bounds(point) };
  find("live").textContent = say("looked_at", words);
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
  return [...tested, ...state.results, ...marks(state.results)];
}

function render() {
  renderButton();
  const { series } = data;
  if (!series) return;
  find("chart-title").textContent = series.name;
  const all = !state.results.length || fills() || state.asked.level; // an anomaly may be anywhere
  chart.show(series, layers(), all ? 0 : state.asked.horizon * (state.asked.windows + 1));
  find("chart-words").textContent = [
    say("chart_data", { name: series.name, count: series.values.length }),
    ...state.results.filter(({ points }) => points.length).map(({ name, points }) =>
      say("chart_forecast", { model: name, count: points.length, first: number(points[0].median), last: number(points.at(-1).median) })),
    ...(state.asked ? found(state.results, state.asked.level) : []),
  ].join(" ");
  const warnings = state.results.flatMap(({ name, warnings: words }) => words.map((text) => `${name}: ${text}`));
  if (fills() && state.results.length && !state.results[0].points.length) warnings.push(say("no_gaps"));
  fill(find("warnings"), ...warnings.map((textContent) => make("li", { textContent })));
  find("save-csv").disabled = !state.results.length;
  renderNumbers(series);
  renderScores(state.results, state.asked);
  renderAnomalies(state.results, series.timed, state.asked?.level, look);
  renderCode();
}

function renderButton() {
  const button = find("run");
  button.disabled = !data.series || !state.chosen.size; // not while busy: it would lose the focus
  const steps = [[fills() ? "run_fill" : "run", true], ["tested", !fills() && find("backtest").checked], ["marked", find("detect").checked]];
  button.textContent = state.busy ? say("running") : steps.filter(([, wanted]) => wanted).map(([key]) => say(key)).join(" + ");
  find("backtest-options").hidden = !find("backtest").checked;
  find("detect-options").hidden = !find("detect").checked;
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

// Code and files

function snippet() {
  const model = state.results[0].model;
  const { series } = data;
  const base = model.own ? location.origin : `${location.protocol}//${location.hostname}:${model.port}`;
  const detection = state.asked.level && document.querySelector('input[name="code-of"]:checked').value === DETECTION;
  const task = detection ? DETECTION : model.task;
  const names = { key: model.sql, family: model.family, column: series.column, freq: series.freq ?? "1h" };
  return { base, task, fields: request(series, model, state.asked, task), token: hasToken(), ...names, ...state.asked };
}

function renderCode() {
  find("code-card").hidden = !state.results.length;
  if (!state.results.length) return;
  find("code-of").hidden = !state.asked.level;
  find("code-of-task").textContent = say(fills() ? "run_fill" : "forecast");
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
  const { timed } = data.series;
  const rows = state.results.flatMap((result) => result.points.map((point) =>
    [quoted(result.name), moment(point.x, timed), point.median, point.lower ?? "", point.upper ?? ""].join(",")));
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
for (const id of ["backtest", "detect"]) find(id).addEventListener("change", renderButton);
find("choose-all").addEventListener("click", chooseAll);
for (const radio of document.querySelectorAll('input[name^="code"]')) radio.addEventListener("change", renderCode);
find("copy").addEventListener("click", copy);
find("save-request").addEventListener("click", () => save("request.json", new Blob([JSON.stringify(snippet().fields)], { type: "application/json" })));
find("save-csv").addEventListener("click", () => save(fileName("csv"), new Blob([csv()], { type: "text/csv" })));
find("save-judged").addEventListener("click", () => save(fileName("anomalies.csv"), new Blob([judgedCsv(state.results, data.series.timed)], { type: "text/csv" })));
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
