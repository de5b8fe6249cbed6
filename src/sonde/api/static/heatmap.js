/** Heatmap: how much of the time anyone was in a zone, by hour of the day. */
import { html, useMemo, useState } from "./vendor/preact.js";
import { query, useAnswer } from "./ask.js";
import { useCell } from "./cell.js";
import { Empty, Problem, Waiting, Wide } from "./parts.js";
import { go, place, seen, time } from "./time.js";
import { number, rfc, span, zone } from "./words.js";

const HOURS = Array.from({ length: 24 }, (_, hour) => hour);

/** @typedef {{site_id: string, zone_id: string, hour: number, occupancy_rate: number | null, avg_occupancy: number | null}} Square */

export function Heatmap() {
  const { live, since, until, span: length, utc } = useCell(time);
  const { params } = useCell(place);
  const [at, point] = useState(/** @type {Square | null} */ (null));
  const bounds = useMemo(() => {
    const now = seen();
    return { since: rfc(Math.floor(now.since / 300) * 300), until: live ? undefined : rfc(Math.ceil(now.until / 300) * 300) };
  }, [live, since, until, length]);
  const found = useAnswer(query("/utilization/heatmap", { by: "hour", limit: 10000, ...bounds }), live ? 30 : 0);
  /** @type {Square[] | null} */
  const squares = found.data;
  const sites = [...new Set((squares ?? []).map((s) => s.site_id))].sort();
  const site = params.get("site") ?? "";
  const shift = utc ? 0 : -new Date().getTimezoneOffset() / 60;
  const whole = Number.isInteger(shift);
  return html`<main class="heat">
    <header class="row"><h1>Occupancy by zone and hour</h1>
      ${sites.length > 1 ? html`<label class="inline">Site <select value=${site} onChange=${(/** @type {any} */ e) => go("heatmap", { site: e.target.value || null }, { replace: true })}><option value="">all</option>${sites.map((s) => html`<option>${s}</option>`)}</select></label>` : null}
      <${Scale} />
    </header>
    <${Problem} trouble=${found.trouble} />
    ${squares === null && !found.trouble ? html`<${Waiting} lines=${15} />` : null}
    ${squares?.length === 0 ? html`<${Empty} title="Nobody was counted in this span"><p>This view shows the metric <code>occupancy</code>. Choose a longer span above, or let a sensor send it with its site and zone.</p><//>` : null}
    ${squares?.length ? html`<p class="quiet">Share of 5-minute windows with anyone there, over ${live ? `the last ${span(length)}` : span(until - since)}. Hours in ${whole ? zone(utc) : "UTC"}.</p>
      <${Wide} label=${"Occupancy by zone and hour"}><table class="heatmap" onMouseLeave=${() => point(null)}>
        <thead><tr><th scope="col">zone</th>${HOURS.map((h) => html`<th scope="col">${String(h).padStart(2, "0")}</th>`)}</tr></thead>
        <tbody>${rows(squares.filter((s) => !site || s.site_id === site)).map(([name, mine]) => html`<tr><th scope="row">${name}</th>${HOURS.map((h) => {
          const utcHour = (h - (whole ? shift : 0) + 48) % 24;
          const square = mine.find((s) => s.hour === utcHour);
          return html`<td class=${square ? `level${Math.round((square.occupancy_rate ?? 0) * 10)}` : "hole"} tabindex=${square ? 0 : undefined} aria-label=${square ? said(square) : "no data"} onMouseEnter=${() => point(square ?? null)} onFocus=${() => point(square ?? null)}>${square ? Math.round((square.occupancy_rate ?? 0) * 100) : "·"}</td>`;
        })}</tr>`)}</tbody>
      </table><//>
      <p class="reading" role="status">${at ? `${at.site_id} ${at.zone_id}, ${String((at.hour + (whole ? shift : 0) + 24) % 24).padStart(2, "0")} h: ${said(at)}` : "Point at an hour to read it."}</p>` : null}
  </main>`;
}

/** @param {Square} square */
const said = (square) => `occupied ${Math.round((square.occupancy_rate ?? 0) * 100)} % of the time, ${number(square.avg_occupancy, 1)} people on average`;

/** @param {Square[]} squares @returns {[string, Square[]][]} */
function rows(squares) {
  /** @type {Map<string, Square[]>} */
  const found = new Map();
  for (const square of squares) {
    const name = `${square.site_id} ${square.zone_id}`.trim() || "–";
    found.set(name, [...(found.get(name) ?? []), square]);
  }
  return [...found].sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }));
}

function Scale() {
  return html`<div class="scale" aria-hidden="true">0 % ${[0, 2, 4, 6, 8, 10].map((level) => html`<i class="level${level}"></i>`)} 100 % <i class="hole">·</i> no data</div>`;
}
