/**
 * What a chart draws of one series: readings or buckets, oldest first, with live readings folded in.
 *
 * A line with `step` 0 holds readings as they came; else aligned buckets of `step` seconds with extremes and mean, so that
 * folding readings into them gives what the server would have given.
 */

/**
 * @typedef {object} Line
 * @property {number} series @property {string} device @property {string} metric @property {string} site
 * @property {string} zone @property {Record<string, string>} labels @property {string} kind @property {string} unit
 * @property {number} step seconds
 * @property {number[]} t seconds since 1970 @property {(number | null)[]} mid @property {(number | null)[]} lo
 * @property {(number | null)[]} hi @property {number[]} n readings @property {number[]} q the worst quality
 * @property {unknown[]} raw values as they came, of a line with step 0; of a line of words what each bucket says, null: several things
 * @property {[number, number][]} mended spans that late data changed
 */

const DRAWN_QUALITY = [0, 2];

/** @param {unknown} value @param {number} quality */
const drawn = (value, quality) => {
  if (!DRAWN_QUALITY.includes(quality)) return null;
  if (typeof value === "boolean") return value ? 1 : 0;
  return typeof value === "number" ? value : null;
};

/**
 * A line from what `GET /samples` says of a series.
 * @param {any} said
 * @returns {Line}
 */
export function lineOf(said) {
  const { series, device, metric, site, zone, labels, kind, unit } = said;
  const t = said.time.map((/** @type {number} */ micros) => micros / 1e6);
  const head = { series, device, metric, site, zone, labels, kind, unit, t, q: said.quality, mended: [] };
  if (said.step) return { ...head, step: said.step / 1e6, mid: said.avg, lo: said.min, hi: said.max, n: said.count, raw: said.text ?? [] };
  const mid = said.value.map((/** @type {unknown} */ v, /** @type {number} */ i) => drawn(v, said.quality[i]));
  return { ...head, step: 0, mid, lo: mid, hi: mid, n: [], raw: said.value };
}

/** Whether its values are words. @param {Line} line */
export const worded = (line) => line.kind === "text";

/** What a reading must say to be of this series. @param {{device: string, metric: string, site?: string, zone?: string, labels?: Record<string, string>}} of */
export const nameOf = (of) => JSON.stringify([of.device, of.metric, of.site ?? "", of.zone ?? "", Object.entries(of.labels ?? {}).sort()]);

/** What people call it: device and metric, and labels if it has some. @param {Line | any} line */
export function title(line) {
  const labels = Object.values(line.labels ?? {}).join(" ");
  return `${line.device} ${line.metric}${labels ? ` ${labels}` : ""}`;
}

/**
 * The first place in `times` that is not before `time`.
 * @param {number[]} times
 * @param {number} time
 */
export function at(times, time) {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] < time) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * Take one reading in, wherever its time puts it.
 * @param {Line} line
 * @param {number} micros its time, microseconds since 1970
 * @param {unknown} value
 * @param {number} quality
 */
export function fold(line, micros, value, quality) {
  if (line.step) foldBucket(line, micros, value, quality);
  else insert(line, micros / 1e6, value, quality);
}

/** @param {Line} line @param {number} time @param {unknown} value @param {number} quality */
function insert(line, time, value, quality) {
  let place = line.t.length;
  while (place > 0 && line.t[place - 1] > time) place -= 1;
  const shown = drawn(value, quality);
  line.t.splice(place, 0, time);
  line.mid.splice(place, 0, shown);
  line.q.splice(place, 0, quality);
  line.raw.splice(place, 0, value);
}

/** @param {Line} line @param {number} micros @param {unknown} came @param {number} quality */
function foldBucket(line, micros, came, quality) {
  const value = drawn(came, quality);
  const step = Math.round(line.step * 1e6);
  const time = (Math.floor(micros / step) * step) / 1e6;
  const place = at(line.t, time);
  if (line.t[place] !== time) {
    line.t.splice(place, 0, time);
    line.n.splice(place, 0, 0);
    line.q.splice(place, 0, 0);
    for (const column of [line.mid, line.lo, line.hi]) column.splice(place, 0, null);
    if (worded(line)) line.raw.splice(place, 0, came);
  }
  line.q[place] = Math.max(line.q[place], quality);
  if (worded(line) && line.raw[place] !== came) line.raw[place] = null;
  if (value === null) return;
  const before = line.n[place];
  line.mid[place] = ((line.mid[place] ?? 0) * before + value) / (before + 1);
  line.lo[place] = before ? Math.min(/** @type {number} */ (line.lo[place]), value) : value;
  line.hi[place] = before ? Math.max(/** @type {number} */ (line.hi[place]), value) : value;
  line.n[place] = before + 1;
}

/**
 * Forget what is before a moment.
 * @param {Line} line
 * @param {number} since
 */
export function trim(line, since) {
  const cut = at(line.t, since - line.step);
  if (cut < 64) return;
  const columns = line.step ? [line.t, line.mid, line.lo, line.hi, line.n, line.q] : [line.t, line.mid, line.q, line.raw];
  for (const column of columns) column.splice(0, cut);
  if (line.step && worded(line)) line.raw.splice(0, cut);
}

/**
 * From what distance on two neighbours have a hole between them.
 * @param {number[]} t
 * @param {number} step
 */
export function patience(t, step) {
  if (t.length < 3) return Infinity;
  const sampled = [];
  for (let i = Math.max(1, t.length - 400); i < t.length; i += 1) sampled.push(t[i] - t[i - 1]);
  sampled.sort((a, b) => a - b);
  return Math.max(sampled[Math.floor(sampled.length / 2)] * 5, step * 2.5, 0.001);
}

/**
 * The spans in which nothing was measured, though it is before and after.
 * @param {Line} line
 * @returns {[number, number][]}
 */
export function holes(line) {
  const most = patience(line.t, line.step);
  /** @type {[number, number][]} */
  const found = [];
  for (let i = 1; i < line.t.length; i += 1) {
    if (line.t[i] - line.t[i - 1] > most) found.push([line.t[i - 1] + line.step, line.t[i]]);
  }
  return found;
}

/**
 * The columns of a line as uPlot takes them, with a null where a hole is. Buckets stand at their middle.
 * @param {Line} line
 * @param {boolean} band extremes too
 * @returns {(number | null)[][]}
 */
export function columns(line, band) {
  const gaps = holes(line);
  const sources = band ? [line.mid, line.lo, line.hi] : [line.mid];
  const half = line.step / 2;
  if (gaps.length === 0 && half === 0) return [line.t, ...sources];
  const out = /** @type {(number | null)[][]} */ ([[], ...sources.map(() => [])]);
  let gap = 0;
  for (let i = 0; i < line.t.length; i += 1) {
    if (gap < gaps.length && line.t[i] === gaps[gap][1]) {
      out[0].push((gaps[gap][0] + gaps[gap][1]) / 2);
      for (let c = 1; c < out.length; c += 1) out[c].push(null);
      gap += 1;
    }
    out[0].push(line.t[i] + half);
    for (let c = 1; c < out.length; c += 1) out[c].push(sources[c - 1][i]);
  }
  return out;
}

/**
 * Where the value known at a moment stands, or -1 if none is: the newest before it, unless that is too long ago.
 * @param {Line} line
 * @param {number} time
 */
export function indexAt(line, time) {
  const after = at(line.t, time + 1e-9);
  if (after === 0) return -1;
  const age = time - line.t[after - 1] - line.step;
  return age > patience(line.t, line.step) ? -1 : after - 1;
}

/**
 * The value of a line at a place, of any kind.
 * @param {Line} line
 * @param {number} index
 */
export const valueAt = (line, index) => (line.step && !worded(line) ? line.mid[index] : line.raw[index]);

/**
 * Least, mean and greatest in a span; how many readings they stand for.
 * @param {Line} line
 * @param {number} since
 * @param {number} until
 */
export function stats(line, since, until) {
  let [least, most, sum, count] = [Infinity, -Infinity, 0, 0];
  for (let i = at(line.t, since - line.step); i < line.t.length && line.t[i] < until; i += 1) {
    const mid = line.mid[i];
    if (mid === null) continue;
    const n = line.step ? line.n[i] : 1;
    least = Math.min(least, line.lo[i] ?? mid);
    most = Math.max(most, line.hi[i] ?? mid);
    sum += mid * n;
    count += n;
  }
  return count ? { least, most, mean: sum / count, count } : null;
}

/** How many readings, or buckets, there are in a span. @param {Line} line @param {number} since @param {number} until */
export const countIn = (line, since, until) => at(line.t, until) - at(line.t, since);

/**
 * The spans that all of them have in common.
 * @param {[number, number][][]} lists each sorted
 */
export function common(lists) {
  return lists.slice(1).reduce((all, list) => {
    /** @type {[number, number][]} */
    const both = [];
    for (const [a, b] of all) for (const [c, d] of list) if (Math.max(a, c) < Math.min(b, d)) both.push([Math.max(a, c), Math.min(b, d)]);
    return both;
  }, lists[0] ?? []);
}
