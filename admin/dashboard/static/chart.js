import { get, query } from "./api.js";
import { el, svg } from "./dom.js";

const day = 86400 * 1000;

// sums returns a series' allowed and refused requests by time.
export function sums(points) {
  const byTime = new Map();
  for (const { time, outcome, count } of points) {
    const sum = byTime.get(time) ?? { ok: 0, refused: 0 };
    sum[outcome === "ok" ? "ok" : "refused"] += count;
    byTime.set(time, sum);
  }
  return byTime;
}

// bars draws one bar per step, beginning at the given time, with refusals on top in
// another color.
export function bars(points, from, step, count, { width, height, label }) {
  const byTime = sums(points);
  const steps = Array.from({ length: count }, (_, i) => {
    const at = new Date(from + i * step);
    return { at, ...(byTime.get(at.toISOString().replace(".000Z", "Z")) ?? { ok: 0, refused: 0 }) };
  });
  const most = Math.max(1, ...steps.map(({ ok, refused }) => ok + refused));
  const all = steps.reduce((sum, { ok, refused }) => [sum[0] + ok, sum[1] + refused], [0, 0]);
  const slot = width / count;
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", class: "chart", "aria-label": `${label}: ${all[0].toLocaleString()} allowed, ${all[1].toLocaleString()} refused` });
  for (const [i, { at, ok, refused }] of steps.entries()) {
    const tall = (n) => (n === 0 ? 0 : Math.max(1, (n / most) * (height - 1)));
    const group = svg("g");
    const column = { x: i * slot, width: Math.max(1, slot - 1) };
    group.append(svg("rect", { ...column, y: height - Math.max(tall(ok), 0.5), height: Math.max(tall(ok), 0.5), class: ok ? "ok" : "none" }));
    if (refused) group.append(svg("rect", { ...column, y: height - tall(ok) - tall(refused), height: tall(refused), class: "refused" }));
    const title = svg("title");
    title.textContent = `${at.toLocaleString()}: ${ok.toLocaleString()} allowed, ${refused.toLocaleString()} refused`;
    group.append(title);
    drawing.append(group);
  }
  return drawing;
}

// A page of keys has up to fifty charts. Only visible charts are loaded, four at a time.
const waiting = [];
let drawing = 0;

async function next() {
  if (drawing >= 4 || waiting.length === 0) return;
  drawing++;
  const draw = waiting.shift();
  await draw().catch(() => {}); // the numbers next to the chart are enough
  drawing--;
  next();
}

const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    seen.unobserve(target);
    waiting.push(target.draw);
    next();
  }
});

// drawn caches each key's chart along with the counts it shows. The list reloads every few
// seconds, and most keys haven't been used since the last reload.
const drawn = new Map();

// monthChart returns a chart of a key's last 30 days, drawn once it becomes visible.
export function monthChart(token) {
  const place = el("span", { className: "month" });
  const counts = `${token.usage_count} ${token.denied_count} ${new Date().toISOString().slice(0, 10)}`;
  if (!token.usage_count && !token.denied_count) return place;
  const known = drawn.get(token.id);
  if (known) place.append(known.chart.cloneNode(true)); // until the new one is drawn
  if (known?.counts === counts) return place;
  place.draw = async () => {
    const from = Math.floor(Date.now() / day) * day - 29 * day;
    const { data } = await get(`tokens/${token.id}/usage${query({ step: "day", from: new Date(from).toISOString() })}`);
    const chart = bars(data, from, day, 30, { width: 90, height: 20, label: "Last 30 days" });
    drawn.set(token.id, { chart: chart.cloneNode(true), counts });
    place.replaceChildren(chart);
  };
  seen.observe(place);
  return place;
}
