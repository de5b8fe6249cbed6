/** What the charts show, in numbers: each series at the cursor (or now), and over the span seen. */
import { html } from "./vendor/preact.js";
import { useCell } from "./cell.js";
import { cursor } from "./chart.js";
import { countIn, indexAt, stats, valueAt, worded } from "./lines.js";
import { Age, Wide } from "./parts.js";
import { SEVERAL } from "./states.js";
import { address, now, time } from "./time.js";
import { digitsOf, letter, number, plain, stamp } from "./words.js";

/** @typedef {import("./lines.js").Line} Line */

/** The chart that a line is in: lines of one metric and unit share it, words and numbers never do. @param {Line} line */
export const chartOf = (line) => `${line.metric} ${line.unit} ${worded(line)}`;

/** The lines in the order of the charts, in the order picked. @param {Line[]} lines */
export const ordered = (lines) => [...new Set(lines.map(chartOf))].flatMap((name) => lines.filter((line) => chartOf(line) === name));

/** @param {{lines: Line[], version: number, since: number, until: number, remove: (series: number) => void}} props */
export function Legend({ lines, since, until, remove }) {
  const at = useCell(cursor);
  const { utc, live } = useCell(time);
  const head = at === null ? (live ? "now" : "at the end") : stamp(at, utc);
  return html`<${Wide} label=${"Series in view"}><table class="legend" aria-label="Series in view">
    <thead><tr><th scope="col"></th><th scope="col">series</th><th scope="col" class="n" id="at">${head}</th><th scope="col">unit</th><th scope="col" class="n">age</th><th scope="col" class="n">least</th><th scope="col" class="n">mean</th><th scope="col" class="n">greatest</th><th scope="col" class="n">readings</th><th scope="col"><span class="hidden">remove</span></th></tr></thead>
    <tbody>${ordered(lines).map((line, i) => html`<${Row} key=${line.series} line=${line} index=${i} at=${at ?? until} follows=${at === null && live} since=${since} until=${until} remove=${remove} />`)}</tbody>
  </table><//>`;
}

/** @param {{line: Line, index: number, at: number, follows: boolean, since: number, until: number, remove: (series: number) => void}} props */
function Row({ line, index, at, follows, since, until, remove }) {
  const place = follows ? line.t.length - 1 : indexAt(line, at);
  const seen = stats(line, since, until);
  const many = worded(line) ? (line.step ? null : countIn(line, since, until)) : (seen?.count ?? 0);
  const digits = seen ? digitsOf([seen.least, seen.most, seen.mean]) : 1;
  const value = place < 0 ? undefined : valueAt(line, place);
  const several = value === null && worded(line) && line.step > 0;
  const text = several ? SEVERAL : typeof value === "number" && line.kind !== "integer" ? number(value, digits) : plain(value);
  const last = line.t[line.t.length - 1];
  const stale = last === undefined || now() - last - line.step > 300;
  const labels = Object.entries(line.labels).map(([k, v]) => `${k} ${v}`).join(", ");
  return html`<tr class=${follows && stale ? "stale" : ""} data-series=${line.series}>
    <td><span class="letter s${(index % 8) + 1}">${letter(index)}</span></td>
    <th scope="row"><a href=${address("devices", {}, line.device)}>${line.device}</a> <b>${line.metric}</b> ${labels ? html`<span class="quiet">${labels}</span>` : null}${line.mended.length ? html` <span class="mended" title="Late readings changed what was here">◇ mended</span>` : null}</th>
    <td class="n value">${place >= 0 && line.q[place] === 2 ? html`<span class="warn" title="Outside the declared range">! </span>` : null}${place >= 0 && line.q[place] === 1 && value === null ? "failed" : text}</td>
    <td class="unit">${line.unit}</td>
    <td class="n">${last === undefined ? "–" : html`<${Age} at=${line.step ? Math.min(now(), last + line.step) : last} stale=${stale} />`}</td>
    <td class="n">${number(seen?.least, digits)}</td><td class="n">${number(seen?.mean, digits)}</td><td class="n">${number(seen?.most, digits)}</td><td class="n">${number(many, 0)}</td>
    <td><button class="plain" aria-label=${`Remove ${line.device} ${line.metric}`} onClick=${() => remove(line.series)}>×</button></td>
  </tr>`;
}
