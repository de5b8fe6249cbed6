/** A value that others can watch: what several views share lives in one of these. */
import { useEffect, useState } from "./vendor/preact.js";

/**
 * @template T
 * @typedef {{get: () => T, set: (value: T) => void, watch: (watcher: (value: T) => void) => () => void}} Cell
 */

/**
 * @template T
 * @param {T} value what it holds at first
 * @returns {Cell<T>}
 */
export function cell(value) {
  /** @type {Set<(value: T) => void>} */
  const watchers = new Set();
  return {
    get: () => value,
    set(next) {
      if (Object.is(next, value)) return;
      value = next;
      for (const watcher of [...watchers]) watcher(value);
    },
    watch(watcher) {
      watchers.add(watcher);
      return () => watchers.delete(watcher);
    },
  };
}

/**
 * The value of a cell; the component is drawn again when it changes.
 * @template T
 * @param {Cell<T>} from
 * @returns {T}
 */
export function useCell(from) {
  const [, again] = useState(0);
  const value = from.get();
  useEffect(() => {
    if (from.get() !== value) again((n) => n + 1);
    return from.watch(() => again((n) => n + 1));
  }, [from]);
  return value;
}
