/** Alerts: what fires first, what was done about it, what was before; and the rules behind them. */
import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { Trouble, ask, query, useAnswer } from "./ask.js";
import { useCell } from "./cell.js";
import { follow } from "./feed.js";
import { Age, At, Empty, Problem, Severity, Waiting, Wide } from "./parts.js";
import { Rules } from "./rules.js";
import { go, now, place, rangeAround } from "./time.js";
import { number, rfc, seconds, span } from "./words.js";

const ORDER = ["firing", "acknowledged", "shelved"];
const SHELVES = /** @type {[number, string][]} */ ([[3600, "1 hour"], [28800, "8 hours"], [86400, "1 day"], [604800, "7 days"]]);

/** What the key `a` does: open the form of the first alert that fires. */
export function acknowledgeFirst() {
  const button = /** @type {HTMLElement | null} */ (document.querySelector("button[data-acknowledge]"));
  if (button) button.click();
  else go("alerts");
}

/** Move whenever the feed says that an alert changed. */
export function useNews() {
  const [told, tell] = useState(0);
  useEffect(() => follow({ kinds: ["alert"], event: () => tell((n) => n + 1) }), []);
  return told;
}

export function Alerts() {
  const { params } = useCell(place);
  const tab = params.get("tab") === "rules" ? "rules" : "alerts";
  return html`<main class="alerting"><h1>Alerts</h1>
    <div class="tabs" role="tablist" aria-label="Alerts and rules">
      ${["alerts", "rules"].map((name) => html`<button role="tab" id=${`tab-${name}`} aria-controls="tabpanel" aria-selected=${tab === name} onClick=${() => go("alerts", { tab: name === "rules" ? name : null }, { replace: true })}>${name === "rules" ? "Rules" : "Alerts"}</button>`)}
    </div>
    <div role="tabpanel" id="tabpanel" aria-labelledby=${`tab-${tab}`}>${tab === "rules" ? html`<${Rules} />` : html`<${List} />`}</div>
  </main>`;
}

function List() {
  const open = useAnswer("/alerts?state=open&limit=1000", 5);
  const before = useAnswer(lastWeek(), 15);
  const told = useNews();
  useEffect(() => {
    if (told) [open, before].forEach((one) => one.again());
  }, [told]);
  if (!open.data) return open.trouble ? html`<${Problem} trouble=${open.trouble} />` : html`<${Waiting} lines=${8} />`;
  const sorted = [...open.data].sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state) || (a.severity === b.severity ? 0 : a.severity === "critical" ? -1 : 1));
  const resolved = (before.data ?? []).filter((/** @type {any} */ a) => a.state === "resolved");
  return html`<${Problem} trouble=${open.trouble} />
    ${sorted.length === 0 ? html`<p class="allgood">Nothing is firing.</p>` : html`<${Wide} label="Open alerts"><table class="open">
      <thead><tr><th scope="col">severity</th><th scope="col">what</th><th scope="col">where</th><th scope="col" class="n">value</th><th scope="col" class="n">limit</th><th scope="col">since</th><th scope="col" class="n">for</th><th scope="col">state</th><th scope="col"><span class="hidden">do</span></th></tr></thead>
      <tbody>${sorted.map((a) => html`<${Row} key=${a.alert_id} alert=${a} again=${open.again} />`)}</tbody></table><//>`}
    <h2>History</h2>
    ${before.data && resolved.length === 0 ? html`<${Empty} title="No alert has come to an end in the last week" />` : null}
    ${resolved.length ? html`<${Wide} label="History of alerts"><table class="past">
      <thead><tr><th scope="col">severity</th><th scope="col">what</th><th scope="col">where</th><th scope="col" class="n">value</th><th scope="col" class="n">limit</th><th scope="col">since</th><th scope="col" class="n">lasted</th><th scope="col">rule</th></tr></thead>
      <tbody>${resolved.slice(0, 200).map((/** @type {any} */ a) => html`<tr key=${a.alert_id}><td><${Severity} severity=${a.severity} /></td><th scope="row"><${Seen} alert=${a} /></th><td>${where(a)}</td><td class="n">${number(a.value)}</td><td class="n">${limit(a)}</td><td><${At} at=${seconds(a.time)} /></td><td class="n">${span(seconds(a.resolved_at) - seconds(a.time))}</td><td class="quiet">${a.rule}${a.retroactive ? " (found in late data)" : ""}</td></tr>`)}</tbody></table><//>` : null}`;
}

/** The question for the last week; it changes once an hour. */
const lastWeek = () => query("/alerts", { limit: 300, since: rfc((Math.floor(now() / 3600) - 7 * 24) * 3600) });

/** @param {any} alert */
const where = (alert) => alert.device || [alert.site, alert.zone].filter(Boolean).join(" ");

/** @param {any} alert */
const limit = (alert) => (alert.threshold === null ? alert.type : `${alert.type} ${number(alert.threshold)}`);

/** What fires, as a link to the chart of that time. @param {{alert: any}} props */
function Seen({ alert }) {
  const look = (/** @type {Event} */ event) => {
    event.preventDefault();
    ask(query("/series", { search: `${alert.device} ${alert.metric}`, limit: 50 })).then(({ data }) => {
      const mine = data.filter((/** @type {any} */ s) => s.device === alert.device && s.metric === alert.metric);
      const since = seconds(alert.time);
      if (alert.resolved_at) rangeAround(since, seconds(alert.resolved_at));
      go("explore", { series: mine.slice(0, 4).map((/** @type {any} */ s) => s.series).join(",") });
    }, () => undefined);
  };
  return html`<a href="#/explore" onClick=${look}>${alert.message || `${alert.metric} ${alert.type}`}</a>`;
}

/** @param {{alert: any, again: () => void}} props */
function Row({ alert: a, again }) {
  const [doing, act] = useState("");
  return html`<tr class=${a.state === "firing" ? "firing" : ""}>
    <td><${Severity} severity=${a.severity} /></td><th scope="row"><${Seen} alert=${a} /></th><td>${where(a)}</td>
    <td class="n">${number(a.value)}</td><td class="n">${limit(a)}</td><td><${At} at=${seconds(a.time)} /></td><td class="n"><${Age} at=${seconds(a.time)} /></td>
    <td class=${a.state === "firing" ? (a.severity === "critical" ? "bad" : "warn") : "quiet"}>${a.state}${a.shelved_until ? html` until <${At} at=${seconds(a.shelved_until)} />` : null}</td>
    <td class="actions">${doing ? html`<${Reason} alert=${a} what=${doing} done=${() => { act(""); again(); }} close=${() => act("")} />` : html`
      ${a.state === "acknowledged" ? null : html`<button data-acknowledge=${a.state === "firing" ? a.alert_id : undefined} onClick=${() => act("acknowledge")}>Acknowledge</button>`}
      <button onClick=${() => act("shelve")}>Shelve</button>`}</td></tr>`;
}

/** Why, and for how long. @param {{alert: any, what: string, done: () => void, close: () => void}} props */
function Reason({ alert, what, done, close }) {
  const [reason, say] = useState("");
  const [lasts, last] = useState(28800);
  const [trouble, fail] = useState(/** @type {Trouble | null} */ (null));
  const input = /** @type {import("./vendor/preact.js").Ref<HTMLElement>} */ (useRef(null));
  useEffect(() => input.current.focus(), []);
  const send = (/** @type {Event} */ event) => {
    event.preventDefault();
    const body = what === "shelve" ? { why: reason, until: rfc(now() + lasts) } : { why: reason };
    ask(`/alerts/${encodeURIComponent(alert.alert_id)}/${what}`, { method: "POST", body }).then(done, fail);
  };
  return html`<form class="reason" onSubmit=${send} onKeyDown=${(/** @type {KeyboardEvent} */ e) => e.key === "Escape" && close()}>
    <input ref=${input} value=${reason} onInput=${(/** @type {any} */ e) => say(e.target.value)} placeholder="Why" aria-label="Why" required maxlength="500" />
    ${what === "shelve" ? html`<select aria-label="For how long" value=${lasts} onChange=${(/** @type {any} */ e) => last(Number(e.target.value))}>${SHELVES.map(([value, name]) => html`<option value=${value}>${name}</option>`)}</select>` : null}
    <button class="main">${what === "shelve" ? "Shelve" : "Acknowledge"}</button><button type="button" onClick=${close}>Cancel</button>
    <${Problem} trouble=${trouble?.status === 0 ? new Trouble(503, trouble.message) : trouble} />
  </form>`;
}
