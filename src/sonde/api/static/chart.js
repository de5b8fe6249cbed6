/** One chart: lines of one unit over the time that the page looks at, drawn by uPlot. */
import uPlot from "./vendor/uplot.js";
import { html, useEffect, useLayoutEffect, useRef } from "./vendor/preact.js";
import { cell } from "./cell.js";
import { columns, title, worded } from "./lines.js";
import { above, underneath } from "./marks.js";
import { lanes } from "./states.js";
import { look, pan, time, zoom } from "./time.js";
import { axisTimes, number } from "./words.js";

/**
 * @typedef {import("./lines.js").Line} Line
 * @typedef {{since: number, until: number, state: string, severity: string, threshold: number | null, message: string}} Mark an alert
 * @typedef {{lines: Line[], first: number, style: string, height: number, since: number, until: number, version: number, marks: Mark[], gaps: import("./gaps.js").Band[], words?: string[], range: {min: number | null, max: number | null} | null, label: string}} Props
 * `words` are those that a chart of words may say, in the order of their colours. `first` is the place of the first line among all that are picked: it gives colour and letter. `version` moves with the data.
 */

/** Where the cursor stands, in seconds; null: nowhere. All charts share it. */
export const cursor = cell(/** @type {number | null} */ (null));
const sync = uPlot.sync("time");
/** What `uPlot.join` does with a null in a line: the line has none of the others' moments around it either, so a hole stays one. */
const EXPAND = 2;
const dark = matchMedia("(prefers-color-scheme: dark)");

/** The colours of the style sheet, as they are now. */
export function inks() {
  const style = getComputedStyle(document.documentElement);
  const of = (/** @type {string} */ name) => style.getPropertyValue(`--${name}`).trim();
  return { line: of("line"), quiet: of("quiet"), ink: of("ink"), accent: of("accent"), ground: of("ground"), warn: of("warn"), bad: of("bad"), series: [1, 2, 3, 4, 5, 6, 7, 8].map((n) => of(`s${n}`)) };
}

/** @param {Props} props */
export function Chart(props) {
  const box = /** @type {import("./vendor/preact.js").Ref<HTMLDivElement>} */ (useRef(null));
  const plot = /** @type {import("./vendor/preact.js").Ref<any>} */ (useRef(null));
  const shown = useRef(props);
  shown.current = props;
  const shape = `${props.lines.map((line) => `${line.series}:${line.step > 0}`)}|${props.style}|${props.height}|${props.first}`;

  useLayoutEffect(() => {
    const make = () => {
      plot.current?.destroy();
      plot.current = new uPlot(/** @type {any} */ (options(shown, box.current.clientWidth)), data(shown.current), box.current);
      attend(plot.current);
    };
    make();
    const fit = new ResizeObserver(() => plot.current.setSize({ width: box.current.clientWidth, height: shown.current.height }));
    fit.observe(box.current);
    dark.addEventListener("change", make);
    return () => {
      fit.disconnect();
      dark.removeEventListener("change", make);
      plot.current.destroy();
      plot.current = null;
    };
  }, [shape]);

  useEffect(() => plot.current?.setData(data(props), false), [props.version, shape]);
  const besides = JSON.stringify([props.gaps.map(({ key, from, to }) => [key, from, to]), props.marks.map(({ since, state, severity }) => [since, state, severity]), props.words]);
  useEffect(() => plot.current?.redraw(false, false), [besides]);
  useLayoutEffect(() => {
    plot.current?.batch(() => plot.current.setScale("x", { min: props.since, max: props.until }));
  }, [props.since, props.until, props.version, shape]);
  return html`<div class="plot" ref=${box} role="img" aria-label=${props.label}></div>`;
}

/** @param {Props} props @returns {any} */
function data(props) {
  const tables = props.lines.map((line) => columns(line, line.step > 0 && !worded(line)));
  if (tables.length === 1) return tables[0];
  return tables.length ? uPlot.join(/** @type {any} */ (tables), tables.map((table) => table.map(() => EXPAND))) : [[]];
}

/**
 * @param {{current: Props}} shown
 * @param {number} width
 */
function options(shown, width) {
  const props = shown.current;
  const ink = inks();
  const font = '11px system-ui, "Segoe UI", Roboto, sans-serif';
  /** @type {any[]} */
  const series = [{}];
  /** @type {any[]} */
  const bands = [];
  const words = worded(props.lines[0]);
  props.lines.forEach((line, i) => {
    const stroke = ink.series[(props.first + i) % ink.series.length];
    series.push({ label: title(line), stroke, width: 1.5, spanGaps: false, paths: paths(props.style), points: { show: props.style === "points" ? true : undefined, size: 4, fill: stroke, filter: props.style === "points" ? undefined : lonely } });
    if (line.step > 0 && !words) {
      series.push({ stroke: null, width: 0, points: { show: false } }, { stroke: null, width: 0, points: { show: false } });
      bands.push({ series: [series.length - 1, series.length - 2], fill: `${stroke}33` });
    }
  });
  return {
    width,
    height: props.height,
    series,
    bands,
    legend: { show: false },
    padding: [8, 20, 0, 0],
    cursor: { sync: { key: sync.key, setSeries: false }, drag: { x: true, y: false, setScale: false }, points: { size: 6 }, y: false, bind: { dblclick: () => () => zoom(2) } },
    scales: { x: { time: true, range: (/** @type {any} */ _, /** @type {number} */ min, /** @type {number} */ max) => /** @type {[number, number]} */ ([min, max]) }, y: { range: fitted } },
    axes: [
      { stroke: ink.quiet, font, grid: { stroke: ink.line, width: 1 }, ticks: { stroke: ink.line, size: 4, width: 1 }, space: 72, size: 24, gap: 4, values: (/** @type {any} */ _, /** @type {number[]} */ splits, /** @type {number} */ __, /** @type {number} */ ___, /** @type {number} */ step) => axisTimes(splits, step, time.get().utc) },
      { stroke: ink.quiet, font, grid: { show: !words, stroke: ink.line, width: 1 }, ticks: { show: false }, size: 56, gap: 6, space: 28, values: (/** @type {any} */ _, /** @type {number[]} */ splits) => splits.map((v) => (words ? "" : number(v, decimals(splits)))) },
    ],
    tzDate: (/** @type {number} */ at) => (time.get().utc ? uPlot.tzDate(new Date(at * 1000), "Etc/UTC") : new Date(at * 1000)),
    hooks: {
      setCursor: [(/** @type {any} */ u) => u.cursor.event && cursor.set(u.cursor.left >= 0 ? u.posToVal(u.cursor.left, "x") : null)],
      setSelect: [(/** @type {any} */ u) => select(u)],
      drawClear: [(/** @type {any} */ u) => underneath(u, shown.current, ink)],
      draw: [(/** @type {any} */ u) => words && lanes(u, shown.current, ink), (/** @type {any} */ u) => above(u, shown.current, ink)],
    },
  };
}

/** @param {string} style */
function paths(style) {
  if (style === "step") return uPlot.paths.stepped?.({ align: 1 });
  return style === "points" ? () => null : undefined;
}

/** Points are shown only where a reading stands alone, with nothing before and after it. @param {any} u @param {number} i */
function lonely(u, i) {
  const values = u.data[i];
  const [first, last] = u.series[i].idxs ?? [0, values.length - 1];
  const found = [];
  const near = (/** @type {number} */ k, /** @type {number} */ by) => {
    while (values[k] === undefined && k >= 0 && k < values.length) k += by;
    return typeof values[k] === "number";
  };
  for (let k = Math.max(0, first); k <= last; k += 1) if (typeof values[k] === "number" && !near(k - 1, -1) && !near(k + 1, 1)) found.push(k);
  return found.length > 400 ? [] : found;
}

/** @param {any} _ @param {number | null} least @param {number | null} most @returns {[number, number]} */
function fitted(_, least, most) {
  if (least === null || most === null || !Number.isFinite(least + most)) return [0, 1];
  const room = (most - least) * 0.08 || Math.abs(most) * 0.05 || 1;
  return [least >= 0 && least - room < 0 ? 0 : least - room, most + room];
}

/** @param {number[]} splits */
function decimals(splits) {
  const step = splits.length > 1 ? Math.abs(splits[1] - splits[0]) : 1;
  return Math.max(0, Math.min(9, Math.ceil(-Math.log10(step) - 1e-9)));
}

/** @param {any} u */
function select(u) {
  if (u.select.width > 4) {
    look(u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x"));
    u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  }
}

/** Wheel with Ctrl zooms, with Shift pans; a finger pans, two zoom. @param {any} u */
function attend(u) {
  /** @type {HTMLElement} */
  const over = u.over;
  over.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.shiftKey) return;
    event.preventDefault();
    const by = event.deltaY || event.deltaX;
    if (event.ctrlKey) zoom(by > 0 ? 1.25 : 0.8, u.posToVal(event.offsetX, "x"));
    else pan(by > 0 ? 0.1 : -0.1);
  }, { passive: false });
  /** @type {Map<number, number>} */
  const fingers = new Map();
  const width = () => over.clientWidth || 1;
  over.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "touch") fingers.set(event.pointerId, event.clientX);
  });
  over.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (before === undefined) return;
    const others = [...fingers].filter(([id]) => id !== event.pointerId).map(([, x]) => x);
    if (others.length) zoom(Math.max(0.5, Math.min(2, Math.abs(others[0] - before) / Math.max(8, Math.abs(others[0] - event.clientX)))));
    else if (Math.abs(event.clientX - before) < 2) return;
    else pan((before - event.clientX) / width());
    fingers.set(event.pointerId, event.clientX);
  });
  for (const end of ["pointerup", "pointercancel", "pointerleave"]) over.addEventListener(end, (event) => fingers.delete(/** @type {PointerEvent} */ (event).pointerId));
}
