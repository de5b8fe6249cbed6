/** Numbers, ages and times as people read them. Times are seconds since 1970 unless said otherwise. */

const THIN = "\u202f";
const MINUS = "\u2212";

/**
 * A number with a fixed count of decimals and thin spaces between thousands.
 * @param {number | null | undefined} value
 * @param {number} [digits]
 */
export function number(value, digits) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const fixed = Math.abs(value).toFixed(digits ?? digitsOf([value]));
  const [whole, part] = fixed.split(".");
  const grouped = whole.length > 4 ? whole.replace(/\B(?=(\d{3})+$)/g, THIN) : whole;
  const minus = value < 0 && Number(fixed) !== 0 ? MINUS : "";
  return minus + grouped + (part ? `.${part}` : "");
}

/**
 * How many decimals a column of numbers deserves, so that its points align.
 * @param {(number | null | undefined)[]} values
 */
export function digitsOf(values) {
  const known = values.filter((v) => typeof v === "number" && Number.isFinite(v)).map((v) => Math.abs(Number(v)));
  if (known.length === 0 || known.every((v) => Number.isInteger(v))) return 0;
  const most = Math.max(...known);
  if (most >= 100) return most >= 1000 ? 0 : 1;
  if (most >= 10) return 1;
  return most >= 1 ? 2 : Math.min(8, 2 - Math.floor(Math.log10(most || 1)));
}

/**
 * A value of any kind, in few words.
 * @param {unknown} value
 */
export function plain(value) {
  if (typeof value === "number") return number(value);
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (value === null || value === undefined) return "–";
  return typeof value === "string" ? value : JSON.stringify(value);
}

const SPANS = /** @type {[number, string][]} */ ([[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]]);

/**
 * A length of time in its largest unit: `3 s`, `4 min`, `2 h`, `5 d`.
 * @param {number} seconds
 */
export function span(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  const abs = Math.abs(seconds);
  if (abs < 1) return abs < 0.0005 ? "0 s" : `${Math.round(abs * 1000)} ms`;
  const [size, unit] = SPANS.find(([s]) => abs >= s * 2 || (abs >= s && abs % s < 1)) ?? [1, "s"];
  return `${Math.floor(abs / size)} ${unit}`;
}

/**
 * @param {number} bytes
 */
export function size(bytes) {
  let left = bytes;
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (left < 1000) return `${left < 10 && unit !== "B" ? left.toFixed(1) : Math.round(left)} ${unit}`;
    left /= 1000;
  }
  return `${left.toFixed(1)} TB`;
}

/**
 * Seconds of a time as the api writes it.
 * @param {string} text RFC 3339
 */
export const seconds = (text) => Date.parse(text) / 1000;

/**
 * A time as the api reads it.
 * @param {number} time
 */
export const rfc = (time) => new Date(time * 1000).toISOString();

const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");
const two = (/** @type {number} */ n) => String(n).padStart(2, "0");

/**
 * The parts of a time in the zone shown.
 * @param {number} time
 * @param {boolean} utc
 */
function parts(time, utc) {
  const date = new Date(time * 1000);
  const shown = utc ? date : new Date(date.getTime() - date.getTimezoneOffset() * 60_000);
  const text = shown.toISOString();
  return { day: `${shown.getUTCDate()} ${MONTHS[shown.getUTCMonth()]}`, year: text.slice(0, 4), date: text.slice(0, 10), clock: text.slice(11, 19), ms: text.slice(20, 23), midnight: text.slice(11, 16) === "00:00" };
}

/**
 * `17:03:12`, with the day before it if it is not today.
 * @param {number} time
 * @param {boolean} utc
 */
export function moment(time, utc) {
  const { day, clock, date } = parts(time, utc);
  return date === parts(Date.now() / 1000, utc).date ? clock : `${day} ${clock}`;
}

/**
 * `2026-11-21 17:03:12.250`.
 * @param {number} time
 * @param {boolean} utc
 * @param {boolean} [fine] milliseconds too
 */
export function stamp(time, utc, fine = false) {
  const { date, clock, ms } = parts(time, utc);
  return `${date} ${clock}${fine ? `.${ms}` : ""}`;
}

/**
 * The labels of a time axis: hours and minutes, days where they begin.
 * @param {number[]} times
 * @param {number} step between two of them
 * @param {boolean} utc
 */
export function axisTimes(times, step, utc) {
  let before = "";
  return times.map((time) => {
    const { day, year, clock, ms, midnight } = parts(time, utc);
    if (step >= 86400 * 300) return year;
    if (step >= 86400) return day;
    const text = step < 1 ? `${clock.slice(3)}.${ms.slice(0, step < 0.1 ? 3 : 1)}` : clock.slice(0, step < 60 ? 8 : 5);
    const label = midnight && day !== before ? day : text;
    before = day;
    return label;
  });
}

/**
 * The name of the zone that times are shown in.
 * @param {boolean} utc
 */
export function zone(utc) {
  if (utc) return "UTC";
  const minutes = -new Date().getTimezoneOffset();
  if (minutes === 0) return "UTC";
  const hours = `${minutes < 0 ? MINUS : "+"}${Math.floor(Math.abs(minutes) / 60)}`;
  return `UTC${hours}${minutes % 60 ? `:${two(Math.abs(minutes % 60))}` : ""}`;
}

/**
 * The letters that stand for series, in chart and legend alike: A, B, …, Z, AA.
 * @param {number} index
 * @returns {string}
 */
export const letter = (index) => (index < 26 ? String.fromCharCode(65 + index) : letter(Math.floor(index / 26) - 1) + letter(index % 26));
