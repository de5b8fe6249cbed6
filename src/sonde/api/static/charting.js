/** The data behind the charts of one view: history from the store, then the live feed from the same place in the log. */
import { AGAIN, ask, comesBack, query, Trouble } from "./ask.js";
import { cell } from "./cell.js";
import { follow } from "./feed.js";
import { fold, lineOf, nameOf, trim } from "./lines.js";
import { rfc } from "./words.js";
import { now, seen, time } from "./time.js";

/**
 * @typedef {import("./lines.js").Line} Line
 * @typedef {{lines: Line[], version: number, loading: boolean, trouble: Trouble | null, cursor: string, took: number}} Charted
 * `version` moves whenever the lines do; `cursor` is the place in the log up to which they are known.
 */

const DRAWN = 3000;
const REDRAW = 100;

/** Lines of some series over the span that the page looks at, kept up to date until `stop`. */
export class Charting {
  /** @param {number} width of a chart in pixels */
  constructor(width) {
    /** @type {import("./cell.js").Cell<Charted>} */
    this.state = cell(/** @type {Charted} */ ({ lines: [], version: 0, loading: false, trouble: null, cursor: "", took: 0 }));
    /** @type {number[]} */
    this.series = [];
    this.width = width;
    this.loaded = { since: 0, until: 0, points: 0 };
    /** @type {Map<string, Line>} */
    this.named = new Map();
    /** @type {AbortController | null} */
    this.asking = null;
    /** @type {() => void} */
    this.unfollow = () => {};
    /** @type {[number, number] | null} */
    this.late = null;
    this.timer = 0;
    this.again = 0;
    this.mending = 0;
  }

  /** @param {number[]} series */
  pick(series) {
    this.series = series;
    this.load();
  }

  stop() {
    this.asking?.abort();
    this.unfollow();
    clearTimeout(this.timer);
    clearTimeout(this.again);
    clearTimeout(this.mending);
  }

  /** The span looked at has moved: ask for more if it is not all here. */
  moved() {
    const { since, until } = seen();
    const { live, speed } = time.get();
    const { loaded } = this;
    const inside = since >= loaded.since - 1e-6 && (live || until <= loaded.until + 1e-6);
    const asFine = (until - since) * 1.5 > loaded.points || speed > 0;
    if (this.series.length && !this.asking && !(inside && asFine)) this.load();
    else if (this.series.length && this.asking && !inside) this.load();
  }

  /** Ask the store for all of it, and follow the log from there. */
  async load() {
    this.asking?.abort();
    clearTimeout(this.again);
    if (this.series.length === 0) {
      this.unfollow();
      this.show({ lines: [], loading: false, trouble: null });
      return;
    }
    const asking = new AbortController();
    this.asking = asking;
    const { since, until } = seen();
    const { live, speed } = time.get();
    const end = speed > 0 ? Math.min(until + (until - since), now()) : until;
    const points = Math.max(10, Math.min(Math.round(this.width), Math.floor(DRAWN / this.series.length)) * (speed > 0 ? 2 : 1));
    this.show({ loading: true });
    const began = performance.now();
    try {
      const { data, cursor } = await ask(this.path(since, live ? undefined : end, points), { signal: asking.signal });
      this.loaded = { since, until: end, points: until - since };
      this.take(data, cursor, performance.now() - began);
    } catch (error) {
      if (asking.signal.aborted) return;
      this.show({ loading: false, trouble: /** @type {Trouble} */ (error) });
      if (comesBack(error)) this.again = setTimeout(() => this.load(), AGAIN);
    }
    if (this.asking === asking) this.asking = null;
  }

  /** @param {number} since @param {number | undefined} until @param {number} points */
  path(since, until, points) {
    return query("/samples", { series: this.series.join(","), since: rfc(Math.max(0, since)), until: until && rfc(until), points: Math.min(4000, points) });
  }

  /** @param {any[]} data @param {string} cursor @param {number} took milliseconds */
  take(data, cursor, took) {
    const mended = new Map(this.state.get().lines.map((line) => [line.series, line.mended]));
    const lines = this.series.flatMap((number) => data.filter((said) => said.series === number).map(lineOf));
    for (const line of lines) line.mended = mended.get(line.series) ?? [];
    this.named = new Map(lines.map((line) => [nameOf(line), line]));
    this.unfollow();
    this.unfollow = follow({
      devices: [...new Set(lines.map((line) => line.device))],
      metrics: [...new Set(lines.map((line) => line.metric))],
      cursor,
      readings: (all) => this.fold(all),
      corrected: (of, from, to) => this.correct(of, from, to),
      lost: () => this.load(),
      place: (to) => (this.state.get().cursor = to),
    });
    this.show({ lines, loading: false, trouble: null, cursor, took });
  }

  /** @param {import("./feed.js").Live[]} readings */
  fold(readings) {
    const { live } = time.get();
    let touched = false;
    for (const reading of readings) {
      const line = this.named.get(nameOf(reading));
      const at = reading.micros / 1e6;
      if (!line || at < this.loaded.since || (!live && at >= this.loaded.until)) continue;
      if (line.t.length && at < line.t[line.t.length - 1] - 2) this.correct(reading, at, at);
      fold(line, reading.micros, reading.value, reading.quality);
      touched = true;
    }
    if (!touched) return;
    if (live) for (const line of this.named.values()) trim(line, seen().since - time.get().span * 0.1);
    this.loaded.since = live ? Math.max(this.loaded.since, seen().since - time.get().span * 0.1) : this.loaded.since;
    this.redraw();
    if ([...this.named.values()].some((line) => !line.step && line.t.length > 2 * DRAWN)) this.load();
  }

  /** Late data changed what was there: show where. @param {any} of @param {number} from @param {number} to seconds */
  correct(of, from, to) {
    if (!of) {
      this.load();
      return;
    }
    const line = this.named.get(nameOf(of));
    if (!line || to < this.loaded.since || from > this.loaded.until && !time.get().live) return;
    const near = line.mended.find(([a, b]) => from <= b + 60 && to >= a - 60);
    if (near) [near[0], near[1]] = [Math.min(near[0], from), Math.max(near[1], to)];
    else line.mended.push([from, to]);
    this.redraw();
  }

  redraw() {
    if (this.timer) return;
    this.timer = setTimeout(() => {
      this.timer = 0;
      this.show({});
    }, REDRAW);
  }

  /** @param {Partial<Charted>} change */
  show(change) {
    const state = this.state.get();
    this.state.set({ ...state, ...change, version: state.version + 1 });
  }
}
