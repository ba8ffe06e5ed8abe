// Where the data comes from: a sample, a file or pasted text, read by the service.
import { readTable, sample } from "./api.js";
import { moment } from "./chart.js";
import { fill, find, make } from "./elements.js";
import { say } from "./texts.js";

const READING = ["separator", "decimal", "encoding", "header"];

/** The data that is shown; ``changed`` is called with the series when another one was read. */
export class Data {
  constructor(changed, failed) {
    this.changed = changed;
    this.failed = failed;
    this.table = null;
    this.turn = 0; // of the latest reading: an earlier one that ends later is dropped
    for (const radio of document.getElementsByName("source")) radio.addEventListener("change", () => this.#choose());
    find("sample").addEventListener("change", () => this.loadSample());
    find("file").addEventListener("change", (event) => this.#take(event.target.files[0]));
    find("read-pasted").addEventListener("click", () => this.#open(say("pasted_name"), new Blob([find("pasted").value])));
    for (const id of READING) find(id).addEventListener("change", () => this.#read({}));
    find("time-column").addEventListener("change", () => this.#read(this.#columns()));
    find("value-column").addEventListener("change", () => this.#read(this.#columns()));
    find("series").addEventListener("change", () => this.#read(this.#columns()));
    find("series-column").addEventListener("change", () => this.#read({ ...this.#columns(), series: undefined }));
    this.#acceptDrops();
  }

  async loadSample() {
    const name = find("sample").value;
    try {
      await this.#open(name, await sample(name));
    } catch (error) {
      this.failed(error);
    }
  }

  /** The series as the chart takes it, or null. */
  get series() {
    const table = this.table;
    if (!table) return null;
    const timed = table.times !== null;
    const xs = timed ? table.times.map((time) => Date.parse(`${time}Z`) / 1000) : table.values.map((_, i) => i + 1);
    return { name: this.label, column: this.#name(table.value_column), xs, timed, values: table.values, times: table.times, freq: table.freq };
  }

  get label() {
    const { table } = this;
    const column = this.#name(table.value_column);
    return [this.name, column, table.series].filter((part) => part !== null).join(" · ");
  }

  /** ``732 rows, 3 without a value, 1950-01-01 to 2010-12-01, step MS``. */
  get summary() {
    const { values, freq } = this.table;
    const { xs, timed } = this.series;
    const gaps = values.filter((value) => value === null).length;
    const parts = [say("rows", { count: values.length })];
    if (gaps) parts.push(say("gaps", { count: gaps }));
    if (timed) parts.push(say("period", { from: moment(xs[0], true), to: moment(xs.at(-1), true) }));
    if (freq) parts.push(say("step", { freq }));
    return parts.join(" · ");
  }

  /** Write what was read, in the page's language. */
  render() {
    const { table } = this;
    find("columns").hidden = find("summary").hidden = !table;
    if (!table) return;
    find("summary").textContent = this.summary;
    fill(find("notes"), ...table.notes.map((note) => make("li", { textContent: note, lang: "en" })));
    const option = ({ number, name }) => make("option", { value: number, textContent: name });
    const none = () => make("option", { value: 0, textContent: say("none") });
    const numbers = table.columns.filter(({ kind, number }) => kind === "number" || number === table.value_column);
    const times = table.columns.filter(({ kind, number }) => kind !== "text" || number === table.time_column);
    this.#options("time-column", [none(), ...times.map(option)], table.time_column ?? 0);
    this.#options("value-column", numbers.map(option), table.value_column);
    this.#options("series-column", [none(), ...table.columns.map(option)], table.series_column ?? 0);
    const names = table.series_names.map((name) => make("option", { value: name, textContent: name }));
    this.#options("series", names, table.series);
    find("series-choice").hidden = !table.series_column;
  }

  #options(id, options, chosen) {
    find(id).replaceChildren(...options);
    find(id).value = String(chosen);
  }

  #name(number) {
    return this.table.columns[number - 1].name;
  }

  #columns() {
    const series = find("series-column").value;
    return {
      time: find("time-column").value,
      column: find("value-column").value,
      id: series,
      series: series !== "0" && series === String(this.table.series_column) ? find("series").value : undefined,
    };
  }

  #choose() {
    const chosen = document.querySelector('input[name="source"]:checked').value;
    for (const part of document.querySelectorAll("[data-source]")) part.hidden = part.dataset.source !== chosen;
    if (chosen === "sample") this.loadSample();
  }

  #take(file) {
    if (file) this.#open(file.name, file);
  }

  #acceptDrops() {
    const over = (event, on) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      document.body.classList.toggle("dropping", on);
    };
    addEventListener("dragover", (event) => over(event, true));
    addEventListener("dragleave", (event) => over(event, false));
    addEventListener("drop", (event) => {
      over(event, false);
      const file = event.dataTransfer?.files[0];
      if (!file) return;
      document.querySelector('input[name="source"][value="file"]').checked = true;
      this.#choose();
      this.#take(file);
    });
  }

  /** Read other content; how it is read and which columns are detected anew. */
  async #open(name, content) {
    [this.name, this.content] = [name, content];
    for (const id of READING) find(id).value = "";
    await this.#read({});
  }

  async #read(columns) {
    if (!this.content) return;
    const turn = ++this.turn;
    const reading = READING.map((id) => [id, find(id).value]);
    const parameters = [["file", this.name.slice(0, 200)], ...reading, ...Object.entries(columns)].filter(([, value]) => value);
    find("live").textContent = say("reading_now", { name: this.name });
    try {
      const table = await readTable(this.content, parameters);
      if (turn !== this.turn) return;
      this.table = table;
      this.render();
      this.changed();
      find("live").textContent = say("data_read", { name: this.name, summary: this.summary });
    } catch (error) {
      if (turn === this.turn) this.failed(error);
    }
  }
}
