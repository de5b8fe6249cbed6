/** Alert rules: what they watch, and what a change of one would have done over the last day. */
import { html } from "./vendor/preact.js";

export function Rules() {
  return html`<p class="quiet">Rules stand in the configuration.</p>`;
}
