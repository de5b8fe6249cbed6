/** Questions to the server: every answer as data, every failure as a {@link Trouble} in plain words. */
import { useEffect, useState } from "./vendor/preact.js";
import { cell } from "./cell.js";

/** What went wrong: `status` is 0 if the server could not be reached. */
export class Trouble extends Error {
  /**
   * @param {number} status
   * @param {string} detail what happened and what to do
   * @param {string} [field] which field was wrong
   */
  constructor(status, detail, field) {
    super(detail);
    this.status = status;
    this.field = field;
  }
}

/**
 * @typedef {{data: any, cursor: string, total: number, next: string}} Answer
 * `cursor` is the place in the log that the answer stands for, `next` the path of the next page.
 */

/** Whether the last request reached the server; the feed and the polls set it. */
export const reached = cell(true);
/** Whether this browser is signed in. */
export const signedIn = cell(true);
/** Moves each time the server has come back: whoever shows an answer asks again. */
export const returns = cell(0);
const signedOut = new AbortController();

/** Nothing is asked any more: who signs out has a page for a moment yet, whose questions would be refused. */
export function leave() {
  signedIn.set(false);
  signedOut.abort();
}

/**
 * @param {string} path
 * @param {{method?: string, body?: unknown, signal?: AbortSignal}} [options]
 * @returns {Promise<Answer>}
 */
export async function ask(path, { method = "GET", body, signal } = {}) {
  const headers = body === undefined ? undefined : { "Content-Type": "application/json" };
  const until = AbortSignal.any(signal ? [signal, signedOut.signal] : [signedOut.signal]);
  let response;
  try {
    response = await fetch(path, { method, headers, signal: until, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (signal?.aborted) throw error;
    if (signedOut.signal.aborted) throw new Trouble(401, "This browser is no longer signed in.");
    reached.set(false);
    throw new Trouble(0, "The server cannot be reached. What is shown is what was known before.");
  }
  if (!reached.get()) {
    reached.set(true);
    returns.set(returns.get() + 1);
  }
  if (response.status === 401) leave();
  const text = await response.text();
  const data = parsed(text);
  if (!response.ok) throw new Trouble(response.status, data?.detail ?? `The server answered ${response.status}.`, data?.field);
  const next = /<([^>]+)>; rel="next"/.exec(response.headers.get("Link") ?? "")?.[1] ?? "";
  const total = Number(response.headers.get("Sonde-Total") ?? -1);
  return { data, cursor: response.headers.get("Sonde-Cursor") ?? "", total, next };
}

/** Milliseconds until a question is asked again that the server could not answer for now. */
export const AGAIN = 2000;

/** Whether the same question may be answered in a while. @param {unknown} error */
export const comesBack = (error) => error instanceof Trouble && [0, 429, 502, 503, 504].includes(error.status);

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/**
 * `path` with the parameters that are not empty.
 * @param {string} path
 * @param {Record<string, string | number | undefined>} parameters
 */
export function query(path, parameters) {
  const kept = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== "");
  return kept.length ? `${path}?${new URLSearchParams(kept.map(([k, v]) => [k, String(v)]))}` : path;
}

/**
 * @typedef {{data: any, trouble: Trouble | null, at: number, total: number, again: () => void}} Known
 * The newest answer (null: none yet), when it came (`performance.now()`), and why there is no newer one.
 */

/**
 * The answer to a question, asked again every so many seconds while the page is seen.
 * @param {string} path empty: ask nothing
 * @param {number} seconds 0: ask once, and again when the server has come back
 * @returns {Known}
 */
export function useAnswer(path, seconds = 0) {
  const [known, set] = useState(/** @type {{path: string, data: any, trouble: Trouble | null, at: number, total: number}} */ ({ path: "", data: null, trouble: null, at: 0, total: -1 }));
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    if (!path) return undefined;
    const stop = new AbortController();
    let timer = 0;
    const go = async () => {
      clearTimeout(timer);
      try {
        const { data, total } = await ask(path, { signal: stop.signal });
        set({ path, data, trouble: null, at: performance.now(), total });
      } catch (error) {
        if (stop.signal.aborted) return;
        if (!seconds && comesBack(error)) timer = setTimeout(go, AGAIN);
        set((before) => ({ ...(before.path === path ? before : { data: null, at: 0, total: -1 }), path, trouble: /** @type {Trouble} */ (error) }));
      }
      if (seconds) timer = setTimeout(() => (document.hidden ? (timer = 0) : go()), seconds * 1000);
    };
    const seen = () => !document.hidden && seconds && go();
    document.addEventListener("visibilitychange", seen);
    const forget = returns.watch(go);
    go();
    return () => {
      stop.abort();
      clearTimeout(timer);
      forget();
      document.removeEventListener("visibilitychange", seen);
    };
  }, [path, seconds, turn]);
  const current = known.path === path || seconds ? known : { data: null, trouble: null, at: 0, total: -1 };
  return { ...current, again: () => setTurn((n) => n + 1) };
}
