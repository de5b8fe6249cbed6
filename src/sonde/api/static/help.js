/** What the keys do. */
import { html, useEffect, useRef } from "./vendor/preact.js";

const KEYS = [
  ["/", "search series, devices"], ["l", "back to live"], ["← →", "pan"], ["+ −", "closer, wider"], ["p", "play the past, pause"],
  ["t", "chart or table"], ["z", "UTC or this browser's zone"], ["a", "acknowledge the first firing alert"], ["1 … 6", "the views, from the left"], ["?", "this page"], ["Esc", "close"],
];

/** @param {{close: () => void}} props */
export function Help({ close }) {
  const box = /** @type {import("./vendor/preact.js").Ref<HTMLDialogElement>} */ (useRef(null));
  useEffect(() => box.current.showModal(), []);
  return html`<dialog ref=${box} class="help" aria-label="Keys" onClose=${close} onClick=${(/** @type {Event} */ e) => e.target === box.current && box.current.close()}>
    <h2>Keys</h2>
    <dl>${KEYS.map(([key, what]) => html`<div><dt>${key.split(" ").map((k) => html`<kbd>${k}</kbd> `)}</dt><dd>${what}</dd></div>`)}</dl>
    <p class="quiet">On a chart: drag to zoom in, double click to zoom out, Ctrl and wheel to zoom, Shift and wheel to pan. A finger pans, two zoom.</p>
    <p><a href="/docs">HTTP api</a></p>
    <button class="main" onClick=${() => box.current.close()}>Close</button>
  </dialog>`;
}
