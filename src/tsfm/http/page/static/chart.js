// Draws a series with its layers over one axis: forecasts are lines in bands, anomalies are marks.
import { current, say } from "./texts.js";

export const COLORS = ["#1d4f91", "#a8500b", "#0b716b", "#7b3ca3", "#a4262c", "#5d6d00"];
const INK = "#2b3644";
const SOFT = "#54606f";
const GRID = "#e9ecf0";
const FONT = '12px system-ui, -apple-system, "Segoe UI", "Noto Sans", "Noto Sans CJK SC", sans-serif';
const HEIGHT = { wide: 380, narrow: 280 };
const MARK = "#d0312d";
const SHOWN_BEFORE = 8; // at first, so many horizons of history

export function number(value) {
  return value === null || value === undefined ? "" : String(Number(value.toPrecision(6)));
}

export function moment(x, timed) {
  if (!timed) return String(x);
  const text = new Date(x * 1000).toISOString();
  return text.endsWith("T00:00:00.000Z") ? text.slice(0, 10) : text.slice(0, 19).replace("T", " ");
}

/** The chart in an element; ``show`` draws, the other methods move what is seen. */
export class Chart {
  constructor(element) {
    this.element = element;
    this.plot = null;
    new ResizeObserver(() => this.plot?.setSize(this.#size())).observe(element);
  }

  /**
   * @param series {name, xs, values, timed}
   * @param layers [{name, color, points: [{x, median, lower, upper}], dashed}], or with ``marks``: a ring around each {x, value}
   * @param horizon steps ahead, for what is seen at first
   */
  show(series, layers, horizon = 0) {
    this.plot?.destroy();
    const xs = [...new Set([...series.xs, ...layers.flatMap((layer) => layer.points.map((point) => point.x))])];
    xs.sort((a, b) => a - b);
    const at = new Map(xs.map((x, index) => [x, index]));
    const row = (points, value) => {
      const values = new Array(xs.length).fill(null);
      for (const point of points) values[at.get(point.x)] = value(point);
      return values;
    };
    const data = [xs, row(series.xs.map((x, index) => ({ x, value: series.values[index] })), (point) => point.value)];
    const lines = [{}, this.#line(say("history"), INK, { width: 1.4, spanGaps: false })];
    const bands = [];
    for (const layer of layers.filter(({ marks }) => !marks)) {
      data.push(row(layer.points, (p) => p.median), row(layer.points, (p) => p.lower), row(layer.points, (p) => p.upper));
      const first = lines.length;
      const points = { show: layer.bare || layer.points.length < 3, size: 6 };
      const label = layer.bare ? `${layer.name} ${say("filled")}` : layer.name;
      lines.push(this.#line(label, layer.color, { width: 2, dash: layer.dashed && [6, 4], points, value: interval }));
      const edge = { width: 0.75, points: { show: false }, class: "edge" };
      lines.push(this.#line("", `${layer.color}88`, edge), this.#line("", `${layer.color}88`, edge));
      bands.push({ series: [first + 2, first + 1], fill: `${layer.color}${layer.dashed ? "16" : "24"}` });
    }
    layers.filter(({ marks }) => marks).forEach((layer, rank) => {
      data.push(row(layer.points, (p) => p.value));
      lines.push(this.#marks(layer, rank));
    });
    this.full = [xs[0], xs.at(-1)];
    this.timed = series.timed;
    this.plot = new uPlot(this.#options(lines, bands, series), data, this.element);
    const from = Math.max(0, series.xs.length - SHOWN_BEFORE * Math.max(horizon, 12));
    this.see(horizon ? series.xs[from] : xs[0], xs.at(-1));
  }

  #line(label, stroke, more) {
    return { label, stroke, points: { show: false }, value: (_, value) => number(value) || "–", ...more };
  }

  /** Rings in the layer's colour; each further layer has larger ones, so that all are seen around the same point. */
  #marks({ name, color }, rank) {
    const points = { show: true, size: 11 + 7 * rank, width: 2, stroke: color, fill: rank ? "#0000" : MARK };
    return this.#line(name, color, { paths: () => null, points, class: "marks" });
  }

  #options(series, bands, shown) {
    const axis = { stroke: SOFT, font: FONT, grid: { stroke: GRID, width: 1 }, ticks: { stroke: GRID, width: 1 } };
    series[0] = { label: say(shown.timed ? "time" : "row"), value: (_, x) => (x === null ? "–" : moment(x, shown.timed)) };
    return {
      ...this.#size(),
      series,
      bands,
      scales: { x: { time: shown.timed } },
      axes: [axis, { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => tick.toLocaleString(current())) }],
      legend: { markers: { width: 0, fill: (plot, index) => series[index].stroke } },
      cursor: { y: false, points: { size: 7 } },
      fmtDate: (template) => uPlot.fmtDate(template, names()),
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      hooks: { draw: [(plot) => this.#end(plot, shown)], setSeries: [together] },
    };
  }

  /** A thin line where the history ends. */
  #end(plot, shown) {
    const x = plot.valToPos(shown.xs.at(-1), "x", true);
    const { left, top, width, height } = plot.bbox;
    if (x <= left || x >= left + width - 1) return;
    plot.ctx.save();
    plot.ctx.strokeStyle = "#b4bcc6";
    plot.ctx.setLineDash([3, 3]);
    plot.ctx.beginPath();
    plot.ctx.moveTo(x, top);
    plot.ctx.lineTo(x, top + height);
    plot.ctx.stroke();
    plot.ctx.restore();
  }

  #size() {
    const width = this.element.clientWidth;
    return { width, height: width < 560 ? HEIGHT.narrow : HEIGHT.wide };
  }

  get seen() {
    return [this.plot.scales.x.min, this.plot.scales.x.max];
  }

  see(min, max) {
    this.plot?.setScale("x", { min, max });
  }

  all() {
    this.see(...this.full);
  }

  /** Show the surroundings of a point, as wide as what is seen now, at most a quarter of all. */
  lookAt(x) {
    const [min, max] = this.seen;
    const half = Math.min(max - min, (this.full[1] - this.full[0]) / 4) / 2;
    const middle = Math.min(Math.max(x, this.full[0] + half), this.full[1] - half);
    this.see(middle - half, middle + half);
    const { plot } = this;
    queueMicrotask(() => plot.setCursor({ left: plot.valToPos(x, "x"), top: 0 })); // after the new scale, which uPlot sets so too
  }

  /** Narrow or widen what is seen around its middle. */
  zoom(factor) {
    if (!this.plot) return;
    const [min, max] = this.seen;
    const [middle, half] = [(min + max) / 2, ((max - min) / 2) * factor];
    this.see(Math.max(this.full[0], middle - half), Math.min(this.full[1], middle + half));
  }

  /** Move what is seen by a share of its width. */
  move(share) {
    if (!this.plot) return;
    const [min, max] = this.seen;
    const by = share > 0 ? Math.min((max - min) * share, this.full[1] - max) : Math.max((max - min) * share, this.full[0] - min);
    this.see(min + by, max + by);
  }

  /** The chart as PNG, with a title and the names of its layers. */
  picture(title, layers) {
    const drawn = this.plot.ctx.canvas;
    const scale = devicePixelRatio;
    const head = 54 * scale;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [drawn.width, drawn.height + head];
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(drawn, 0, head);
    context.scale(scale, scale);
    context.fillStyle = "#18212d";
    context.font = FONT.replace("12px", "600 15px");
    context.fillText(title, 12, 22);
    context.font = FONT;
    let left = 12;
    for (const { name, color } of [{ name: say("history"), color: INK }, ...layers]) {
      context.fillStyle = color;
      context.fillRect(left, 35, 14, 3);
      context.fillStyle = SOFT;
      context.fillText(name, left + 20, 41);
      left += 40 + context.measureText(name).width;
    }
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }
}

/** What the legend shows of a layer: ``24.71 (23.47 … 26.16)``. */
function interval(plot, value, series, index) {
  const [lower, upper] = [1, 2].map((next) => plot.data[series + next]?.[index]);
  if (value === null || value === undefined) return "–";
  return lower === null || lower === undefined ? number(value) : `${number(value)} (${number(lower)} … ${number(upper)})`;
}

/** The edges of a band come and go with its median. */
function together(plot, index, { show }) {
  if (show === undefined || index === null || index < 2 || plot.series[index].class) return;
  for (const edge of [index + 1, index + 2]) plot.setSeries(edge, { show });
}

/** Names of months and days in the page's language, as uPlot takes them. */
function names() {
  const all = (count, options, date) =>
    Array.from({ length: count }, (_, i) => new Intl.DateTimeFormat(current(), { ...options, timeZone: "UTC" }).format(date(i)));
  const month = (i) => new Date(Date.UTC(2026, i, 1));
  const day = (i) => new Date(Date.UTC(2026, 1, 1 + i)); // a Sunday
  return {
    MMMM: all(12, { month: "long" }, month),
    MMM: all(12, { month: "short" }, month),
    WWWW: all(7, { weekday: "long" }, day),
    WWW: all(7, { weekday: "short" }, day),
  };
}
