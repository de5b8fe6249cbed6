/**
 * The live feed, as `docs/live.md` describes it: one connection for the page, a subscription for each that follows.
 *
 * Every message says its place in the log. When the connection breaks, each subscription resumes from the last place it
 * knows, so nothing is missed and nothing comes twice.
 */
import { cell } from "./cell.js";
import { ask, leave, reached, returns, signedIn } from "./ask.js";

/**
 * @typedef {{device: string, metric: string, site: string, zone: string, labels: Record<string, string>, micros: number, value: unknown, quality: number}} Live
 * @typedef {{device: string, metric: string, site?: string, zone?: string, labels?: Record<string, string>}} Named
 * @typedef {object} Wish
 * @property {string[]} [devices] exact names; absent: all @property {string[]} [metrics]
 * @property {string[]} [kinds] of message: data, alert, corrected, command_result, device_message
 * @property {string} [cursor] where to begin; absent: now @property {number} [rate] readings of a series a second at most
 * @property {(readings: Live[]) => void} [readings] @property {(of: Named | null, from: number, to: number) => void} [corrected]
 * @property {() => void} [lost] something is missing that will not come: ask the store
 * @property {(cursor: string) => void} [place] the place in the log up to which all has come
 * @property {(message: any) => void} [event] an alert, or a step of a command
 * @typedef {{state: "starting" | "live" | "lost", since: number, last: number}} Connection
 * `since` and `last` (the newest message) are moments of `performance.now()`.
 */

/** @type {import("./cell.js").Cell<Connection>} */
export const connection = cell(/** @type {Connection} */ ({ state: "starting", since: performance.now(), last: 0 }));

const PATIENCE = 20_000;
const ASK = 8_000;
const LONGEST = 5_000;

/** @type {Map<string, Wish>} */
const wishes = new Map();
/** @type {WebSocket | null} */
let socket = null;
let tries = 0;
let number = 0;
let retry = 0;

/**
 * Follow the feed until the function that comes back is called.
 * @param {Wish} wish
 * @returns {() => void}
 */
export function follow(wish) {
  const id = `f${(number += 1)}`;
  wishes.set(id, { ...wish });
  if (socket?.readyState === WebSocket.OPEN) subscribe(id);
  return () => {
    if (wishes.delete(id) && socket?.readyState === WebSocket.OPEN) send({ type: "unsubscribe", id });
  };
}

/** @param {object} message */
const send = (message) => socket?.send(JSON.stringify(message));

/** A name as a pattern that matches nothing else. @param {string} name */
const exactly = (name) => name.replace(/[*?[]/g, "[$&]");

/** @param {string} id */
function subscribe(id) {
  const { devices, metrics, kinds, cursor, rate } = /** @type {Wish} */ (wishes.get(id));
  const some = (/** @type {string[] | undefined} */ names) => (names?.length && names.length <= 100 ? names.map(exactly) : undefined);
  send({ type: "subscribe", id, device: some(devices), metric: some(metrics), kinds: kinds ?? ["data", "corrected"], cursor: cursor || undefined, rate, request_id: id });
}

/** Open the connection, and open it again whenever it breaks. */
export function connect() {
  clearTimeout(retry);
  if (!signedIn.get() || (socket && socket.readyState < WebSocket.CLOSING)) return;
  const opened = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`, ["sonde.v1"]);
  socket = opened;
  opened.onopen = () => {
    tries = 0;
    for (const id of wishes.keys()) subscribe(id);
    connection.set({ state: "live", since: performance.now(), last: performance.now() });
    if (!reached.get()) {
      reached.set(true);
      returns.set(returns.get() + 1);
    }
  };
  opened.onmessage = (event) => {
    connection.get().last = performance.now();
    take(JSON.parse(event.data));
  };
  opened.onclose = () => {
    if (socket !== opened) return;
    socket = null;
    broken();
  };
}

function broken() {
  const before = connection.get();
  if (before.state !== "lost") connection.set({ ...before, state: "lost", since: performance.now() });
  if (!signedIn.get()) return;
  tries += 1;
  retry = setTimeout(connect, Math.random() * Math.min(LONGEST, 250 * 2 ** Math.min(tries, 6)) + 100);
  if (tries % 4 === 2) ask("/session").then(({ data }) => data.name === null && !data.scopes.length && leave(), () => {});
}

/** A connection on which nothing comes, not even the answer to a ping, is broken too. */
setInterval(() => {
  if (socket?.readyState !== WebSocket.OPEN) return;
  const quiet = performance.now() - connection.get().last;
  if (quiet > PATIENCE) socket.close();
  else if (quiet > ASK) send({ type: "ping" });
}, 2_000);
addEventListener("online", connect);

/** @param {any} message */
function take(message) {
  const wish = wishes.get(message.subscription ?? message.request_id);
  if (!wish) return;
  switch (message.type) {
    case "data":
      wish.readings?.(message.readings.map(readingOf));
      break;
    case "corrected":
      wish.corrected?.(message.series, Date.parse(message.from) / 1000, Date.parse(message.to) / 1000);
      break;
    case "gap":
    case "error":
      wish.cursor = undefined;
      wish.lost?.();
      break;
    case "alert":
    case "command_result":
    case "device_message":
      wish.event?.(message);
      break;
    default:
  }
  if (message.cursor && message.type !== "error") {
    wish.cursor = message.cursor;
    wish.place?.(message.cursor);
  }
}

/** @param {any} said @returns {Live} */
function readingOf({ device, metric, site, zone, labels = {}, time, value, quality = 0 }) {
  const micros = Date.parse(`${time.slice(0, 19)}Z`) * 1000 + Number(time.slice(20, 26));
  return { device, metric, site, zone, labels, micros, value, quality };
}
