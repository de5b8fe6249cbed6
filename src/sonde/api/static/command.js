/** Have a device do something: a form made from its own template, what becomes of it, and what was asked before. */
import { html, useEffect, useState } from "./vendor/preact.js";
import { Trouble, ask, query, useAnswer } from "./ask.js";
import { useCell } from "./cell.js";
import { connection, follow } from "./feed.js";
import { At, Problem, Wide } from "./parts.js";
import { plain, seconds } from "./words.js";

/**
 * @typedef {{type: string, required: boolean, enum: any[] | null, min: number | null, max: number | null, description: string, default: any}} Parameter
 * @typedef {{command: string, parameters: Record<string, Parameter>, description: string}} Template
 */

const DONE = ["succeeded", "failed", "expired", "unknown", "cancelled"];
const SHAPES = /** @type {Record<string, string>} */ ({ succeeded: "✓", failed: "✗", expired: "⌛", unknown: "?", cancelled: "–", running: "▸", delivered: "→", queued: "…", accepted: "…" });
const TONES = /** @type {Record<string, string>} */ ({ succeeded: "good", failed: "bad", expired: "warn", unknown: "warn" });

/** @param {{state: string}} props */
const State = ({ state }) => html`<span class="command-state ${TONES[state] ?? ""}"><span aria-hidden="true">${SHAPES[state] ?? "…"}</span> ${state}</span>`;

/** @param {{device: string, templates: Record<string, Template>}} props */
export function CommandForm({ device, templates }) {
  const names = Object.keys(templates).sort();
  const [chosen, choose] = useState(names[0]);
  const [typed, type] = useState(/** @type {Record<string, string>} */ ({}));
  const [trouble, fail] = useState(/** @type {Trouble | null} */ (null));
  const [given, give] = useState(/** @type {string} */ (""));
  const [busy, work] = useState(false);
  const template = templates[chosen] ?? templates[names[0]];
  const send = async (/** @type {Event} */ event) => {
    event.preventDefault();
    work(true);
    fail(null);
    try {
      const parameters = Object.fromEntries(Object.entries(template.parameters).flatMap(([name, p]) => valueOf(p, typed[name] ?? initial(p)).map((v) => [name, v])));
      const { data } = await ask("/commands", { method: "POST", body: { device, command: template.command, parameters, idempotency_key: key() } });
      give(data.id);
    } catch (error) {
      fail(error instanceof Trouble ? error : new Trouble(422, String(error)));
    }
    work(false);
  };
  return html`<form class="command" onSubmit=${send}>
    <label class="field"><span>command</span><select value=${template.command} onChange=${(/** @type {any} */ e) => { choose(e.target.value); type({}); fail(null); }}>${names.map((name) => html`<option value=${name} selected=${name === template.command}>${name}</option>`)}</select></label>
    ${template.description ? html`<p class="quiet">${template.description}</p>` : null}
    ${Object.entries(template.parameters).map(([name, p]) => html`<${Field} key=${`${template.command} ${name}`} name=${name} parameter=${p} value=${typed[name] ?? initial(p)} set=${(/** @type {string} */ v) => type({ ...typed, [name]: v })} />`)}
    <${Problem} trouble=${trouble?.status === 0 ? new Trouble(503, trouble.message) : trouble} />
    <button class="main" disabled=${busy}>Send to ${device}</button>
  </form>
  ${given ? html`<${Progress} key=${given} id=${given} device=${device} />` : null}`;
}

/** A key of this sending, so that sending it twice is one command. */
const key = () => `page-${[...crypto.getRandomValues(new Uint8Array(12))].map((b) => b.toString(16).padStart(2, "0")).join("")}`;

/** @param {Parameter} p */
const initial = (p) => (p.default === null || p.default === undefined ? (p.enum ? String(p.enum[0]) : "") : typeof p.default === "object" ? JSON.stringify(p.default) : String(p.default));

/** What was typed as the parameter's type; nothing if it was left empty. @param {Parameter} p @param {string} text @returns {any[]} */
function valueOf(p, text) {
  if (text === "") return [];
  if (p.enum) return [p.enum.find((one) => String(one) === text) ?? text];
  if (p.type === "int" || p.type === "float") return [Number.isNaN(Number(text)) ? text : Number(text)];
  if (p.type === "boolean") return [text === "true"];
  if (p.type === "array" || p.type === "object") {
    try {
      return [JSON.parse(text)];
    } catch {
      throw new Trouble(422, `${text} is not JSON.`);
    }
  }
  return [text];
}

/** @param {{name: string, parameter: Parameter, value: string, set: (value: string) => void}} props */
function Field({ name, parameter: p, value, set }) {
  const typed = (/** @type {any} */ e) => set(e.target.value);
  const choices = p.enum?.map(String) ?? (p.type === "boolean" ? ["true", "false"] : null);
  const bounds = p.min !== null || p.max !== null ? `${p.min ?? "…"} to ${p.max ?? "…"}` : "";
  const about = [p.type, bounds, p.required ? "" : "optional", p.description].filter(Boolean).join(", ");
  const control = choices
    ? html`<select value=${value} onChange=${typed}>${p.required ? null : html`<option value="">–</option>`}${choices.map((c) => html`<option>${c}</option>`)}</select>`
    : html`<input value=${value} onInput=${typed} required=${p.required} type=${p.type === "int" || p.type === "float" ? "number" : "text"} step=${p.type === "int" ? 1 : "any"} min=${p.min ?? undefined} max=${p.max ?? undefined} autocomplete="off" />`;
  return html`<label class="field"><span>${name}</span><span>${control} <span class="quiet">${about}</span></span></label>`;
}

/** What becomes of a command, step by step. @param {{id: string, device: string}} props */
function Progress({ id, device }) {
  const [told, tell] = useState(0);
  const { state: line } = useCell(connection);
  useEffect(() => follow({ devices: [device], kinds: ["command_result", "device_message"], event: () => tell((n) => n + 1) }), [device]);
  const [over, end] = useState(false);
  const found = useAnswer(`/commands/${id}`, over ? 0 : 1);
  const last = found.data?.steps[found.data.steps.length - 1].step;
  useEffect(() => end(DONE.includes(last)), [last]);
  useEffect(() => found.again(), [told, line]);
  const it = found.data;
  if (!it) return html`<${Problem} trouble=${found.trouble} />`;
  return html`<section class="progress" role="status" aria-label="Progress of ${it.command}">
    <h3>${it.command} <${State} state=${it.state} /></h3>
    <ol class="steps-list">${it.steps.map((/** @type {any} */ s) => html`<li><${At} at=${seconds(s.time)} /><span>${s.step}</span>${s.progress === null ? null : html`<progress max="1" value=${s.progress} aria-label="done"></progress>`}<span class="quiet">${s.message} ${s.details === null || s.details === undefined ? "" : plain(s.details)}</span></li>`)}</ol>
    ${it.state === "queued" ? html`<p class="quiet">The device is not connected. It has until <${At} at=${seconds(it.expires_at)} />.</p>` : null}
  </section>`;
}

/** @param {{device: string}} props */
export function CommandHistory({ device }) {
  const found = useAnswer(query("/commands", { device_id: device, limit: 20 }), 3);
  const [trouble, fail] = useState(/** @type {Trouble | null} */ (null));
  if (!found.data?.length) return html`<${Problem} trouble=${found.trouble} />`;
  const cancel = (/** @type {string} */ id) => ask(`/commands/${id}/cancel`, { method: "POST" }).then(() => fail(null), fail).then(found.again);
  return html`<h3>Asked before</h3><${Problem} trouble=${trouble} /><${Wide} label="Commands asked before"><table class="history">
    <thead><tr><th scope="col">asked</th><th scope="col">command</th><th scope="col">parameters</th><th scope="col">state</th><th scope="col">by</th><th scope="col">message</th></tr></thead>
    <tbody>${found.data.map((/** @type {any} */ c) => html`<tr key=${c.id}><td><${At} at=${seconds(c.accepted_at)} /></td><th scope="row">${c.command}</th><td>${Object.entries(c.parameters).map(([k, v]) => `${k} ${plain(v)}`).join(", ") || "–"}</td><td><${State} state=${c.state} /></td><td>${c.who}</td><td>${c.message} ${DONE.includes(c.state) || c.state !== "queued" ? null : html`<button onClick=${() => cancel(c.id)}>Cancel</button>`}</td></tr>`)}</tbody>
  </table><//>`;
}
