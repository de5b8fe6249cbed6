/** Ledger: what became of every reading, per node and lane, and that the sums close. */
import { html } from "./vendor/preact.js";
import { useAnswer } from "./ask.js";
import { At, Empty, Problem, REPLAY, Waiting, Wide } from "./parts.js";
import { number, seconds } from "./words.js";

const PARTS = /** @type {const} */ (["stored", "duplicate", "refused", "set_aside", "lost", "missing"]);
const WORRYING = ["refused", "set_aside", "lost", "missing"];
const MEANING = /** @type {Record<string, string>} */ ({
  stored: "in the store",
  duplicate: "came again, and were dropped",
  refused: "could not be what they said; the sender was told",
  set_aside: "kept apart: another reading had their place",
  lost: "the node said that it lost them",
  missing: "sent after them came, they did not (yet)",
});

/** @typedef {{source: string, lane: string, sent: number, stored: number, duplicate: number, refused: number, set_aside: number, lost: number, missing: number}} Line */

export function Ledger() {
  const found = useAnswer("/ledger?limit=10000", 3);
  const gaps = useAnswer("/gaps?limit=200", 5);
  /** @type {Line[] | null} */
  const lines = found.data;
  return html`<main class="ledger">
    <h1>Ledger</h1>
    <p class="quiet">Every reading that was sent is in one of these columns, or the line does not close.</p>
    <${Problem} trouble=${found.trouble} />
    ${lines ? null : found.trouble ? null : html`<${Waiting} lines=${4} />`}
    ${lines?.length === 0 ? html`<${Empty} title="Nothing was sent yet" command=${REPLAY} />` : null}
    ${lines?.length ? html`<${Sums} lines=${lines} />` : null}
    ${lines?.length ? html`<${Gaps} found=${gaps} />` : null}
  </main>`;
}

/** @param {{lines: Line[]}} props */
function Sums({ lines }) {
  const total = /** @type {any} */ ({ source: "all", lane: "" });
  for (const name of ["sent", ...PARTS]) total[name] = lines.reduce((sum, line) => sum + /** @type {any} */ (line)[name], 0);
  return html`<${Wide} label=${"Sums"}><table class="sums">
    <thead><tr><th scope="col">source</th><th scope="col">lane</th><th scope="col" class="n">sent</th>${PARTS.map((name, i) => html`<th scope="col" class="n" title=${MEANING[name]}>${i ? "+" : "="} ${name.replace("_", " ")}</th>`)}<th scope="col">closes</th></tr></thead>
    <tbody>${lines.map((line) => html`<${Row} key=${`${line.source} ${line.lane}`} line=${line} />`)}</tbody>
    <tfoot><${Row} line=${total} /></tfoot>
  </table><//>
  <dl class="meanings">${PARTS.map((name) => html`<div><dt>${name.replace("_", " ")}</dt><dd>${MEANING[name]}</dd></div>`)}</dl>`;
}

/** @param {{line: Line}} props */
function Row({ line }) {
  const closes = line.sent === PARTS.reduce((sum, name) => sum + line[name], 0);
  return html`<tr><th scope="row">${line.source || "requests without a node"}</th><td>${line.lane}</td><td class="n">${number(line.sent, 0)}</td>
    ${PARTS.map((name) => html`<td class="n ${WORRYING.includes(name) && line[name] ? "warn" : line[name] ? "" : "quiet"}">${number(line[name], 0)}</td>`)}
    <td class=${closes ? "good" : "bad"}>${closes ? "✓ closes" : "✗ does not close"}</td></tr>`;
}

/** @param {{found: import("./ask.js").Known}} props */
function Gaps({ found }) {
  if (!found.data) return html`<${Problem} trouble=${found.trouble} />`;
  if (found.data.length === 0) return html`<h2>Gaps</h2><p class="quiet">None. Nothing is missing, lost or set aside.</p>`;
  return html`<h2>Gaps</h2><${Wide} label=${"Gaps"}><table class="gaps">
    <thead><tr><th scope="col">noticed</th><th scope="col">what</th><th scope="col">source</th><th scope="col">lane</th><th scope="col" class="n">entries</th><th scope="col" class="n">readings</th><th scope="col">why</th></tr></thead>
    <tbody>${found.data.map((/** @type {any} */ g) => html`<tr><td>${g.noticed ? html`<${At} at=${seconds(g.noticed)} />` : "still open"}</td><td class="warn">${g.reason.replace("_", " ")}</td><th scope="row">${g.source || "requests"}</th><td>${g.lane}</td><td class="n">${g.first_seq}–${g.last_seq}</td><td class="n">${number(g.readings, 0)}</td><td>${g.detail ?? ""}</td></tr>`)}</tbody>
  </table><//>`;
}
