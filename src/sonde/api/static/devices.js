/** Devices: when they were last seen, what they measure, what they say of themselves, what they can be told. */
import { html, useEffect, useState } from "./vendor/preact.js";
import { query, useAnswer } from "./ask.js";
import { useCell } from "./cell.js";
import { CommandForm, CommandHistory } from "./command.js";
import { follow } from "./feed.js";
import { nameOf } from "./lines.js";
import { Age, Empty, Problem, REPLAY, Waiting, Wide } from "./parts.js";
import { address, now, place } from "./time.js";
import { number, plain, seconds } from "./words.js";

const QUALITY = ["", "failed", "out of range", "wrong type", "clock"];
const PAGE = 200;

export function Devices() {
  const { rest } = useCell(place);
  const [typed, type] = useState("");
  const [limit, more] = useState(PAGE);
  const found = useAnswer(query("/series", { search: typed, limit: limit * 5 }), 10);
  const names = found.data ? [...new Map(found.data.map((/** @type {any} */ s) => [s.device, 0])).keys()] : [];
  /** @type {Map<string, number>} */
  const newest = new Map();
  for (const s of found.data ?? []) newest.set(s.device, Math.max(newest.get(s.device) ?? 0, seconds(s.time)));
  const all = found.total < 0 || (found.data?.length ?? 0) >= found.total;
  return html`<main class="devices" data-chosen=${rest !== ""}>
    <aside class="picker">
      <div class="find"><input id="search" type="search" placeholder="Search devices" aria-label="Search devices" autocomplete="off" spellcheck=${false} value=${typed} onInput=${(/** @type {any} */ e) => type(e.target.value)} /></div>
      <${Problem} trouble=${found.trouble} />
      ${found.data ? html`<p class="count quiet" role="status">${number(names.length, 0)} devices${all ? "" : " shown; search for others"}</p>` : found.trouble ? null : html`<${Waiting} lines=${12} />`}
      ${found.data && found.data.length === 0 && !typed ? html`<div class="pad"><${Empty} title="No device yet" command=${REPLAY} /></div>` : null}
      <ul class="results">${names.map((name) => {
        const at = newest.get(String(name)) ?? 0;
        return html`<li key=${name}><a class="item" href=${address("devices", {}, String(name))} aria-current=${name === rest ? "true" : undefined}><span class="name">${name}</span><${Age} at=${at} stale=${now() - at > 300} /></a></li>`;
      })}</ul>
      ${all ? null : html`<button class="more" onClick=${() => more(limit * 2)}>Show more</button>`}
    </aside>
    <section class="detail">${rest ? html`<${Device} key=${rest} name=${rest} />` : html`<h1>Devices</h1><p class="quiet">Choose a device to see its newest values, its profile and its commands.</p>`}</section>
  </main>`;
}

/** @param {{name: string}} props */
function Device({ name }) {
  const path = name.split("/").map(encodeURIComponent).join("/");
  const found = useAnswer(`/devices/${path}`, 10);
  const numbers = useAnswer(query("/series", { search: name, limit: 1000 }));
  const templates = useAnswer(query("/command-templates", { device_id: name }), 30);
  const types = useAnswer(query("/telemetry-types", { device_id: name }), 30);
  const live = useLive(name);
  const it = found.data;
  if (!it) return found.trouble ? html`<h1>${name}</h1><${Problem} trouble=${found.trouble} />` : html`<h1>${name}</h1><${Waiting} lines=${8} />`;
  const declared = types.data?.telemetry_types ?? {};
  const series = (numbers.data ?? []).filter((/** @type {any} */ s) => s.device === name);
  const newest = Math.max(seconds(it.last_seen), ...[...live.values()].map((r) => r.micros / 1e6));
  const every = series.slice(0, 12).map((/** @type {any} */ s) => s.series).join(",");
  const commands = templates.data?.command_templates ?? {};
  return html`<a class="back" href=${address("devices")}>‹ all devices</a>
    <h1>${name}</h1>
    <p>${[it.site_id, it.zone_id].filter(Boolean).join(", ") || html`<span class="quiet">no site</span>`}. Last seen <${Age} at=${newest} stale=${now() - newest > 300} /> ago. ${every ? html`<a href=${address("explore", { series: every })}>See it in Explore</a>` : null}</p>
    <${Wide} label=${"Newest values"}><table class="latest"><thead><tr><th scope="col">metric</th><th scope="col" class="n">newest</th><th scope="col">unit</th><th scope="col">quality</th><th scope="col" class="n">age</th><th scope="col">declared range</th></tr></thead>
      <tbody>${it.series.map((/** @type {any} */ s) => html`<${Row} key=${nameOf({ ...s, device: name })} series=${s} live=${live.get(nameOf({ ...s, device: name }))} type=${declared[s.metric]} number=${series.find((/** @type {any} */ n) => nameOf(n) === nameOf({ ...s, device: name }))?.series} />`)}</tbody></table><//>
    <h2>Commands</h2>
    <${Problem} trouble=${templates.trouble} />
    ${templates.data && Object.keys(commands).length === 0 ? html`<p class="quiet">This device declares none.</p>` : null}
    ${Object.keys(commands).length ? html`<${CommandForm} device=${name} templates=${commands} /><${CommandHistory} device=${name} />` : null}
    <h2>Profile</h2>
    ${Object.keys(declared).length === 0 ? html`<p class="quiet">It has not said what it is.</p>` : html`<${Wide} label=${"Profile"}><table><thead><tr><th scope="col">metric</th><th scope="col">type</th><th scope="col">unit</th><th scope="col">range or choices</th><th scope="col">meaning</th></tr></thead><tbody>
      ${Object.entries(declared).map(([metric, d]) => html`<tr><th scope="row">${metric}</th><td>${d.data_type}</td><td class="unit">${d.unit || "–"}</td><td>${d.enum ? d.enum.join(", ") : bounds(d.range)}</td><td>${d.description}</td></tr>`)}</tbody></table><//>`}`;
}

/** @param {{series: any, live: import("./feed.js").Live | undefined, type: any, number: number | undefined}} props */
function Row({ series, live, type, number: id }) {
  const at = live ? live.micros / 1e6 : seconds(series.time);
  const { value, quality } = live ?? series;
  const labels = Object.values(series.labels).join(" ");
  const text = `${series.metric}${labels ? ` ${labels}` : ""}`;
  return html`<tr><th scope="row">${id === undefined ? text : html`<a href=${address("explore", { series: String(id) })}>${text}</a>`}</th><td class="n value">${plain(value)}</td><td class="unit">${type?.unit ?? ""}</td><td class=${quality ? "warn" : "quiet"}>${quality ? QUALITY[quality] : "good"}</td><td class="n"><${Age} at=${at} stale=${now() - at > 300} /></td><td class="quiet">${type ? bounds(type.range) : "–"}</td></tr>`;
}

/** @param {{min: number | null, max: number | null}} range */
const bounds = (range) => (range.min === null && range.max === null ? "–" : `${range.min ?? "…"} to ${range.max ?? "…"}`);

/** The newest readings of a device as they come. @param {string} device @returns {Map<string, import("./feed.js").Live>} */
function useLive(device) {
  const [newest, set] = useState(/** @type {Map<string, import("./feed.js").Live>} */ (new Map()));
  useEffect(() => {
    /** @type {Map<string, import("./feed.js").Live>} */
    const held = new Map();
    let timer = 0;
    const stop = follow({
      devices: [device],
      kinds: ["data"],
      rate: 2,
      readings(all) {
        for (const reading of all) if ((held.get(nameOf(reading))?.micros ?? 0) <= reading.micros) held.set(nameOf(reading), reading);
        timer ||= setTimeout(() => {
          timer = 0;
          set(new Map(held));
        }, 250);
      },
    });
    return () => {
      stop();
      clearTimeout(timer);
    };
  }, [device]);
  return newest;
}
