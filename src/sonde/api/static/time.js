/** The time that the whole page looks at, and the address of the view: both stand in the URL, so a link shares them. */
import { cell } from "./cell.js";

/**
 * @typedef {{live: boolean, span: number, since: number, until: number, speed: number, utc: boolean}} Time
 * Seconds. While `live`, the right edge is the present and `span` says how far back; else `since` and `until` stand.
 * `speed` above 0 plays the past.
 */
/** @typedef {{view: string, rest: string, params: URLSearchParams}} Place */

export const SPANS = /** @type {[string, number][]} */ ([
  ["15 min", 900], ["1 h", 3600], ["6 h", 21600], ["24 h", 86400], ["7 d", 604800], ["30 d", 2592000],
]);
const LEAST = 0.05;
const MOST = 366 * 86400;

/** What the server's clock is ahead of this one, in seconds. */
let ahead = 0;

/** The present by the server's clock, in seconds since 1970. */
export const now = () => Date.now() / 1000 + ahead;

/**
 * Take over the server's clock: it said `time` in an answer to a question asked between two moments of ours.
 * @param {number} time
 * @param {number} asked
 * @param {number} answered
 */
export function setClock(time, asked, answered) {
  const found = time - (asked + answered) / 2;
  if (Math.abs(found - ahead) > Math.max(0.5, answered - asked)) ahead = found;
}

/** @type {import("./cell.js").Cell<Time>} */
export const time = cell(/** @type {Time} */ ({ live: true, span: 900, since: 0, until: 0, speed: 0, utc: false }));
/** @type {import("./cell.js").Cell<Place>} */
export const place = cell({ view: "overview", rest: "", params: new URLSearchParams() });

/** The span seen now. */
export function seen() {
  const { live, span, since, until } = time.get();
  if (!live) return { since, until };
  const end = now();
  return { since: end - span, until: end };
}

/** @param {Partial<Time>} change */
function set(change) {
  time.set({ ...time.get(), ...change });
  write(true);
}

/** @param {number} [span] how far back, as it was unless given */
export const goLive = (span) => set({ live: true, speed: 0, span: span ?? time.get().span });

/**
 * Look at a span; one that reaches the present stays there, but does not move.
 * @param {number} since
 * @param {number} until
 */
export function look(since, until) {
  const length = Math.min(MOST, Math.max(LEAST, until - since));
  const end = Math.min(Math.max(length, until), now());
  set({ live: false, speed: 0, since: end - length, until: end, span: length });
}

/** @param {number} share of the span to move by; negative is the past */
export function pan(share) {
  const { since, until } = seen();
  const by = (until - since) * share;
  look(since + by, until + by);
}

/**
 * @param {number} factor below 1 is closer
 * @param {number} [around] stays where it is; the middle, or the present while live
 */
export function zoom(factor, around) {
  const { since, until } = seen();
  const length = Math.min(MOST, Math.max(LEAST, (until - since) * factor));
  if (time.get().live && around === undefined) {
    set({ span: Math.round(length) || 1 });
    return;
  }
  const at = around ?? (since + until) / 2;
  const start = at - ((at - since) / (until - since)) * length;
  look(start, start + length);
}

/** @param {number} speed how many times as fast as it was; 0 stops */
export function play(speed) {
  const { since, until } = seen();
  const { live, span } = time.get();
  const from = live && speed ? { since: since - span, until: until - span } : { since, until };
  set({ live: false, speed, span, ...from });
}

/** @param {number} seconds that have passed: a playing view moves on, and is live when it comes to the present */
export function advance(seconds) {
  const { live, speed, since, until } = time.get();
  if (live || !speed) return;
  const by = seconds * speed;
  if (until + by >= now()) goLive();
  else time.set({ ...time.get(), since: since + by, until: until + by });
}

export const switchZone = () => set({ utc: !time.get().utc });

/**
 * Go to another view, or change what the URL says of this one. A parameter that is null goes.
 * @param {string} view
 * @param {Record<string, string | null>} [params]
 * @param {{rest?: string, replace?: boolean}} [options] `rest` is what comes after the view's name
 */
export function go(view, params = {}, { rest = "", replace = false } = {}) {
  const kept = view === place.get().view && replace ? new URLSearchParams(place.get().params) : new URLSearchParams();
  for (const [name, value] of Object.entries(params)) value === null ? kept.delete(name) : kept.set(name, value);
  place.set({ view, rest, params: kept });
  write(replace);
}

/** The address of a view with the time as it is: for links. @param {string} view @param {Record<string, string>} [params] @param {string} [rest] */
export function address(view, params = {}, rest = "") {
  return hash({ view, rest, params: new URLSearchParams(params) }, time.get());
}

/** @param {Place} at @param {Time} t */
function hash(at, t) {
  const params = new URLSearchParams(at.params);
  if (t.live) {
    if (t.span !== 900) params.set("span", String(t.span));
  } else {
    params.set("since", (t.since * 1000).toFixed(0));
    params.set("until", (t.until * 1000).toFixed(0));
  }
  if (t.utc) params.set("zone", "utc");
  const rest = at.rest ? `/${at.rest.split("/").map(encodeURIComponent).join("/")}` : "";
  const text = params.toString().replaceAll("%2C", ",");
  return `#/${at.view}${rest}${text ? `?${text}` : ""}`;
}

/** @param {boolean} replace */
function write(replace) {
  const wanted = hash(place.get(), time.get());
  if (wanted === location.hash) return;
  history[replace ? "replaceState" : "pushState"](null, "", wanted);
}

/** Take place and time from the URL. */
export function read() {
  const [path, text = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [view, ...rest] = path.split("/").map(decodeURIComponent);
  const params = new URLSearchParams(text);
  const [since, until, span] = ["since", "until", "span"].map((name) => Number(params.get(name)));
  const fixed = since > 0 && until > since;
  const t = time.get();
  time.set({
    live: !fixed,
    span: fixed ? (until - since) / 1000 : span > 0 ? Math.min(span, MOST) : 900,
    since: fixed ? since / 1000 : t.since,
    until: fixed ? until / 1000 : t.until,
    speed: 0,
    utc: params.get("zone") === "utc",
  });
  for (const name of ["since", "until", "span", "zone"]) params.delete(name);
  place.set({ view: view || "overview", rest: rest.join("/"), params });
}

/** Look at a stretch of time and some of what was before and after. @param {number} since @param {number} until */
export function rangeAround(since, until) {
  const more = Math.max(300, (until - since) / 2);
  look(since - more, until + more);
}
