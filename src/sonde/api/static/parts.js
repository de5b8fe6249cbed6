/** Small pieces that every view uses: states, ages, empty pages, sparklines. */
import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/preact.js";
import { useCell } from "./cell.js";
import { now, time } from "./time.js";
import { moment, span, stamp } from "./words.js";

/** Draw again every so many seconds, so that ages stay right. @param {number} seconds */
export function useBeat(seconds) {
  const [, beat] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => document.hidden || beat((n) => n + 1), seconds * 1000);
    return () => clearInterval(timer);
  }, [seconds]);
}

/** How long ago. @param {{at: number, stale?: boolean}} props `at` in seconds */
export function Age({ at, stale = false }) {
  useBeat(1);
  const { utc } = useCell(time);
  const age = Math.max(0, now() - at);
  return html`<span class=${stale ? "age stale" : "age"} title=${stamp(at, utc)}>${stale ? "stale " : ""}${span(Math.floor(age))}</span>`;
}

/** A moment in the zone shown. @param {{at: number}} props */
export function At({ at }) {
  const { utc } = useCell(time);
  return html`<time datetime=${new Date(at * 1000).toISOString()} title=${stamp(at, utc)}>${moment(at, utc)}</time>`;
}

const SHAPES = /** @type {Record<string, string>} */ ({ critical: "▲", warning: "◆", info: "●" });

/** @param {{severity: string}} props */
export const Severity = ({ severity }) => html`<span class="severity ${severity}"><span aria-hidden="true">${SHAPES[severity] ?? "◆"}</span> <span class="word">${severity}</span></span>`;

/** Why there is no (newer) answer. @param {{trouble: import("./ask.js").Trouble | null}} props */
export function Problem({ trouble }) {
  return trouble && trouble.status !== 0 ? html`<p class="problem" role="alert">${trouble.message}</p>` : null;
}

/** Lines where an answer will stand, so that nothing jumps when it comes. @param {{lines?: number}} props */
export const Waiting = ({ lines = 6 }) => html`<div class="waiting" role="status" aria-label="Loading">${Array.from({ length: lines }, () => html`<i></i>`)}</div>`;

/** What brings readings in, on any machine with Sonde. */
export const REPLAY = "sonde replay examples/occupancy/office.csv --device office --timezone Europe/Brussels";

/** An empty page teaches the next step. @param {{title: string, command?: string, children?: any}} props */
export function Empty({ title, command, children }) {
  return html`<div class="empty"><h2>${title}</h2>${children}${command ? html`<${Copy} text=${command} />` : null}</div>`;
}

/** A command to copy. @param {{text: string}} props */
export function Copy({ text }) {
  const [done, set] = useState(false);
  const copy = () => navigator.clipboard?.writeText(text).then(() => set(true), () => set(false));
  return html`<div class="copy"><pre tabindex="0"><code>${text}</code></pre><button onClick=${copy}>${done ? "Copied" : "Copy"}</button></div>`;
}

/**
 * The way a number went, without axes. Where there is no value the line breaks.
 * @param {{values: (number | null)[], label: string}} props
 */
export function Spark({ values, label }) {
  const known = /** @type {number[]} */ (values.filter((v) => v !== null));
  if (known.length < 2) return html`<svg class="spark" viewBox="0 0 72 20" aria-hidden="true"></svg>`;
  const [least, most] = [Math.min(...known), Math.max(...known)];
  const y = (/** @type {number} */ v) => (most > least ? 18 - ((v - least) / (most - least)) * 16 : 10).toFixed(1);
  let path = "";
  let pen = "M";
  values.forEach((value, i) => {
    if (value === null) pen = "M";
    else {
      path += `${pen}${((i / Math.max(1, values.length - 1)) * 70 + 1).toFixed(1)} ${y(value)}`;
      pen = "L";
    }
  });
  return html`<svg class="spark" viewBox="0 0 72 20" role="img" aria-label=${label}><path d=${path} /></svg>`;
}

/** A table that may be wider than the page scrolls by itself; then the keyboard reaches it. @param {{label: string, children?: any}} props */
export function Wide({ label, children }) {
  const box = /** @type {import("./vendor/preact.js").Ref<HTMLElement>} */ (useRef(null));
  useLayoutEffect(() => {
    const fit = () => {
      const scrolls = box.current.scrollWidth > box.current.clientWidth;
      box.current.toggleAttribute("tabindex", false);
      if (scrolls) box.current.tabIndex = 0;
    };
    const watch = new ResizeObserver(fit);
    watch.observe(box.current);
    if (box.current.firstElementChild) watch.observe(box.current.firstElementChild);
    return () => watch.disconnect();
  }, []);
  return html`<div class="wide" ref=${box} role="region" aria-label=${label}>${children}</div>`;
}
