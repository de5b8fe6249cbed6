/** The same lines as a table: one row a moment, newest first, for those who cannot or would not read a chart. */
import { html, useState } from "./vendor/preact.js";
import { useCell } from "./cell.js";
import { ordered } from "./legend.js";
import { at, valueAt } from "./lines.js";
import { Wide } from "./parts.js";
import { time } from "./time.js";
import { digitsOf, letter, number, plain, span, stamp } from "./words.js";

const PAGE = 200;
const QUALITY = ["", "failed", "out of range", "wrong type", "clock"];

/** @param {{lines: import("./lines.js").Line[], since: number, until: number}} props */
export function ReadingsTable({ lines, since, until }) {
  const { utc } = useCell(time);
  const [most, more] = useState(PAGE);
  const all = ordered(lines);
  const times = new Set(/** @type {number[]} */ ([]));
  for (const line of all) for (let i = at(line.t, since - line.step); i < line.t.length && line.t[i] < until; i += 1) times.add(line.t[i]);
  const sorted = [...times].sort((a, b) => b - a);
  const digits = all.map((line) => digitsOf(line.mid.slice(-500)));
  const step = all.find((line) => line.step)?.step ?? 0;
  const fine = sorted.some((t) => t % 1 !== 0);
  if (all.length && sorted.length === 0) return html`<p class="quiet">Nothing was measured in this span.</p>`;
  return html`<${Wide} label=${"Readings"}><table class="readings">
    <caption>${number(sorted.length, 0)} moments${step ? `, each ${span(step)} long: mean (least – greatest)` : ""}, newest first</caption>
    <thead><tr><th scope="col">time</th>${all.map((line, i) => html`<th scope="col" class="n"><span class="letter s${(i % 8) + 1}">${letter(i)}</span> ${line.metric} <span class="unit">${line.unit}</span><br /><span class="quiet">${line.device}</span></th>`)}</tr></thead>
    <tbody>${sorted.slice(0, most).map((t) => html`<tr key=${t}><th scope="row">${stamp(t, utc, fine)}</th>${all.map((line, i) => html`<td class="n">${cells(line, t, digits[i])}</td>`)}</tr>`)}</tbody>
  </table><//>
  ${sorted.length > most ? html`<button class="more" onClick=${() => more(most * 2)}>Show more; ${number(sorted.length - most, 0)} are left</button>` : null}`;
}

/** @param {import("./lines.js").Line} line @param {number} t @param {number} digits */
function cells(line, t, digits) {
  const found = [];
  for (let i = at(line.t, t); line.t[i] === t; i += 1) {
    const value = valueAt(line, i);
    const text = typeof value === "number" && line.kind !== "integer" ? number(value, digits) : plain(value);
    const band = line.step ? ` (${number(line.lo[i], digits)} – ${number(line.hi[i], digits)})` : "";
    found.push(html`${found.length ? html`<br />` : null}${text}${band}${line.q[i] ? html` <span class="warn">${QUALITY[line.q[i]]}</span>` : null}`);
  }
  return found;
}
