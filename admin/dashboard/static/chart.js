// @ts-check
// Charts of allowed and refused requests, as SVG.
import { html, useLayoutEffect, useRef, useState } from "./vendor/preact.js";
import * as format from "./format.js";
import { text } from "./text.js";

/** @typedef {{time: string, allowed: number, refused: number}} Point
 * @typedef {"hour"|"day"} Step */

const lengths = { hour: 3_600_000, day: 86_400_000 };
const [height, top, base, left] = [196, 18, 174, 40];

/** Returns n complete points that end now. It sums the scopes and outcomes of a key's usage.
 * @param {(import("../types").UsagePoint | import("../types").RequestCount)[]} points
 * @param {Step} step
 * @param {number} n
 * @param {number} [now]
 * @returns {Point[]} */
export function fill(points, step, n, now = Date.now()) {
  const length = lengths[step];
  const start = (Math.floor(now / length) - n + 1) * length;
  const filled = Array.from({ length: n }, (_, i) => ({
    time: new Date(start + i * length).toISOString(),
    allowed: 0,
    refused: 0,
  }));
  for (const point of points) {
    const slot = filled[(Date.parse(point.time) - start) / length];
    if (!slot) continue;
    const ok = "count" in point && point.outcome === "ok";
    const { allowed, refused } =
      "count" in point ? { allowed: ok ? point.count : 0, refused: ok ? 0 : point.count } : point;
    slot.allowed += allowed;
    slot.refused += refused;
  }
  return filled;
}

/** @param {Point} point */
const all = (point) => point.allowed + point.refused;

/** @param {Point[]} points */
export function totals(points) {
  const sum = { allowed: 0, refused: 0 };
  for (const { allowed, refused } of points) {
    sum.allowed += allowed;
    sum.refused += refused;
  }
  return sum;
}

/** Returns up to six round numbers from 0 to max or just above.
 * @param {number} max */
export function scale(max) {
  const rough = Math.max(max / 4, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * /** @type {number} */ ([1, 2, 5, 10].find((factor) => factor * power >= rough));
  return Array.from({ length: Math.max(1, Math.ceil(max / step)) + 1 }, (_, i) => i * step);
}

/** Chart is a stacked bar chart. Arrow keys move from bar to bar.
 * @param {{points: Point[], step: Step, label: string}} props */
export function Chart({ points, step, label }) {
  const box = useRef(/** @type {any} */ (null));
  const [width, setWidth] = useState(0);
  const [at, setAt] = useState(-1);
  useLayoutEffect(() => {
    const observer = new ResizeObserver(() => setWidth(box.current.clientWidth));
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  const t = text.chart;
  const n = points.length;
  const ticks = scale(Math.max(...points.map(all)));
  const slot = Math.max(0, width - left) / n;
  const bar = slot > 3 ? Math.min(slot * 0.72, 28) : slot;
  const days = step === "hour" && n > 24;
  const short = step === "day" ? format.utcDay : days ? format.monthDay : format.clock;
  const named = points.filter(({ time }) => !days || format.clock(time).startsWith("00"));
  const every = Math.ceil((named.length * 60) / (width - left));
  /** @param {number} i */
  const center = (i) => left + (i + 0.5) * slot;
  /** @param {number} count */
  const size = (count) => count && Math.max((count * (base - top)) / ticks[ticks.length - 1], 2);
  /** @param {Point} point */
  const words = (point) => `${t.from(point.time, step)}: ${t.total(point)}`;
  /** Writes a text that stays inside the chart.
   * @param {number} i
   * @param {number} y
   * @param {string} words */
  const write = (i, y, words) => {
    const half = words.length * 3.5;
    return html`<text x=${Math.max(half, Math.min(center(i), width - half))} y=${y} text-anchor="middle">${words}</text>`;
  };
  /** @param {any} event */
  const keys = ({ key, target }) =>
    (key === "ArrowLeft" ? target.previousSibling : key === "ArrowRight" && target.nextSibling)?.focus?.();
  return html`<figure class="chart" ref=${box}>
<svg width=${width} height=${height} role="group" aria-label=${label} onKeyDown=${keys} onPointerLeave=${() => setAt(-1)}>
${ticks.map((tick) => html`<path d=${`M${left} ${base - (tick && size(tick))}H${width}`} /><text x="32" y=${base + 4 - (tick && size(tick))} text-anchor="end">${t.tick(tick)}</text>`)}
${width > 0 && named.map((point, i) => (named.length - 1 - i) % every === 0 && write(points.indexOf(point), height - 4, short(point.time)))}
${points.map((point, i) => {
  const [y, refused] = [base - size(point.allowed), size(point.refused)];
  return html`<g key=${point.time} role="img" aria-label=${words(point)} tabindex=${i === (at < 0 ? n - 1 : at) ? 0 : -1}
onFocus=${() => setAt(i)} onBlur=${() => setAt(-1)} onPointerEnter=${() => setAt(i)}>
<rect class=${i === at ? "slot on" : "slot"} x=${left + i * slot} y=${top} width=${slot} height=${base - top} />
<rect class="allowed" x=${center(i) - bar / 2} y=${y} width=${bar} height=${base - y} />
<rect class="refused" x=${center(i) - bar / 2} y=${y - refused - 1} width=${bar} height=${refused} /></g>`;
})}
${at >= 0 ? write(at, 10, words(points[at])) : !points.some(all) && write(n / 2, 100, t.none)}
</svg>
<figcaption class="row"><span class="swatch">${t.head[1]}</span><span class="swatch refused">${t.head[2]}</span>
<details><summary>${t.table}</summary><div class="rows" tabindex="0" role="region" aria-label=${label}>
<${Table} head=${t.head} rows=${points.map(({ time, allowed, refused }) => [t.from(time, step), format.count(allowed), format.count(refused)])} /></div></details></figcaption>
</figure>`;
}

/** Table is a table of plain cells.
 * @param {{head: string[], rows: any[][]}} props */
export const Table = ({
  head,
  rows,
}) => html`<table><thead><tr>${head.map((cell) => html`<th scope="col">${cell}</th>`)}</tr></thead>
<tbody>${rows.map((row) => html`<tr>${row.map((cell) => html`<td>${cell}</td>`)}</tr>`)}</tbody></table>`;

/** Spark is a small chart of days for a row of a table.
 * @param {{points: Point[]}} props */
export function Spark({ points }) {
  const unit = 22 / Math.max(1, ...points.map(all));
  const slot = 96 / points.length;
  const draw = (
    /** @type {"allowed"|"refused"} */ kind,
  ) => html`<path class=${kind} stroke-width=${slot * 0.8}
d=${points
    .map(
      (point, i) =>
        point[kind] &&
        `M${(i + 0.5) * slot} ${24 - (kind === "refused" ? point.allowed * unit : 0)}v${-Math.max(1.5, point[kind] * unit)}`,
    )
    .filter(Boolean)
    .join("")} />`;
  return html`<svg class="spark" width="96" height="24" role="img" aria-label=${text.chart.spark(points.length, totals(points))}>
<path d="M0 24H96" />${draw("allowed")}${draw("refused")}</svg>`;
}
