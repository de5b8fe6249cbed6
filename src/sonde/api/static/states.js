/** Series of words, such as states: a lane each, a stretch for as long as it says the same. */
import { html } from "./vendor/preact.js";
import { patience, valueAt } from "./lines.js";
import { hatch } from "./marks.js";
import { now } from "./time.js";
import { letter, plain } from "./words.js";

/**
 * @typedef {import("./lines.js").Line} Line
 * @typedef {{from: number, to: number, word: string | null}} Stretch `word` is null where a bucket says several things
 */

/** How high a lane is, in pixels, and how much of that lies between it and the next. */
export const LANE = 28;
const BETWEEN = 6;
const STALE = 300;
/** What is said where several things are said within one point. */
export const SEVERAL = "several";

/** What a line of words says at a place. @param {Line} line @param {number} index */
function wordAt(line, index) {
  const value = valueAt(line, index);
  if (value !== null) return plain(value);
  return line.q[index] === 1 ? "failed" : null;
}

/** @param {Line} line @returns {Stretch[]} */
export function stretches(line) {
  const most = patience(line.t, line.step);
  /** @type {Stretch[]} */
  const found = [];
  line.t.forEach((from, i) => {
    const word = wordAt(line, i);
    const next = line.t[i + 1] ?? Math.min(now(), from + line.step + (Number.isFinite(most) ? most : STALE));
    const to = i + 1 < line.t.length && next - from > most ? from + line.step : next;
    const before = found[found.length - 1];
    if (before && before.word === word && before.to === from) before.to = to;
    else found.push({ from, to, word });
  });
  return found;
}

/** The words that lines say, those declared first: their places give them their colours. @param {Line[]} lines @param {string[]} declared */
export function wordsOf(lines, declared) {
  const said = new Set(lines.flatMap((line) => line.t.map((_, i) => wordAt(line, i))));
  said.delete(null);
  return [...declared, .../** @type {string[]} */ ([...said]).filter((word) => !declared.includes(word)).sort()];
}

/** The lanes of a chart of words. @param {any} u @param {import("./chart.js").Props} props @param {import("./marks.js").Inks} ink */
export function lanes(u, props, ink) {
  const { ctx } = u;
  const { left, top, width, height } = u.bbox;
  const px = devicePixelRatio;
  ctx.save();
  ctx.textBaseline = "middle";
  props.lines.forEach((line, i) => {
    const y = top + i * LANE * px;
    ctx.font = `600 ${10 * px}px system-ui, sans-serif`;
    ctx.fillStyle = ink.series[(props.first + i) % ink.series.length];
    ctx.textAlign = "right";
    ctx.fillText(letter(props.first + i), left - 6 * px, y + ((LANE - BETWEEN) * px) / 2);
  });
  ctx.beginPath();
  ctx.rect(left, top, width, height);
  ctx.clip();
  ctx.font = `${11 * px}px system-ui, "Segoe UI", Roboto, sans-serif`;
  ctx.textAlign = "left";
  ctx.lineWidth = px;
  props.lines.forEach((line, i) => {
    for (const stretch of stretches(line)) {
      const x = Math.max(left, u.valToPos(stretch.from, "x", true));
      const end = Math.min(left + width, Math.max(x + 2 * px, u.valToPos(stretch.to, "x", true)));
      if (end > x) segment(ctx, stretch.word, { x, y: top + i * LANE * px, width: end - x }, colourOf(stretch.word, props.words ?? [], ink), ink);
    }
  });
  ctx.restore();
}

/** @param {string | null} word @param {string[]} words @param {import("./marks.js").Inks} ink */
const colourOf = (word, words, ink) => (word === null ? ink.quiet : ink.series[words.indexOf(word) % ink.series.length] ?? ink.quiet);

/** @param {CanvasRenderingContext2D} ctx @param {string | null} word @param {{x: number, y: number, width: number}} at @param {string} colour @param {import("./marks.js").Inks} ink */
function segment(ctx, word, { x, y, width }, colour, ink) {
  const px = devicePixelRatio;
  const height = (LANE - BETWEEN) * px;
  ctx.fillStyle = `${colour}2e`;
  ctx.fillRect(x, y, width, height);
  if (word === null) hatch(ctx, x, y, width, height, `${colour}99`);
  ctx.fillStyle = colour;
  ctx.fillRect(x, y + height - 3 * px, width, 3 * px);
  ctx.fillRect(x, y, px, height);
  const text = word ?? SEVERAL;
  if (ctx.measureText(text).width + 12 * px > width) return;
  ctx.fillStyle = ink.ink;
  ctx.fillText(text, x + 6 * px, y + height / 2 - px);
}

/** Which colour stands for which word. @param {{words: string[]}} props */
export const WordKey = ({ words }) => html`<ul class="wordkey" aria-label="Words in view">${words.map((word, i) => html`<li><i class=${`s${(i % 8) + 1}`} aria-hidden="true"></i>${word}</li>`)}</ul>`;
