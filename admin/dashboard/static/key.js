// @ts-check
// The page of one key.
import { html, useEffect, useState } from "./vendor/preact.js";
import {
  askExtend,
  askRotate,
  askTrim,
  askTrimResources,
  can,
  enable,
  menuItems,
  tagsOf,
  unusedHint,
} from "./actions.js";
import { get, query } from "./api.js";
import { Chart, fill, totals } from "./chart.js";
import { Explain } from "./explain.js";
import { canList } from "./draft.js";
import { openForm } from "./form.js";
import { useGate } from "./gate.js";
import { count, dateTime, day, duration, percent, relative } from "./format.js";
import { Refusals } from "./refusals.js";
import { askEnd, Rotation } from "./rotation.js";
import { choose, go, keyHref, lastLists, useRoute } from "./route.js";
import { covers, loadScopes } from "./scopes.js";
import { actorName, isKey } from "./sentences.js";
import { snippets } from "./snippets.js";
import { text } from "./text.js";
import {
  Button,
  Card,
  Choice,
  Copy,
  Icon,
  isRotating,
  Loaded,
  Menu,
  note,
  Scopes,
  Status,
  useData,
  When,
} from "./ui.js";

/** @typedef {import("../types").Token} Token */
/** @typedef {import("../types").UsagePoint} UsagePoint */
/** @typedef {import("../types").Scope} Scope */
/** @typedef {Awaited<ReturnType<typeof load>> & {after: () => void}} Data */

const t = text.key;
const labels = text.keys.columns;

/** @param {string | null | undefined} actor */
const nameOf = (actor) =>
  isKey(actor ?? "") ? get(`tokens/${actor}`).then(({ name }) => name, () => actor) : actor && actorName(actor); // prettier-ignore

/** @param {string} id */
async function load(id) {
  const path = `tokens/${encodeURIComponent(id)}`;
  /** @param {string} step
   * @param {number} days */
  const usage = (step, days) =>
    get(`${path}/usage${query({ step, from: new Date(Date.now() - days * day).toISOString() })}`);
  const calls = [get(path), get(`${path}/refusals`), loadScopes(), usage("hour", 7), usage("day", 90)];
  const [token, refusals, { scopes }, hours, days] = await Promise.all(calls);
  // The change that led to the present state.
  const rotating = isRotating(token);
  const action = { revoked: "revoke", disabled: "disable", active: rotating && "rotate" }[
    /** @type {string} */ (token.status)
  ];
  const [previous, resources, audit, creator] = await Promise.all([
    rotating && get(`${path}/previous`),
    token.resources && get(`${path}/resources`),
    action && get(`audit${query({ token_id: id, action, limit: 1 })}`),
    nameOf(token.created_by),
  ]);
  const cause = audit?.data?.[0];
  return {
    token: /** @type {Token} */ (token),
    refusals: /** @type {import("../types").RefusedRequest[]} */ (refusals.data),
    usage: /** @type {Record<"hour"|"day", UsagePoint[]>} */ ({ hour: hours.data, day: days.data }),
    byGate: /** @type {import("../types").GateUsage[]} */ (days.by_node ?? []),
    catalog: /** @type {Scope[]} */ (scopes),
    previous: /** @type {import("../types").PreviousUse} */ (previous),
    resources: /** @type {{resource: string, last_used_on: string | null}[]} */ (resources?.data ?? []),
    since: /** @type {string | undefined} */ (cause?.time),
    actor: await nameOf(cause?.actor),
    creator,
  };
}

/** KeyPage shows everything about a key.
 * @param {{id: string}} props */
export function KeyPage({ id }) {
  const page = useData(
    () => load(id),
    [id],
    ({ ids }) => !ids || ids.includes(id),
  );
  const { data, error } = page;
  useEffect(() => {
    if (data) document.title = `${data.token.name} · ${text.brand}`;
    if (![400, 404].includes(error?.status)) return;
    if (!data) note(t.gone, { bad: true }); // or it has just been deleted
    go("#keys", { replace: true });
  }, [data, error]);
  return html`<${Loaded} of=${page}>${(/** @type {Data} */ data) => html`<${Key} ...${data} after=${page.reload} />`}</>`;
}

/** @param {Data} data */
function Key(data) {
  const { token, refusals, catalog, previous, since, after } = data;
  const { id, kind, name, token_hint: hint } = token;
  const [asked, ask] = useState(/** @type {import("./refusals.js").Question | null} */ (null));
  const list = kind === "admin" ? "admin" : "keys";
  return html`<div><a href=${lastLists[list]}><span aria-hidden="true">← </span>${text.pages[list]}</a>
<div class="page-head"><h1 dir="auto">${name || id}</h1><span class="row"><${Status} token=${token} /></span>
<span class="row"><${NextAction} ...${data} />${can.change(token) && html`<${Button} icon="pencil" label=${text.actions.edit} onClick=${() => openForm({ edit: token })} />`}<${Menu} label=${t.more} items=${menuItems(token, after)} /></span></div>
<p class="row hint">${hint && html`<code>${hint}</code><${Copy} small value=${hint} label=${text.keys.copyHint} />`}
<code>${id}</code><${Copy} small value=${id} label=${text.actions.copyID} /></p></div>
<${Banner} ...${data} />
<div class="key"><div>${previous && html`<${Rotation} ...${{ token, previous, since, after }} />`}<${Usage} ...${data} /></div>
<div><${Facts} ...${data} /></div>
<div><${Refusals} ...${{ token, refusals, ask, after }} />${kind === "api" && html`<${Explain} ...${{ token, catalog, asked, after }} />`}</div></div>`;
}

/** NextAction is the button for what a key most probably needs.
 * @param {Data} data */
function NextAction({ token, previous, after }) {
  const { extend, rotate, like, enable: enabling } = text.actions;
  const gate = useGate();
  const active = token.status === "active";
  if (active && !token.last_used_at && canList(token)) {
    return html`<${Copy} value=${snippets(gate).curl} label=${t.copyCurl} />`;
  }
  /** @type {[unknown, string, () => void][]} */
  const actions = [
    [token.status === "disabled", enabling.label, () => enable([token], after)],
    [token.status === "expired", like, () => openForm({ like: token })],
    [active && token.expires_soon, extend.label, () => askExtend([token], after)],
    [previous && !previous.last_used_at, t.end, () => askEnd(token, previous, after)],
    [active && !previous, rotate.label, () => askRotate(token, after)],
  ];
  const found = actions.find(([fits]) => fits);
  return found && html`<button type="button" class="button primary" onClick=${found[2]}>${found[1]}</button>`;
}

/** Banner says why a key can't be used, and who tries to use it.
 * @param {Data} data */
function Banner({ token, refusals, since, actor }) {
  const { status, revoked_at, expires_at, not_before } = token;
  if (status === "active") return null;
  const at = {
    revoked: revoked_at,
    expired: expires_at,
    not_yet_valid: not_before,
    disabled: since,
    damaged: "",
  }[status];
  const seen = refusals.filter(
    ({ code, time }) => code.startsWith(status) && Date.parse(time) >= Date.parse(at ?? ""),
  );
  const bad = status === "damaged" || (status === "revoked" && seen.length);
  const words = `${t.states[status]}${at ? ` ${dateTime(at)}` : ""}${actor ? t.by(actor) : ""}.`;
  return html`<div class=${`banner ${bad ? "bad" : "warn"}`}><${Icon} name="alert" /><span dir="auto"><b>${words}</b> ${
    seen.length > 0 &&
    t.presented(seen.length, status, relative(seen[0].time), t.from(seen[0].ip, seen[0].user_agent))
  }</span></div>`;
}

/** The periods of the chart: the length and the number of its bars.
 * @type {Record<string, ["hour"|"day", number]>} */
const ranges = { "24h": ["hour", 24], "7d": ["hour", 168], "30d": ["day", 30], "90d": ["day", 90] };

/** @param {Data} data */
function Usage({ token, usage, byGate }) {
  const { range = "" } = useRoute().query;
  const value = Object.hasOwn(ranges, range) ? range : "30d";
  const [step, n] = ranges[value];
  const sum = (/** @type {UsagePoint[]} */ points) => {
    const { allowed, refused } = totals(fill(points, step, n));
    return { allowed, refused, all: allowed + refused };
  };
  const { allowed, refused, all } = sum(usage[step]);
  const scopes = [...new Set(usage[step].map(({ scope }) => scope))];
  const rows = scopes.map((scope) => ({
    scope,
    ...sum(usage[step].filter((point) => point.scope === scope)),
  }));
  return html`<${Card} title=${t.usage} class="stack" aside=${html`<${Choice} label=${t.range} value=${value}
options=${Object.keys(ranges).map((name) => [name, name.replace(/\D/, " $&")])} onChange=${(/** @type {string} */ to) => choose({ range: to })} />`}>
${all > 0 && html`<p>${t.totals(allowed, refused, percent(refused, all))}</p>`}
<${Chart} points=${fill(usage[step], step, n)} step=${step} label=${t.chart} />
${token.kind === "api" && all > 0 && html`<div class="table"><table><thead><tr>${t.columns.map((name, i) => html`<th class=${i && "number"}>${name}</th>`)}</tr></thead>
<tbody>${rows.filter((row) => row.all).sort((a, b) => b.all - a.all).map((row) => html`<tr><td><code>${row.scope ?? t.noScope}</code></td>
${[count(row.allowed), count(row.refused), percent(row.all, all)].map((cell) => html`<td class="number">${cell}</td>`)}</tr>`)}</tbody></table></div>`}
${byGate.length > 1 && html`<h3>${t.byGate}</h3><div class="table"><table><thead><tr>${t.gateColumns.map((name, i) => html`<th scope="col" class=${i && "number"}>${name}</th>`)}</tr></thead>
<tbody>${byGate.map((gate) => html`<tr key=${gate.id}><td class="gate" dir="auto">${gate.name ?? gate.id}</td>
${[count(gate.usage_count), count(gate.denied_count), relative(gate.last_used_at)].map((cell) => html`<td class="number">${cell}</td>`)}</tr>`)}</tbody></table></div>`}</>`; // prettier-ignore
}

/** Returns the scopes that a key has, by whether they were used.
 * @param {Token} token
 * @param {Scope[]} catalog
 * @param {UsagePoint[]} points */
export function scopeUse({ scopes }, catalog, points) {
  const ok = new Set(points.filter(({ outcome }) => outcome === "ok").map(({ scope }) => scope));
  const names = catalog
    .map(({ name }) => name)
    .filter((name) => scopes?.some((grant) => covers(grant, name)));
  return { used: names.filter((name) => ok.has(name)), unused: names.filter((name) => !ok.has(name)) };
}

/** Facts shows a key's properties, the most important first. Empty ones are left out.
 * @param {Data} data */
function Facts({ token, catalog, usage, resources, creator, after }) {
  const { rate_limit: rate, quota, usage_count: allowed, denied_count: refused, status } = token;
  const {
    last_used_ip: ip,
    last_used_user_agent: agent,
    last_used_route: route,
    created_at: created,
  } = token;
  const { used, unused } = scopeUse(token, catalog, usage.day);
  /** @param {Data["resources"][number]} use */
  const isUsed = ({ last_used_on: on }) => Date.parse(on ?? "") > Date.now() - 91 * day; // a day's beginning
  const usedResources = resources.filter(isUsed).map(({ resource }) => resource);
  const unusedResources = resources.filter((use) => !isUsed(use)).map(({ resource }) => resource);
  const when = (/** @type {string | null} */ at) => html`<${When} at=${at} />`;
  const chips = (/** @type {string[] | null} */ list) =>
    list?.length ? html`<${Scopes} scopes=${list} />` : "";
  const by = token.created_by;
  /** @type {[string, [string, any][]][]} */
  const groups = [
    [t.activity, [
      [labels.last, html`${when(token.last_used_at)}<p class="hint">${[ip, agent, route].filter(Boolean).join(" · ")}</p>`],
      [labels.usage, refused + allowed > 0 && t.totals(allowed, refused, percent(refused, allowed + refused))],
      [labels.expires, status !== "revoked" && when(token.expires_at)],
      [t.validFrom, token.not_before && when(token.not_before)],
    ]],
    [t.access, [
      [labels.account, token.account],
      [labels.scopes, chips(token.scopes)],
      [labels.resources, chips(token.resources)],
      [labels.ips, chips(token.allowed_ips)],
      [t.rate, rate && t.perWindow(rate, duration(rate.window))],
      [t.quota, quota && t.perPeriod(quota)],
      [t.unused, status === "active" && unused.length > 0 && html`${chips(unused)}
<p class="hint">${unusedHint(token)}</p>
${used.length > 0 && html`<button type="button" class="button small" onClick=${() => askTrim(token, used, after)}>${t.remove(unused.length)}</button>`}`],
      [t.unusedResources, status === "active" && usedResources.length > 0 && unusedResources.length > 0 && html`${chips(unusedResources)}
<p class="hint">${unusedHint(token)}</p>
<button type="button" class="button small" onClick=${() => askTrimResources(token, usedResources, after)}>${t.removeResources(unusedResources.length)}</button>`],
    ]],
    [t.about, [
      ...Object.entries({ owner: "", ...token.metadata, tags: chips(tagsOf(token)) }),
      [labels.created, created && html`${when(created)}<p class="hint">${t.by("")}<${isKey(by) ? "a" : "span"} href=${isKey(by) ? keyHref(by ?? "") : undefined} dir="auto">${creator}</></p>`],
      [t.changed, token.updated_at !== created && when(token.updated_at)],
    ]],
  ]; // prettier-ignore
  return groups.map(
    ([title, rows]) =>
      rows.some(([, value]) => value) &&
      html`<${Card} title=${title}><dl class="facts">${rows.map(
        ([name, value]) => value && html`<dt dir="auto">${name}</dt><dd dir="auto">${value}</dd>`,
      )}</dl></>`,
  );
}
