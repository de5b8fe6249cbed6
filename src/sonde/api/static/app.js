/** The page: its head, the view that the URL names, the keys. */
import { html, render, useEffect } from "./vendor/preact.js";
import { leave, reached, signedIn, useAnswer } from "./ask.js";
import { cell, useCell } from "./cell.js";
import { Alerts, acknowledgeFirst } from "./alerts.js";
import { Devices } from "./devices.js";
import { Explore } from "./explore.js";
import { connect, connection } from "./feed.js";
import { Heatmap } from "./heatmap.js";
import { Help } from "./help.js";
import { Ledger } from "./ledger.js";
import { Overview } from "./overview.js";
import { useBeat } from "./parts.js";
import { TimeBar } from "./timebar.js";
import { address, go, goLive, pan, place, play, read, switchZone, time, zoom } from "./time.js";
import { span } from "./words.js";

/** @type {[string, string, () => any, boolean][]} name, title, view, whether it looks at a span of time */
const VIEWS = [
  ["overview", "Overview", Overview, false],
  ["explore", "Explore", Explore, true],
  ["alerts", "Alerts", Alerts, false],
  ["heatmap", "Heatmap", Heatmap, true],
  ["devices", "Devices", Devices, false],
  ["ledger", "Ledger", Ledger, false],
];
const helping = cell(false);

function Page() {
  const { view } = useCell(place);
  const t = useCell(time);
  const help = useCell(helping);
  const [, title, View, timed] = VIEWS.find(([name]) => name === view) ?? VIEWS[0];
  useEffect(() => {
    document.title = `${title} · Sonde`;
  }, [title]);
  return html`<a class="skip" href="#main" onClick=${toMain}>To the content</a>
    <${Head} view=${view} />
    <${Lost} />
    ${timed ? html`<${TimeBar} />` : null}
    <div id="main" tabindex="-1" data-live=${t.live}><${View} /></div>
    ${help ? html`<${Help} close=${() => helping.set(false)} />` : null}`;
}

/** @param {Event} event */
function toMain(event) {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

/** @param {{view: string}} props */
function Head({ view }) {
  useCell(time);
  const alerts = useAnswer("/alerts?state=firing&limit=1000", 5).data ?? [];
  return html`<header class="top">
    <a class="name" href=${address("overview")}>Sonde</a>
    <nav aria-label="Views">${VIEWS.map(([name, title]) => html`<a href=${address(name)} aria-current=${name === view ? "page" : undefined}>${title}${name === "alerts" && alerts.length ? html` <span class="badge" aria-label="${alerts.length} firing">${alerts.length}</span>` : null}</a>`)}</nav>
    <${State} />
    <button class="plain" title="Keys (?)" aria-label="Help" onClick=${() => helping.set(true)}>?</button>
    <form class="inline" method="post" action="/sign-out" onSubmit=${leave}><button class="plain">Sign out</button></form>
  </header>`;
}

function State() {
  const { state } = useCell(connection);
  const text = { live: "● connected", starting: "○ connecting", lost: "✕ connection lost" }[state];
  return html`<span class="state ${state}" role="status">${text}</span>`;
}

/** While the server is away the page says so, and everything on it is grey. */
function Lost() {
  const { state, since } = useCell(connection);
  const there = useCell(reached);
  const known = useCell(signedIn);
  const away = state === "lost" || !there;
  useEffect(() => {
    document.body.classList.toggle("away", away);
  }, [away]);
  if (!known) return html`<p class="banner" role="alert">This browser is no longer signed in. <code>sonde token link</code> makes a link that signs it in. <a href="/sign-in">Sign in</a></p>`;
  return away ? html`<${Since} at=${since} />` : null;
}

/** @param {{at: number}} props */
function Since({ at }) {
  useBeat(1);
  return html`<p class="banner" role="alert">Connection lost ${span(Math.round((performance.now() - at) / 1000))} ago. What is grey was known before. Sonde tries again by itself, and fills in what was missed. <button onClick=${connect}>Try now</button></p>`;
}

/** @param {KeyboardEvent} event */
function keys(event) {
  const typing = /** @type {HTMLElement} */ (event.target).closest?.("input, select, textarea, dialog");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const step = event.shiftKey ? 0.5 : 0.1;
  const view = place.get().view;
  const act = /** @type {Record<string, () => void>} */ ({
    "/": () => document.getElementById("search")?.focus(),
    l: () => goLive(),
    ArrowLeft: () => pan(-step),
    ArrowRight: () => pan(step),
    "+": () => zoom(0.5),
    "=": () => zoom(0.5),
    "-": () => zoom(2),
    p: () => play(time.get().speed ? 0 : 10),
    t: () => view === "explore" && go("explore", { as: place.get().params.get("as") === "table" ? null : "table" }, { replace: true }),
    z: switchZone,
    a: acknowledgeFirst,
    "?": () => helping.set(true),
  })[event.key];
  const number = VIEWS[Number(event.key) - 1];
  if (act) act();
  else if (number && /^[1-6]$/.test(event.key)) go(number[0]);
  else return;
  event.preventDefault();
}

read();
addEventListener("hashchange", read);
addEventListener("popstate", read);
addEventListener("keydown", keys);
render(html`<${Page} />`, /** @type {HTMLElement} */ (document.getElementById("app")));
connect();
