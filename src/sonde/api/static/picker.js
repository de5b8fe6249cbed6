/** Picks series: a search over all of them, answered by the server a page at a time. */
import { html, useEffect, useState } from "./vendor/preact.js";
import { query, useAnswer } from "./ask.js";
import { Age, Problem, Waiting } from "./parts.js";
import { now } from "./time.js";
import { number, plain, seconds } from "./words.js";

const PAGE = 60;

/** @param {{picked: number[], toggle: (series: number) => void}} props */
export function Picker({ picked, toggle }) {
  const [typed, type] = useState("");
  const [search, set] = useState("");
  const [limit, more] = useState(PAGE);
  const [open, show] = useState(picked.length === 0);
  useEffect(() => {
    const timer = setTimeout(() => {
      set(typed);
      more(PAGE);
    }, 120);
    return () => clearTimeout(timer);
  }, [typed]);
  const wide = innerWidth > 900;
  const found = useAnswer(open || wide ? query("/series", { search, limit }) : "", 10);
  return html`<aside class="picker" data-open=${open}>
    <div class="find">
      <input id="search" type="search" value=${typed} placeholder="Search series" aria-label="Search series" autocomplete="off" spellcheck=${false} onFocus=${() => show(true)} onInput=${(/** @type {any} */ e) => type(e.target.value)} onKeyDown=${keys} />
      <button class="fold" aria-expanded=${open} onClick=${() => show(!open)}>${open ? "Done" : `${picked.length} picked`}</button>
    </div>
    ${open || wide ? html`<${Results} found=${found} searched=${search !== ""} picked=${picked} toggle=${toggle} limit=${limit} more=${() => more(limit * 4)} />` : null}
  </aside>`;
}

/** @param {{found: import("./ask.js").Known, searched: boolean, picked: number[], toggle: (series: number) => void, limit: number, more: () => void}} props */
function Results({ found, searched, picked, toggle, limit, more }) {
  if (!found.data) return found.trouble ? html`<${Problem} trouble=${found.trouble} />` : html`<${Waiting} lines=${12} />`;
  if (found.data.length === 0) return html`<p class="quiet pad">${searched ? "No series has all of these words in its device, metric, site, zone or labels." : "There is no series yet: no reading has come in."}</p>`;
  return html`<p class="count quiet" role="status">${number(found.total, 0)} series${found.total > limit ? `, ${limit} shown` : ""}</p>
    <ul class="results" id="results">
      ${found.data.map((/** @type {any} */ s) => html`<li key=${s.series}><button aria-pressed=${picked.includes(s.series)} onClick=${() => toggle(s.series)} onKeyDown=${keys}>
        <span class="box" aria-hidden="true">${picked.includes(s.series) ? "■" : "□"}</span>
        <span class="name"><b>${s.metric}</b> ${Object.values(s.labels).join(" ")}<br /><span class="quiet">${s.device}</span></span>
        <span class="latest">${plain(s.value)} <span class="unit">${s.unit}</span><br /><${Age} at=${seconds(s.time)} stale=${now() - seconds(s.time) > 300} /></span>
      </button></li>`)}
    </ul>
    ${found.total > limit ? html`<button class="more" onClick=${more}>Show more</button>` : null}`;
}

/** Arrows go from the search into the list and along it. @param {KeyboardEvent} event */
function keys(event) {
  if (!["ArrowDown", "ArrowUp", "Escape"].includes(event.key)) return;
  const all = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("#search, #results button")]);
  const here = all.indexOf(/** @type {HTMLElement} */ (event.currentTarget));
  event.preventDefault();
  event.stopPropagation();
  if (event.key === "Escape") /** @type {HTMLElement} */ (event.currentTarget).blur();
  else all[Math.max(0, Math.min(all.length - 1, here + (event.key === "ArrowDown" ? 1 : -1)))]?.focus();
}
