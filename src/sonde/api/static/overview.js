/** Overview: sites and zones now, how they went, what is wrong, what is quiet, how fast readings come in. */
import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { ask, query, returns, useAnswer } from "./ask.js";
import { Age, Empty, Problem, REPLAY, Severity, Spark, Waiting, Wide, useBeat } from "./parts.js";
import { address, now, setClock } from "./time.js";
import { digitsOf, number, rfc, seconds, size, span } from "./words.js";

const MOST_COLUMNS = 6;
const TREND_SPAN = 6 * 3600;
const TREND_STEP = 900;

/** @typedef {{site_id: string, zone_id: string, sensor_type: string, current_avg: number, current_max: number, sample_count: number, last_updated: string}} Kpi */
/** @typedef {Map<string, (number | null)[]>} Trends by site, zone and metric */

const key = (/** @type {string[]} */ ...names) => names.join("\u0000");

export function Overview() {
  const kpis = useAnswer("/kpis/live", 5);
  const alerts = useAnswer("/alerts?state=open&limit=1000", 5);
  const types = useAnswer("/telemetry-types");
  /** @type {Kpi[] | null} */
  const rows = kpis.data;
  const metrics = rows ? [...new Set(rows.filter((r) => r.zone_id || r.site_id).map((r) => r.sensor_type))] : [];
  const trends = useTrends(metrics.slice(0, MOST_COLUMNS));
  if (!rows) return kpis.trouble ? html`<main><h1>Overview</h1><${Problem} trouble=${kpis.trouble} /></main>` : html`<main><h1>Overview</h1><${Waiting} lines=${16} /></main>`;
  const units = types.data?.telemetry_types ?? {};
  const sites = [...new Set(rows.map((r) => r.site_id))].sort((a, b) => (a === "") === (b === "") ? a.localeCompare(b, "en", { numeric: true }) : a === "" ? 1 : -1);
  return html`<main>
    <h1>Overview</h1>
    <${Figures} />
    <${Problem} trouble=${kpis.trouble} />
    ${rows.length === 0 ? html`<${Empty} title="No reading has come in yet" command=${REPLAY}><p>Sensors send by themselves once they run: <code>sonde up</code> begins with two and a simulated building, unless told otherwise. This sends a real office, to look at:</p><//>` : null}
    ${sites.map((site) => html`<${Site} key=${site} site=${site} rows=${rows.filter((r) => r.site_id === site)} alerts=${(alerts.data ?? []).filter((/** @type {any} */ a) => a.site === site)} units=${units} trends=${trends} />`)}
  </main>`;
}

/** @param {string[]} metrics @returns {Trends} */
function useTrends(metrics) {
  const [trends, set] = useState(/** @type {Trends} */ (new Map()));
  const wanted = metrics.join("\u0000");
  useEffect(() => {
    const stop = new AbortController();
    const go = async () => {
      const first = Math.floor(now() / TREND_STEP) * TREND_STEP - TREND_SPAN + TREND_STEP;
      /** @type {Trends} */
      const found = new Map();
      for (const metric of metrics) {
        const path = query("/trends", { sensor_type: metric, window: "15m", since: rfc(first), limit: 10000 });
        const { data } = await ask(path, { signal: stop.signal });
        for (const point of data) {
          const name = key(point.site_id, point.zone_id, metric);
          if (!found.has(name)) found.set(name, Array(TREND_SPAN / TREND_STEP).fill(null));
          /** @type {(number | null)[]} */ (found.get(name))[Math.round((seconds(point.timestamp) - first) / TREND_STEP)] = point.avg;
        }
      }
      set(found);
    };
    const quietly = () => go().catch(() => undefined); // the table above says what is wrong; sparklines stay as they were
    quietly();
    const timer = setInterval(() => document.hidden || quietly(), 60_000);
    const forget = returns.watch(quietly);
    return () => {
      stop.abort();
      clearInterval(timer);
      forget();
    };
  }, [wanted]);
  return trends;
}

/** What is stored, what comes in, what is behind. */
function Figures() {
  const overview = useAnswer("/overview", 2);
  const history = useRef(/** @type {[number, number][]} */ ([]));
  const it = overview.data;
  const at = it ? seconds(it.time) : 0;
  const last = history.current[history.current.length - 1];
  if (it && (!last || last[0] < at)) {
    history.current = [...history.current.filter(([t]) => t > at - 20 && t < at), [at, it.readings]];
    if (!last) setClock(at, Date.now() / 1000, Date.now() / 1000);
  }
  const [first] = history.current;
  const rate = it && first[0] < at ? Math.max(0, (it.readings - first[1]) / (at - first[0])) : null;
  if (!it) return html`<dl class="figures"><div><dt>readings stored</dt><dd>–</dd></div></dl>`;
  const behind = it.lag_seconds > 5;
  return html`<dl class="figures">
    <div><dt>readings a second</dt><dd id="rate">${rate === null ? "–" : number(rate, rate >= 10 ? 0 : 1)}</dd></div>
    <div class=${behind ? "warn" : ""}><dt>store behind by</dt><dd>${it.lag_frames === 0 ? "0 s" : span(it.lag_seconds)}</dd></div>
    <div><dt>readings stored</dt><dd>${number(it.readings, 0)}</dd></div>
    <div><dt>series</dt><dd>${number(it.series, 0)}</dd></div>
    <div><dt>devices</dt><dd>${number(it.devices, 0)}</dd></div>
    <div class=${it.alerts_firing ? "warn" : ""}><dt>alerts firing</dt><dd><a href=${address("alerts")}>${it.alerts_firing}</a></dd></div>
    <div><dt>sealed parts</dt><dd>${size(it.part_bytes)}</dd></div>
  </dl>
  ${it.problems.map((/** @type {string} */ said) => html`<p class="problem" role="alert">${said}</p>`)}
  <${Stale} it=${it} />`;
}

/** @param {{it: any}} props */
function Stale({ it }) {
  useBeat(5);
  if (!it.stale_devices) return null;
  return html`<details class="stalelist"><summary><span class="stale">${it.stale_devices} of ${it.devices} devices stale</span>: nothing for ${span(it.stale_seconds)}</summary>
    <ul>${it.stale.map((/** @type {any} */ d) => html`<li><a href=${address("devices", {}, d.device_id)}>${d.device_id}</a> <${Age} at=${seconds(d.last_seen)} stale=${true} /></li>`)}</ul>
  </details>`;
}

/** @param {{site: string, rows: Kpi[], alerts: any[], units: any, trends: Trends}} props */
function Site({ site, rows, alerts, units, trends }) {
  const metrics = [...new Set(rows.map((r) => r.sensor_type))].sort();
  if (metrics.length > MOST_COLUMNS) return html`<${Listed} site=${site} rows=${rows} alerts=${alerts} units=${units} />`;
  const zones = [...new Set(rows.map((r) => r.zone_id))].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const digits = new Map(metrics.map((m) => [m, digitsOf(rows.filter((r) => r.sensor_type === m).map((r) => r.current_avg))]));
  return html`<section class="site">
    <${Wide} label=${site || "Without a site"}><table class="zones" aria-label=${site || "Without a site"}>
      <thead><tr><th scope="col">${site || "Without a site"}</th>${metrics.map((m) => html`<th scope="col" class="n">${m} <span class="unit">${units[m]?.unit ?? ""}</span></th><th class="sparkhead" scope="col"><span class="hidden">last 6 h</span></th>`)}<th scope="col">alerts</th><th scope="col" class="n age">age</th></tr></thead>
      <tbody>${zones.map((zone) => {
        const mine = rows.filter((r) => r.zone_id === zone);
        const newest = Math.max(...mine.map((r) => seconds(r.last_updated)));
        const stale = now() - newest > 300;
        return html`<tr class=${stale ? "stale" : ""}><th scope="row">${zone || "–"}</th>
          ${metrics.map((m) => html`<${Cell} kpi=${mine.find((r) => r.sensor_type === m)} digits=${digits.get(m) ?? 1} values=${trends.get(key(site, zone, m)) ?? []} />`)}
          <td class="alerts">${state(alerts.filter((a) => a.zone === zone))}</td>
          <td class="n age"><${Age} at=${newest} stale=${stale} /></td></tr>`;
      })}</tbody>
    </table><//>
  </section>`;
}

/** @param {{kpi: Kpi | undefined, digits: number, values: (number | null)[]}} props */
function Cell({ kpi, digits, values }) {
  if (!kpi) return html`<td class="n">–</td><td class="sparkcell"></td>`;
  const find = { find: `${kpi.site_id}/${kpi.zone_id}/${kpi.sensor_type}` };
  return html`<td class="n"><a class="value" href=${address("explore", find)} title="Mean of the newest 5 minutes; highest ${number(kpi.current_max, digits)}">${number(kpi.current_avg, digits)}</a></td>
    <td class="sparkcell"><${Spark} values=${values} label=${`${kpi.zone_id} ${kpi.sensor_type}, last 6 hours`} /></td>`;
}

/** A site with many metrics: one a row. @param {{site: string, rows: Kpi[], alerts: any[], units: any}} props */
function Listed({ site, rows, alerts, units }) {
  return html`<section class="site"><table class="listed" aria-label=${site || "Without a site"}>
    <thead><tr><th scope="col">${site || "Without a site"}</th><th scope="col" class="n">now</th><th scope="col">unit</th><th scope="col">alerts</th><th scope="col" class="n age">age</th></tr></thead>
    <tbody>${rows.map((r) => {
      const at = seconds(r.last_updated);
      const stale = now() - at > 300;
      return html`<tr class=${stale ? "stale" : ""}><th scope="row">${r.zone_id ? `${r.zone_id} ` : ""}${r.sensor_type}</th>
        <td class="n"><a class="value" href=${address("explore", { find: `${r.site_id}/${r.zone_id}/${r.sensor_type}` })}>${number(r.current_avg)}</a></td><td class="unit">${units[r.sensor_type]?.unit ?? ""}</td>
        <td class="alerts">${state(alerts.filter((a) => a.zone === r.zone_id && a.metric === r.sensor_type))}</td><td class="n age"><${Age} at=${at} stale=${stale} /></td></tr>`;
    })}</tbody></table></section>`;
}

/** @param {any[]} alerts */
function state(alerts) {
  if (alerts.length === 0) return html`<span class="quiet">–</span>`;
  const worst = alerts.find((a) => a.severity === "critical") ?? alerts[0];
  return html`<a href=${address("alerts")}><${Severity} severity=${worst.severity} /> ${worst.metric}${alerts.length > 1 ? ` +${alerts.length - 1}` : ""}</a>`;
}
