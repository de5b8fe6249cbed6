/** What is drawn in a chart besides its lines: holes, gaps, ranges, alerts, mended spans, letters. */
import { common, holes } from "./lines.js";
import { now } from "./time.js";
import { letter } from "./words.js";

/**
 * @typedef {import("./chart.js").Props} Props
 * @typedef {import("./lines.js").Line} Line
 * @typedef {ReturnType<typeof import("./chart.js").inks>} Inks
 */

/** What lies under the lines: holes, the declared range. @param {any} u @param {Props} props @param {Inks} ink */
export function underneath(u, props, ink) {
  const { ctx } = u;
  const { left, top, width, height } = u.bbox;
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top, width, height);
  ctx.clip();
  ctx.lineWidth = devicePixelRatio;
  for (const [from, to] of common(props.lines.map(holes))) {
    const [x, end] = [Math.max(left, u.valToPos(from, "x", true)), Math.min(left + width, u.valToPos(to, "x", true))];
    if (end > x) hatch(ctx, x, top, end - x, height, ink.line);
  }
  for (const [from, to] of new Map(props.gaps.map((band) => [`${band.from} ${band.to}`, [band.from, band.to]])).values()) gap(u, from, to, ink.warn);
  const edge = u.valToPos(now(), "x", true);
  if (edge < left + width) {
    ctx.strokeStyle = ink.quiet;
    ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
    across(ctx, edge, top, edge, top + height);
  }
  for (const bound of [props.range?.min, props.range?.max]) {
    if (typeof bound !== "number") continue;
    const y = u.valToPos(bound, "y", true);
    if (y <= top || y >= top + height) continue;
    ctx.strokeStyle = ink.quiet;
    ctx.setLineDash([6 * devicePixelRatio, 3 * devicePixelRatio]);
    across(ctx, left, y, left + width, y);
  }
  ctx.restore();
}

/** A gap that the ledger knows: tinted, hatched against holes, an edge on both sides. However short, it is seen. @param {any} u @param {number} from @param {number} to @param {string} colour */
function gap(u, from, to, colour) {
  const { ctx } = u;
  const { left, top, width, height } = u.bbox;
  const px = devicePixelRatio;
  const end = Math.min(left + width, u.valToPos(to, "x", true));
  const start = Math.max(left, Math.min(Number.isFinite(from) ? u.valToPos(from, "x", true) : left, end - 3 * px));
  if (end <= start || u.valToPos(to, "x", true) < left) return;
  ctx.fillStyle = `${colour}1a`;
  ctx.fillRect(start, top, end - start, height);
  hatch(ctx, start, top, end - start, height, `${colour}4d`, true);
  ctx.strokeStyle = colour;
  for (const x of [start, end]) across(ctx, x, top, x, top + height);
}

/** @param {CanvasRenderingContext2D} ctx @param {number} x @param {number} y @param {number} width @param {number} height @param {string} colour @param {boolean} [down] */
export function hatch(ctx, x, y, width, height, colour, down = false) {
  const apart = 8 * devicePixelRatio;
  ctx.save();
  ctx.strokeStyle = colour;
  ctx.beginPath();
  ctx.rect(x, y, width, height);
  ctx.clip();
  ctx.beginPath();
  for (let d = x - height - ((x - height) % apart); d < x + width; d += apart) {
    ctx.moveTo(d, down ? y : y + height);
    ctx.lineTo(d + height, down ? y + height : y);
  }
  ctx.stroke();
  ctx.restore();
}

/** What lies above them: alerts, what late data mended, letters at the lines' ends. @param {any} u @param {Props} props @param {Inks} ink */
export function above(u, props, ink) {
  const { ctx } = u;
  const { left, top, width, height } = u.bbox;
  const px = devicePixelRatio;
  ctx.save();
  for (const mark of props.marks) {
    const x = Math.max(left, u.valToPos(mark.since, "x", true));
    const end = Math.min(left + width, u.valToPos(mark.until, "x", true));
    if (end < left || x > left + width) continue;
    ctx.fillStyle = ctx.strokeStyle = mark.severity === "critical" ? ink.bad : ink.warn;
    ctx.fillRect(x, top, Math.max(px, end - x), 3 * px);
    triangle(ctx, x, top + 3 * px, px);
    const y = mark.threshold === null ? -1 : u.valToPos(mark.threshold, "y", true);
    if (y > top && y < top + height) {
      ctx.lineWidth = px;
      ctx.setLineDash([4 * px, 4 * px]);
      across(ctx, x, y, Math.max(x + 8 * px, end), y);
    }
  }
  ctx.setLineDash([]);
  ctx.fillStyle = ink.accent;
  for (const [from, to] of props.lines.flatMap((line) => line.mended)) {
    const x = Math.max(left, u.valToPos(from, "x", true));
    ctx.fillRect(x, top + height - 3 * px, Math.max(4 * px, Math.min(left + width, u.valToPos(to, "x", true)) - x), 3 * px);
  }
  if (props.lines.length + props.first > 1) props.lines.forEach((line, i) => mark(u, line, props.first + i, ink));
  ctx.restore();
}

/** The letter of a line at its right end. @param {any} u @param {Line} line @param {number} index @param {Inks} ink */
function mark(u, line, index, ink) {
  let last = line.t.length - 1;
  while (last >= 0 && (line.mid[last] === null || line.t[last] > u.scales.x.max)) last -= 1;
  if (last < 0 || line.t[last] < u.scales.x.min) return;
  const { left, width } = u.bbox;
  const x = Math.min(u.valToPos(line.t[last] + line.step / 2, "x", true), left + width) + 5 * devicePixelRatio;
  u.ctx.font = `600 ${10 * devicePixelRatio}px system-ui, sans-serif`;
  u.ctx.textAlign = "left";
  u.ctx.textBaseline = "middle";
  u.ctx.fillStyle = ink.series[index % ink.series.length];
  u.ctx.fillText(letter(index), x, u.valToPos(line.mid[last], "y", true));
}

/** @param {CanvasRenderingContext2D} ctx @param {number} x @param {number} y @param {number} px */
function triangle(ctx, x, y, px) {
  ctx.beginPath();
  ctx.moveTo(x - 4 * px, y);
  ctx.lineTo(x + 4 * px, y);
  ctx.lineTo(x, y + 6 * px);
  ctx.fill();
}

/** @param {CanvasRenderingContext2D} ctx @param {number} x @param {number} y @param {number} x2 @param {number} y2 */
function across(ctx, x, y, x2, y2) {
  ctx.beginPath();
  ctx.moveTo(x, y);
  ctx.lineTo(x2, y2);
  ctx.stroke();
}
