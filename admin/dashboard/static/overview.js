// @ts-check
// The first page: requests, keys that need attention, the busiest keys, and the health.
import { html, useEffect, useRef } from "./vendor/preact.js";
import { changedAt, get } from "./api.js";
import { Chart, fill, totals } from "./chart.js";
import { askExtend, askRevoke, askRotate, askTrim, askTrimResources, openForm } from "./dialogs.js";
import * as format from "./format.js";
import { useGate } from "./gate.js";
import { choose, href, keyHref, useRoute } from "./route.js";
import { Command, Health } from "./settings.js";
import { snippets } from "./snippets.js";
import { text } from "./text.js";
import { Card, Choice, Icon, Loaded, useData } from "./ui.js";

/** @typedef {import("../types").Overview} Overview
 * @typedef {import("../types").Attention} Attention
 * @typedef {import("../types").AttentionItem} Item
 * @typedef {keyof typeof text.overview.remedies} Remedy */

/** @type {Map<string, [import("./chart.js").Step, number]>} */
const ranges = new Map([["24h", ["hour", 24]], ["7d", ["hour", 168]], ["30d", ["day", 30]], ["90d", ["day", 90]]]); // prettier-ignore

/** What a remedy does. The other remedies are links to the key's page.
 * @type {Partial<Record<Remedy, (item: Item, after: () => void) => void>>} */
const actions = {
  extend: ({ token }, after) => askExtend([token], after),
  rotate: ({ token }, after) => askRotate(token, after),
  revoke: ({ token }, after) => askRevoke([token], after),
  trim: ({ token, used_scopes: used }, after) => askTrim(token, used ?? [], after),
  trimResources: ({ token, used_resources: used }, after) => askTrimResources(token, used ?? [], after),
};

/** For each reason its icon, its remedies, and the filter that lists all its keys.
 * @type {Record<Attention["reason"], [string, Remedy[], Record<string, string>?]>} */
const reasons = {
  used_after_revocation: ["alert", ["show"]],
  expiring: ["clock", ["extend", "rotate"], { expires: "7d" }],
  old_secret_in_use: ["rotate", ["handOver"]],
  wide_grant: ["shield", ["trim"]],
  unused_scopes: ["shield", ["trim"]],
  unused_resources: ["shield", ["trimResources"]],
  unused: ["pause", ["revoke"], { status: "active", usage: "90d" }],
};

export function OverviewPage() {
  const { query } = useRoute();
  const changed = useRef(changedAt);
  const overview = useData(
    () => get("overview"),
    [],
    ({ kind }) => {
      if (kind === "change") changed.current = Date.now();
      return true;
    },
  );
  const { data, reload } = overview;
  // The chart moves on without events, and problems end without one. The server surveys the keys a
  // while after a change, and the first survey of a large store takes seconds.
  useEffect(() => {
    const surveying = (data && !data.tokens) || Date.now() - changed.current < 90_000;
    const problems = data && Object.values(data.health).some(({ status }) => status !== "ok");
    const timer = setTimeout(reload, surveying ? 2000 : problems ? 5000 : 60_000);
    return () => clearTimeout(timer);
  }, [data]);
  const range = ranges.has(query.range) ? query.range : "7d";
  return html`<div class="page-head"><h1>${text.pages.overview}</h1>
<${Choice} label=${text.overview.range} options=${[...ranges.keys()].map((name) => [name, name.replace(/\D/, " $&")])} value=${range}
onChange=${(/** @type {string} */ value) => choose({ range: value })} /></div>
<${Loaded} of=${overview}>${(/** @type {Overview} */ data) => html`<${Content} overview=${data} range=${range} after=${reload} />`}</>`;
}

/** @param {{overview: Overview, range: string, after: () => void}} props */
function Content({ overview: { time, tokens, requests, health }, range, after }) {
  const t = text.overview;
  const now = Date.parse(time);
  const hours = fill(requests.hours, "hour", 48, now);
  const [before, last] = [totals(hours.slice(0, 24)), totals(hours.slice(24))];
  const sum = last.allowed + last.refused;
  const [step, n] = /** @type {[import("./chart.js").Step, number]} */ (ranges.get(range));
  const points = fill(step === "hour" ? requests.hours : requests.days, step, n, now);
  const all = tokens ? Object.values(tokens.status).reduce((sum, n) => sum + n, 0) : 0;
  const groups = tokens?.attention.filter(({ count }) => count) ?? [];
  const most = Math.max(...(tokens?.busiest ?? []).map(({ allowed, refused }) => allowed + refused));
  /** @type {[string, number | string | undefined, string, string?][]} */
  const tiles = [
    [t.active, tokens?.status.active, t.of(all), href("keys", { status: "active" })],
    [t.last, sum, t.change(sum, before.allowed + before.refused)],
    [t.refused, format.percent(last.refused, sum), t.share(last)],
    [t.expiring, tokens?.expiring, t.next(groups.find(({ reason }) => reason === "expiring")?.items[0].token), href("keys", reasons.expiring[2])],
  ]; // prettier-ignore
  const empty = tokens && !requests.days.length;
  return html`${
    empty
      ? html`<${Start} made=${all > 0} />`
      : html`<div class="tiles">${tiles.map(
          ([
            label,
            value,
            hint,
            link,
          ]) => html`<div key=${label} class="card"><h2>${link ? html`<a href=${link}>${label}</a>` : label}</h2>
<p class="figure">${typeof value === "number" ? format.count(value) : (value ?? "–")}</p><p class="hint" dir="auto">${value !== undefined && hint}</p></div>`,
        )}</div>
<${Card} title=${t.requests} aside=${html`<span class="muted">${text.chart.total(totals(points))}</span>`}><${Chart} points=${points} step=${step} label=${t.requests} /></>`
  }
<div class="split"><${Card} title=${t.attention} class="attention"><${Loaded} of=${{ data: tokens ?? undefined }}>${() => (groups.length ? groups.map((group) => html`<${Group} key=${group.reason} group=${group} after=${after} />`) : html`<p class="muted">${t.nothing}</p>`)}</></>
<div class="cards">${
    most > 0 &&
    html`<${Card} title=${t.busiest}><ul class="busiest">${tokens?.busiest.map(
      ({ token, allowed, refused }) => html`<li key=${token.id}>
<a href=${keyHref(token.id)} dir="auto">${token.name}</a><span title=${text.chart.total({ allowed, refused })}>${format.count(allowed + refused)}</span>
<svg aria-hidden="true"><rect class="allowed" width=${`${(100 * (allowed + refused)) / most}%`} height="4" /></svg></li>`,
    )}</ul></>`
  }
<${Health} checks=${health} /></div></div>`;
}

/** @param {{group: Attention, after: () => void}} props */
function Group({ group: { reason, count, items }, after }) {
  const t = text.overview;
  const [icon, remedies, filter] = reasons[reason];
  const [title, sentence] = t.reasons[reason];
  return html`<h3 class=${reason}><${Icon} name=${icon} />${title} <span class="chip">${format.count(count)}</span></h3>
<ul>${items.map(
    (
      item,
    ) => html`<li key=${item.token.id}><div><a href=${keyHref(item.token.id)} dir="auto">${item.token.name}</a><p dir="auto">${sentence(item)}</p></div>
${(item.used_scopes?.length === 0 ? /** @type {Remedy[]} */ (["show"]) : remedies).map((name) => {
  const run = actions[name];
  return html`<${run ? "button" : "a"} class="button small" href=${run ? undefined : keyHref(item.token.id)} onClick=${run && (() => run(item, after))} aria-label=${`${t.remedies[name]}: ${item.token.name}`}>${t.remedies[name]}</>`;
})}</li>`,
  )}</ul>
${count > items.length && html`<p class="hint">${filter ? html`<a href=${href("keys", filter)}>${t.all(count)}</a>` : t.more(count - items.length)}</p>`}`;
}

/** Start guides to the first request.
 * @param {{made: boolean}} props */
function Start({ made }) {
  const gate = useGate();
  const t = text.overview;
  return html`<${Card} title=${t.start}><ol class="steps">${t.steps.map(
    (step, i) => html`<li class=${i === +made ? "" : "muted"}>
<h3>${i + 1}. ${step} ${i < +made && html`<${Icon} name="check" label=${t.done} />`}</h3>
${i === 0 && !made && html`<button class="button primary" onClick=${() => openForm({ kind: "api" })}>${text.newKey}</button>`}
${i === 1 && made && html`<${Command} value=${snippets(gate).curl} />`} ${i === 2 && html`<p>${t.waiting}</p>`}</li>`,
  )}</ol></>`;
}
