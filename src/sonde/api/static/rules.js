/** Alert rules: what they watch, and what a change of one would have done over the last day. */
import { html, useState } from "./vendor/preact.js";
import { Trouble, ask, useAnswer } from "./ask.js";
import { At, Empty, Problem, Severity, Waiting, Wide } from "./parts.js";
import { now } from "./time.js";
import { number, rfc, seconds, span } from "./words.js";

/** @typedef {Record<string, any>} Rule as `GET /alert-rules` gives it */
/** @typedef {[string, string, string, string[]?]} Field its name, what it is called, its kind, the types of rule that have it */

const NEW = { id: "", type: "above", threshold: null, metric: "*", device: "*", site: "*", zone: "*", duration: 0, clear: null, severity: "warning", message: "" };
const LEVELS = ["above", "below", "outside"];
/** @type {Field[]} */
const FIELDS = [
  ["id", "name", "name"],
  ["severity", "severity", "info warning critical"],
  ["type", "fires when the value is", "above below outside equals rate no_data"],
  ["threshold", "threshold", "number", [...LEVELS, "rate"]],
  ["upper", "upper end of the band", "number", ["outside", "rate"]],
  ["text", "this text", "text", ["equals"]],
  ["per", "in so many seconds", "number", ["rate"]],
  ["duration", "held for so many seconds", "number"],
  ["clear", "is over at", "number", LEVELS],
  ["metric", "metric", "text"], ["device", "device", "text"], ["site", "site", "text"], ["zone", "zone", "text"],
  ["window", "of windows of so many seconds", "number", LEVELS],
  ["of", "of each window its", "- avg min max sum count last", LEVELS],
  ["across", "windows of a", "series zone site", LEVELS],
  ["message", "message", "text"],
];

export function Rules() {
  const found = useAnswer("/alert-rules", 10);
  const [editing, edit] = useState(/** @type {{rule: Rule, fresh: boolean} | null} */ (null));
  if (!found.data) return found.trouble ? html`<${Problem} trouble=${found.trouble} />` : html`<${Waiting} lines=${5} />`;
  const close = () => {
    edit(null);
    found.again();
  };
  return html`<${Problem} trouble=${found.trouble} />
    ${editing ? html`<${Form} key=${editing.rule.id} rule=${editing.rule} fresh=${editing.fresh} close=${close} />` : html`<p><button onClick=${() => edit({ rule: NEW, fresh: true })}>New rule</button></p>`}
    ${found.data.length === 0 ? html`<${Empty} title="No rule watches yet"><p>A rule says what must hold of a series, for how long, for an alert to fire.</p><//>` : html`<${Wide} label="Alert rules"><table class="rules">
      <thead><tr><th scope="col">rule</th><th scope="col">severity</th><th scope="col">fires when</th><th scope="col">of</th><th scope="col" class="n">held for</th><th scope="col">set by</th><th scope="col"><span class="hidden">do</span></th></tr></thead>
      <tbody>${found.data.map((/** @type {any} */ item) => html`<tr key=${item.id}><th scope="row">${item.id}</th><td><${Severity} severity=${item.rule.severity} /></td><td>${condition(item.rule)}</td><td>${watched(item.rule)}</td><td class="n">${span(item.rule.duration)}</td><td class="quiet">${item.source === "config" ? "configuration" : item.who}, <${At} at=${seconds(item.changed)} /></td><td><button onClick=${() => edit({ rule: item.rule, fresh: false })}>Edit<span class="hidden"> ${item.id}</span></button></td></tr>`)}</tbody></table><//>`}`;
}

/** @param {Rule} rule */
function condition(rule) {
  const of = rule.window ? `${rule.of} of ${span(rule.window)} ` : "";
  if (rule.type === "no_data") return "nothing comes";
  if (rule.type === "equals") return `it is ${rule.text}`;
  if (rule.type === "outside") return `${of}outside ${rule.threshold} to ${rule.upper}`;
  if (rule.type === "rate") return `it changes by ${rule.threshold}${rule.upper === null ? "" : ` to ${rule.upper}`} in ${span(rule.per)}`;
  return `${of}${rule.type} ${rule.threshold}${rule.clear === null ? "" : `, over at ${rule.clear}`}`;
}

/** @param {Rule} rule */
const watched = (rule) => ["metric", "device", "site", "zone"].filter((name) => rule[name] !== "*").map((name) => `${name === "metric" ? "" : `${name} `}${rule[name]}`).join(", ") || "everything";

/** What was typed as a rule: numbers as numbers, and nothing that this type of rule does not have. @param {Rule} typed @returns {Rule} */
function ruleOf(typed) {
  const kept = FIELDS.filter(([name, , , types]) => (!types || types.includes(typed.type)) && (typed.window || !["of", "across"].includes(name)));
  return Object.fromEntries(kept.map(([name, , kind]) => [name, kind === "number" && typed[name] !== null && typed[name] !== "" ? Number(typed[name]) : typed[name]]).filter(([, value]) => value !== null && value !== "" && value !== "-"));
}

/** @param {{rule: Rule, fresh: boolean, close: () => void}} props */
function Form({ rule, fresh, close }) {
  const [typed, type] = useState(rule);
  const [trouble, fail] = useState(/** @type {Trouble | null} */ (null));
  const [found, find] = useState(/** @type {any} */ (null));
  const change = (/** @type {string} */ name, /** @type {string} */ value) => {
    type({ ...typed, [name]: value });
    find(null);
  };
  const attempt = (/** @type {Promise<any>} */ asked, /** @type {(data: any) => void} */ done) => {
    fail(null);
    asked.then(({ data }) => done(data), (error) => fail(error.status ? error : new Trouble(503, error.message)));
  };
  const path = `/alert-rules/${encodeURIComponent(typed.id)}`;
  const look = () => attempt(ask("/alert-rules/preview", { method: "POST", body: { rule: ruleOf({ ...typed, id: typed.id || "preview" }), since: rfc(now() - 86400), until: rfc(now()) } }), find);
  const save = (/** @type {Event} */ event) => {
    event.preventDefault();
    attempt(ask(path, { method: "PUT", body: ruleOf(typed) }), close);
  };
  const remove = () => confirm(`Remove the rule ${rule.id}? Its open alerts are resolved.`) && attempt(ask(path, { method: "DELETE" }), close);
  const shown = FIELDS.filter(([name, , , types]) => (!types || types.includes(typed.type)) && (typed.window || !["of", "across"].includes(name)));
  return html`<form class="rule" onSubmit=${save} aria-label=${fresh ? "New rule" : `Rule ${rule.id}`}>
    ${shown.map((field) => html`<${Input} key=${field[0]} field=${field} value=${typed[field[0]]} fixed=${field[0] === "id" && !fresh} set=${change} />`)}
    <div class="actions"><button type="button" onClick=${look}>Try on the last day</button><button class="main">Save</button><button type="button" onClick=${close}>Cancel</button>${fresh ? null : html`<button type="button" onClick=${remove}>Remove</button>`}</div>
    <${Problem} trouble=${trouble} />
    ${found ? html`<${Preview} found=${found} />` : null}
  </form>`;
}

/** @param {{field: Field, value: any, fixed: boolean, set: (name: string, value: string) => void}} props */
function Input({ field: [name, title, kind], value, fixed, set }) {
  const typed = (/** @type {any} */ e) => set(name, e.target.value);
  const choices = kind.includes(" ") ? kind.split(" ") : null;
  return html`<label>${title}${choices
    ? html`<select value=${value ?? choices[0]} onChange=${typed}>${choices.map((one) => html`<option value=${one} selected=${one === (value ?? choices[0])}>${one.replace("_", " ")}</option>`)}</select>`
    : html`<input value=${value ?? ""} type=${kind === "number" ? "number" : "text"} step="any" disabled=${fixed} required=${kind === "name"} maxlength="500" autocomplete="off" spellcheck=${false} onInput=${typed} />`}</label>`;
}

/** What the rule would have done. @param {{found: any}} props */
function Preview({ found }) {
  return html`<section class="preview" role="status"><p>${found.count === 0 ? "It would not have fired in the last day." : `In the last day it would have fired ${found.count === 1 ? "once" : `${number(found.count, 0)} times, for ${number(found.series, 0)} series`}, ${span(found.firing_seconds)} in all.`}</p>
    ${found.count ? html`<${Wide} label="What it would have done"><table><thead><tr><th scope="col">since</th><th scope="col">where</th><th scope="col" class="n">worst</th><th scope="col" class="n">lasted</th></tr></thead>
      <tbody>${found.alerts.slice(0, 20).map((/** @type {any} */ a) => html`<tr><td><${At} at=${seconds(a.time)} /></td><th scope="row">${a.device || `${a.site} ${a.zone}`} ${a.metric}</th><td class="n">${number(a.peak)}</td><td class="n">${a.resolved_at ? span(seconds(a.resolved_at) - seconds(a.time)) : "still"}</td></tr>`)}</tbody></table><//>${found.count > 20 ? html`<p class="quiet">The first 20 of them.</p>` : null}` : null}
  </section>`;
}
