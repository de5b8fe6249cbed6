/** Alerts: what fires first, what was done about it, what was before; and the rules. */
import { html, useState } from "./vendor/preact.js";
import { Trouble, ask, useAnswer } from "./ask.js";
import { Age, At, Empty, Problem, Severity, Waiting } from "./parts.js";
import { address, now } from "./time.js";
import { number, seconds, span } from "./words.js";

/** @param {string} [_] */
export function acknowledgeFirst(_) {
  /** @type {HTMLElement | null} */ (document.querySelector("button[data-acknowledge]"))?.click();
}

export function Alerts() {
  const open = useAnswer("/alerts?state=open&limit=1000", 3);
  return html`<main><h1>Alerts</h1></main>`;
}
