/** Gaps that the ledger knows, where they lie in a chart: what a node sent, or would have, and the store does not have. */
import { html, useEffect, useState } from "./vendor/preact.js";
import { ask, query, returns } from "./ask.js";
import { useCell } from "./cell.js";
import { cursor } from "./chart.js";
import { at, holes, patience } from "./lines.js";
import { address, time } from "./time.js";
import { moment, number, rfc, seconds } from "./words.js";

/**
 * @typedef {import("./lines.js").Line} Line
 * @typedef {{device: string, source: string, lane: string, epoch: string, reason: string, first_seq: number, readings: number, before: number | null, detail: string}} Gap
 * `before`: its readings were measured before this moment, in seconds.
 * @typedef {{key: string, from: number, to: number, gap: Gap}} Band `from` is -Infinity if nothing is known before it
 */

const SECONDS = 5;
const MOST = 200;
const SHOWN = 4;
/** What a node loses while it is connected, it tells within so many seconds. */
const TOLD = 60;

/** The gaps of the nodes that have these devices, asked again and again. @param {Line[]} lines @param {number} since @returns {Gap[]} */
export function useGaps(lines, since) {
  const [found, set] = useState(/** @type {Gap[]} */ ([]));
  const devices = [...new Set(lines.map((line) => line.device))];
  const from = Math.max(0, Math.floor(since / 3600) * 3600);
  useEffect(() => {
    if (!devices.length) return undefined;
    const stop = new AbortController();
    const look = () => {
      if (document.hidden) return;
      const asked = devices.map((device) => ask(query("/gaps", { device_id: device, since: rfc(from), limit: MOST }), { signal: stop.signal }).then(({ data }) => data.map((/** @type {any} */ gap) => ({ ...gap, device, before: gap.before && seconds(gap.before) }))));
      Promise.all(asked).then((all) => set(all.flat()), () => {}); // what was known stands; the page says that the server is away
    };
    look();
    const timer = setInterval(look, SECONDS * 1000);
    const forget = returns.watch(look);
    return () => {
      stop.abort();
      clearInterval(timer);
      forget();
    };
  }, [devices.join("\n"), from]);
  return found;
}

/** Where gaps lie among the lines of a chart, in what is seen of it. @param {Gap[]} gaps @param {Line[]} lines @param {number} since @param {number} until @returns {Band[]} */
export function placed(gaps, lines, since, until) {
  /** @type {Map<string, Band>} */
  const bands = new Map();
  const empty = gaps.length ? lines.map(holes) : [];
  for (const gap of gaps) {
    for (const [i, line] of lines.entries()) {
      const span = line.device === gap.device ? spanOf(gap, line, empty[i], until) : null;
      if (!span || span[1] < since || span[0] > until) continue;
      const key = [gap.source, gap.lane, gap.epoch, gap.reason, gap.first_seq].join(" ");
      const known = bands.get(key);
      bands.set(key, { key, gap, from: Math.min(span[0], known?.from ?? Infinity), to: Math.max(span[1], known?.to ?? -Infinity) });
    }
  }
  return [...bands.values()].sort((a, b) => a.to - b.to);
}

/**
 * Where a gap lies in a line. What is missing lies between the last reading before it and the first after it. Of what was lost
 * or set aside is known only when that was told: it lies in the hole before that moment; if the line has none, right before it.
 * @param {Gap} gap @param {Line} line @param {[number, number][]} empty its holes @param {number} until what is seen ends here
 * @returns {[number, number] | null}
 */
function spanOf(gap, line, empty, until) {
  if (gap.before === null) return null;
  const before = gap.before;
  const hole = gap.reason === "missing" ? undefined : empty.findLast(([from, to]) => from < before && (gap.lane === "backlog" || to > before - TOLD));
  if (hole) return hole;
  const after = at(line.t, line.step ? before - line.step + 1e-6 : before);
  const last = after > 0 ? line.t[after - 1] + line.step : -Infinity;
  if (before > until && !(until - last > patience(line.t, line.step) && Number.isFinite(last))) return null;
  return [Math.min(last, before), before];
}

/** @param {Gap} gap */
function said({ reason, readings, source, detail }) {
  const many = `${number(readings, 0)} ${readings === 1 ? "reading" : "readings"}`;
  if (reason === "missing") return `${many} of node ${source} ${readings === 1 ? "is" : "are"} missing`;
  return `${many} ${reason === "lost" ? "lost by" : "set aside, of"} node ${source}: ${detail}`;
}

/** The gaps in view, in words; those at the cursor stand out. @param {{bands: Band[]}} props */
export function GapList({ bands }) {
  const here = useCell(cursor);
  const { utc } = useCell(time);
  if (bands.length === 0) return null;
  const pointed = (/** @type {Band} */ { from, to }) => here !== null && from <= here && here <= to;
  const shown = bands.length > SHOWN ? [...bands.filter(pointed), ...bands.filter((band) => !pointed(band)).reverse()].slice(0, SHOWN) : bands;
  return html`<ul class="gaplist" aria-label="Gaps in view">
    ${shown.map((band) => html`<li key=${band.key} class=${pointed(band) ? "pointed" : ""}><i aria-hidden="true"></i>${said(band.gap)}, ${Number.isFinite(band.from) ? `between ${moment(band.from, utc)} and` : "before"} ${moment(band.to, utc)} <span class="quiet">${band.gap.lane} lane</span></li>`)}
    ${bands.length > shown.length ? html`<li>and ${bands.length - shown.length} more: <a href=${address("ledger")}>ledger</a></li>` : null}
  </ul>`;
}
