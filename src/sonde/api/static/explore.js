/** Explore: pick series, look at them over any span, take them along. */
import { html, useEffect, useMemo, useRef, useState } from "./vendor/preact.js";
import { ask, query, useAnswer } from "./ask.js";
import { useCell } from "./cell.js";
import { Chart } from "./chart.js";
import { Charting } from "./charting.js";
import { GapList, placed, useGaps } from "./gaps.js";
import { chartOf, Legend } from "./legend.js";
import { Empty, Problem, Waiting } from "./parts.js";
import { Picker } from "./picker.js";
import { worded } from "./lines.js";
import { ReadingsTable } from "./readings.js";
import { LANE, WordKey, wordsOf } from "./states.js";
import { advance, go, now, place, seen, time } from "./time.js";
import { number, rfc, seconds, span } from "./words.js";

/** @typedef {import("./lines.js").Line} Line */

const STYLES = ["line", "step", "points", "table"];
const MOST = 12;

export function Explore() {
  const { params } = useCell(place);
  const picked = numbers(params.get("series"));
  const style = STYLES.includes(params.get("as") ?? "") ? String(params.get("as")) : "line";
  const charting = useMemo(() => new Charting(Math.max(300, innerWidth - (innerWidth > 900 ? 320 : 24))), []);
  const { lines, version, loading, trouble, cursor } = useCell(charting.state);
  const names = useFound(params.get("find"), picked);
  useEffect(() => () => charting.stop(), []);
  useEffect(() => charting.pick(picked), [picked.join()]);
  useEffect(() => time.watch(() => charting.moved()), []);
  const { since, until } = useEdge(charting, lines.length > 0, style === "table" ? 0.5 : 0.016);
  const gaps = useGaps(lines, since);
  const bands = placed(gaps, lines, since, until);
  const toggle = (/** @type {number} */ series) => pick(picked.includes(series) ? picked.filter((s) => s !== series) : [...picked, series].slice(-MOST));
  const otherLog = cursor && params.get("log") && !cursor.startsWith(`${params.get("log")}.`);
  useEffect(() => {
    if (cursor && picked.length && !params.get("log")) go("explore", { log: cursor.split(".")[0] }, { replace: true });
  }, [cursor, picked.join()]);

  return html`<main class="explore">
    <h1 class="hidden">Explore</h1>
    <${Picker} picked=${picked} toggle=${toggle} />
    <section class="charts" aria-busy=${loading}>
      <${Tools} picked=${picked} style=${style} />
      <${Problem} trouble=${trouble} />
      ${otherLog ? html`<p class="problem" role="alert">This link was made on another log: its series may be others here. <button class="plain" onClick=${() => go("explore", { series: null, log: null })}>Pick anew</button></p>` : null}
      ${names ? html`<p class="problem" role="status">${names}</p>` : null}
      ${picked.length === 0 && !params.get("find") ? html`<${Empty} title="Pick a series"><p>Search on the left by device, metric, site or zone, or press <kbd>/</kbd>. Several may be picked, up to ${MOST}; those with the same metric share a chart.</p><//>` : null}
      ${picked.length && lines.length === 0 && !trouble ? html`<${Waiting} lines=${8} />` : null}
      ${style === "table" ? html`<${GapList} bands=${bands} /><${ReadingsTable} lines=${lines} since=${since} until=${until} />` : html`<${Panels} lines=${lines} version=${version} style=${style} since=${since} until=${until} gaps=${gaps} /><${GapList} bands=${bands} />`}
      ${lines.length ? html`<${Legend} lines=${lines} version=${version} since=${since} until=${until} remove=${toggle} />` : null}
    </section>
  </main>`;
}

/** @param {number[]} series */
const pick = (series) => go("explore", { series: series.length ? series.join(",") : null, find: null, log: null }, { replace: true });

/** @param {string | null} text */
const numbers = (text) => (text ? text.split(",").map(Number).filter((n) => Number.isInteger(n) && n >= 0).slice(0, MOST) : []);

/** Series named by `site/zone/metric` in a link are picked; what is wrong with the link. @param {string | null} find @param {number[]} picked */
function useFound(find, picked) {
  const [said, say] = useState("");
  useEffect(() => {
    say("");
    if (!find || picked.length) return;
    const metric = find.slice(find.lastIndexOf("/") + 1);
    ask(query("/series", { search: find.replaceAll("/", " "), limit: 1000 })).then(
      ({ data }) => {
        const exact = data.filter((/** @type {any} */ s) => s.metric === metric && find === `${s.site}/${s.zone}/${s.metric}`);
        if (exact.length) pick(exact.slice(0, MOST).map((/** @type {any} */ s) => s.series));
        else say(`Nothing is called ${find}.`);
      },
      (trouble) => say(trouble.message),
    );
  }, [find]);
  return said;
}

/** The span drawn: while live its right edge moves, by half a pixel or more at a time. @param {Charting} charting @param {boolean} moving @param {number} least seconds from one drawing to the next */
function useEdge(charting, moving, least) {
  const { live, speed, since, until, span: length } = useCell(time);
  const [, setEdge] = useState(0);
  useEffect(() => {
    if (!live && !speed) return undefined;
    let frame = 0;
    let before = performance.now();
    let drawn = 0;
    const turn = (/** @type {number} */ at) => {
      const passed = (at - before) / 1000;
      before = at;
      if (speed) {
        advance(Math.min(passed, 1));
        charting.moved();
      } else if (now() - drawn > Math.max(length / charting.width / 2, least) && moving) {
        drawn = now();
        setEdge(drawn);
      }
      frame = requestAnimationFrame(turn);
    };
    frame = requestAnimationFrame(turn);
    return () => cancelAnimationFrame(frame);
  }, [live, speed, length, moving, least]);
  if (!live) return { since, until };
  const end = now();
  return { since: end - length, until: end };
}

/** Charts, one for each metric and unit. @param {{lines: Line[], version: number, style: string, since: number, until: number, gaps: import("./gaps.js").Gap[]}} props */
function Panels({ lines, version, style, since, until, gaps }) {
  const marks = useMarks(lines, since);
  /** @type {Map<string, Line[]>} */
  const panels = new Map();
  for (const line of lines) panels.set(chartOf(line), [...(panels.get(chartOf(line)) ?? []), line]);
  const height = panels.size > 2 ? 180 : panels.size === 2 || innerWidth < 720 ? 240 : 360;
  let first = 0;
  return [...panels].map(([name, mine]) => {
    const from = first;
    first += mine.length;
    const own = marks.filter((/** @type {any} */ m) => mine.some((line) => line.device === m.device && line.metric === m.metric));
    return html`<${Panel} key=${name} lines=${mine} first=${from} style=${style} height=${height} since=${since} until=${until} version=${version} marks=${own} gaps=${placed(gaps, mine, since, until)} />`;
  });
}

/** One chart and what it is. @param {Omit<import("./chart.js").Props, "range" | "label">} props */
function Panel(props) {
  const [{ metric, unit, kind, step, device }] = props.lines;
  const types = useAnswer(query("/telemetry-types", { device_id: device })).data?.telemetry_types ?? {};
  const range = types[metric]?.range ?? null;
  const total = props.lines.reduce((sum, line) => sum + (line.step ? line.n.reduce((a, b) => a + b, 0) : line.t.length), 0);
  const words = worded(props.lines[0]) ? wordsOf(props.lines, (types[metric]?.enum ?? []).map(String)) : [];
  const said = words.length ? wordy(step, total) : step ? `1 point = ${span(step)} of ${number(total, 0)} readings: mean, and a band from least to greatest` : `every reading, ${number(total, 0)}`;
  const table = (/** @type {Event} */ event) => {
    event.preventDefault();
    go("explore", { as: "table" }, { replace: true });
  };
  return html`<section class="panel">
    <header><h2>${metric}</h2> <span class="unit">${unit}</span> ${ranged(range, unit)}<span class="how">${said}</span></header>
    ${kind !== "json" && kind !== "none"
      ? html`<${Chart} ...${props} words=${words} height=${worded(props.lines[0]) ? props.lines.length * LANE + 32 : props.height} range=${range} label=${`${metric} of ${props.lines.map((line) => line.device).join(", ")}; as a table: press t`} />`
      : html`<p class="quiet">${metric} is ${kind === "json" ? "JSON" : "without a value"}: no line can show it. <a href="#/explore" onClick=${table}>See it as a table</a></p>`}
    ${words.length ? html`<${WordKey} words=${words} />` : null}
  </section>`;
}

/** @param {number} step @param {number} total */
const wordy = (step, total) => (step ? `1 point = ${span(step)}; hatched where it says several things` : `every reading, ${number(total, 0)}`);

/** @param {any} range @param {string} unit */
const ranged = (range, unit) => (range && (range.min !== null || range.max !== null) ? html`<span class="quiet">range ${range.min ?? "…"} to ${range.max ?? "…"} ${unit}</span>` : null);

/** The alerts of what is drawn. @param {Line[]} lines @param {number} since */
function useMarks(lines, since) {
  const wanted = lines.length ? query("/alerts", { limit: 500, since: rfc(Math.max(0, Math.floor((since - 86400) / 3600) * 3600)) }) : "";
  const found = useAnswer(wanted, 10).data ?? [];
  return found.map((/** @type {any} */ a) => ({ ...a, since: seconds(a.time), until: a.resolved_at ? seconds(a.resolved_at) : now() }));
}

/** @param {{picked: number[], style: string}} props */
function Tools({ picked, style }) {
  const [open, set] = useState(false);
  const menu = /** @type {import("./vendor/preact.js").Ref<HTMLElement>} */ (useRef(null));
  useEffect(() => {
    const away = (/** @type {Event} */ e) => !menu.current?.contains(/** @type {Node} */ (e.target)) && set(false);
    document.addEventListener("pointerdown", away);
    return () => document.removeEventListener("pointerdown", away);
  }, []);
  const { since, until } = seen();
  const link = (/** @type {string} */ path, /** @type {string} */ format) => query(path, { series: picked.join(","), since: rfc(since), until: rfc(until), format });
  const files = [["/export", "csv", "Every reading, CSV"], ["/export", "parquet", "Every reading, Parquet"], ["/samples", "csv", "As drawn, CSV"], ["/samples", "parquet", "As drawn, Parquet"]];
  return html`<div class="tools">
    <div role="group" aria-label="Draw as">${STYLES.map((name) => html`<button aria-pressed=${style === name} onClick=${() => go("explore", { as: name === "line" ? null : name }, { replace: true })}>${name}</button>`)}</div>
    <div class="menu" ref=${menu} onKeyDown=${(/** @type {KeyboardEvent} */ e) => e.key === "Escape" && set(false)}>
      <button aria-expanded=${open} disabled=${picked.length === 0} onClick=${() => set(!open)}>Export ▾</button>
      ${open ? html`<ul>${files.map(([path, format, name]) => html`<li><${Download} path=${link(path, format)} name=${`sonde-${path === "/export" ? "readings" : "drawn"}.${format}`} text=${name} /></li>`)}</ul>` : null}
    </div>
  </div>`;
}

/** A file to take along; if it cannot be had, it says why. @param {{path: string, name: string, text: string}} props */
function Download({ path, name, text }) {
  const [said, say] = useState("");
  const get = async () => {
    say("…");
    try {
      const response = await fetch(path);
      if (!response.ok) throw new Error((await response.json()).detail);
      const url = URL.createObjectURL(await response.blob());
      Object.assign(document.createElement("a"), { href: url, download: name }).click();
      setTimeout(() => URL.revokeObjectURL(url), 1000);
      say("");
    } catch (error) {
      say(error instanceof TypeError ? "The server cannot be reached." : /** @type {Error} */ (error).message);
    }
  };
  return html`<button class="item" onClick=${get}>${text}</button>${said ? html`<span class="quiet" role="status">${said}</span>` : null}`;
}
