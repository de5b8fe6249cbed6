/** The one time control of the page. */
import { html, useEffect, useState } from "./vendor/preact.js";
import { useCell } from "./cell.js";
import { SPANS, goLive, look, now, pan, play, seen, switchZone, time, zoom } from "./time.js";
import { span as length, stamp, zone } from "./words.js";

const SPEEDS = [1, 10, 60, 600];

export function TimeBar() {
  const { live, span, speed, utc, since, until } = useCell(time);
  const [picking, pick] = useState(false);
  const named = SPANS.some(([, seconds]) => seconds === span);
  return html`<div class="timebar" role="toolbar" aria-label="Time">
    <button class="live" aria-pressed=${live} onClick=${() => goLive()} title="Live (l)">${live ? "● Live" : "○ Live"}</button>
    <div class="spans" role="group" aria-label="Span">
      ${SPANS.map(([name, seconds]) => html`<button aria-pressed=${span === seconds} onClick=${() => (live ? goLive(seconds) : look(until - seconds, until))}>${name}</button>`)}
      ${named ? null : html`<button aria-pressed="true">${length(span)}</button>`}
    </div>
    <div class="steps" role="group" aria-label="Move">
      <button aria-label="Back by half" title="Back (←)" onClick=${() => pan(-0.5)}>‹</button>
      <button aria-label="Forward by half" title="Forward (→)" disabled=${live} onClick=${() => pan(0.5)}>›</button>
      <button aria-label="Closer" title="Closer (+)" onClick=${() => zoom(0.5)}>+</button>
      <button aria-label="Wider" title="Wider (-)" onClick=${() => zoom(2)}>−</button>
    </div>
    <button class="from" aria-expanded=${picking} onClick=${() => pick(!picking)} title="Pick a span">${live ? `last ${length(span)}` : `${stamp(since, utc)} – ${stamp(until, utc)}`}</button>
    <div class="steps" role="group" aria-label="Play">
      <button aria-pressed=${speed > 0} title="Play the past (p)" onClick=${() => play(speed ? 0 : 10)}>${speed ? "❚❚ Pause" : "▶ Play"}</button>
      ${speed ? html`<label class="inline">at <select aria-label="Speed" value=${speed} onChange=${(/** @type {any} */ e) => play(Number(e.target.value))}>${SPEEDS.map((x) => html`<option value=${x}>${x} ×</option>`)}</select></label>` : null}
    </div>
    <button class="zone" onClick=${switchZone} title="Times in ${utc ? "UTC" : "this browser's zone"}: change">${zone(utc)}</button>
    ${live ? null : html`<p class="paused" role="status">${speed ? `Playing the past, ${speed} × as fast` : "Paused in the past"}. <kbd>l</kbd> goes back to live.</p>`}
    ${picking ? html`<${Picker} done=${() => pick(false)} />` : null}
  </div>`;
}

/** @param {{done: () => void}} props */
function Picker({ done }) {
  const { utc } = useCell(time);
  const [bounds, set] = useState(() => {
    const { since, until } = seen();
    return [field(since, utc), field(until, utc)];
  });
  const [wrong, setWrong] = useState("");
  useEffect(() => document.getElementById("pick-since")?.focus(), []);
  const apply = (/** @type {Event} */ event) => {
    event.preventDefault();
    const [since, until] = bounds.map((text) => Date.parse(utc ? `${text}Z` : text) / 1000);
    if (!(since < until)) setWrong("The start must be before the end.");
    else if (since >= now()) setWrong("Nothing is known of the future.");
    else {
      look(since, until);
      done();
    }
  };
  const input = (/** @type {number} */ i, /** @type {string} */ id) =>
    html`<input id=${id} type="datetime-local" step="1" value=${bounds[i]} required onInput=${(/** @type {any} */ e) => set(bounds.map((b, k) => (k === i ? e.target.value : b)))} />`;
  return html`<form class="pickspan" onSubmit=${apply} onKeyDown=${(/** @type {KeyboardEvent} */ e) => e.key === "Escape" && done()}>
    <label>From ${input(0, "pick-since")}</label><label>To ${input(1, "pick-until")}</label>
    <span class="quiet">${zone(utc)}</span><button class="main">Show</button><button type="button" onClick=${done}>Cancel</button>
    ${wrong ? html`<p class="problem" role="alert">${wrong}</p>` : null}
  </form>`;
}

/** @param {number} at @param {boolean} utc */
function field(at, utc) {
  const date = new Date(at * 1000);
  return (utc ? date : new Date(date.getTime() - date.getTimezoneOffset() * 60_000)).toISOString().slice(0, 19);
}
