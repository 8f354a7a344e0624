// @ts-check
// The settings page, which is read-only, and the health card.
import { html } from "./vendor/preact.js";
import { get } from "./api.js";
import { Table } from "./chart.js";
import { dateTime, day, relative, span } from "./format.js";
import { Nodes } from "./nodes.js";
import { text } from "./text.js";
import { Card, Copy, Icon, Loaded, Scopes, useData } from "./ui.js";

/** @typedef {import("../types").Settings} Settings
 * @typedef {import("../types").HealthChecks} Checks
 * @typedef {import("../types").HealthCheck} Check */

/** Health shows the result of each check. Two checks appear only if they found a problem.
 * @param {{checks: Checks}} props */
export function Health({ checks }) {
  const t = text.health;
  return html`<${Card} title=${t.title}><dl class="facts health">${Object.entries(t.checks).map(([name, label]) => {
    const check = checks[/** @type {keyof Checks} */ (name)];
    if (!check) return null; // the store isn't shared
    const { status, detail, bytes, time, age_seconds: age } = check;
    const due = name === "backup" && !(Date.now() - Date.parse(time ?? "") < 7 * day);
    const state = due ? "warning" : status;
    const fine = time ? `${relative(time)}, ${dateTime(time)}` : bytes ? t.free(bytes) : age !== undefined ? t.age(span(age * 1000)) : due ? t.none : t.states.ok;
    return (detail || !["journal", "damaged"].includes(name)) && html`<dt class=${state}><${Icon} name=${state === "ok" ? "check" : "alert"} label=${t.states[state]} /> ${label}</dt>
<dd>${detail ?? fine}${due && html`<p class="hint">${t.due}</p><${Command} value=${t.command} />`}</dd>`;
  })}</dl></>`; // prettier-ignore
}

/** Command is a command with a button that copies it.
 * @param {{value: string}} props */
export const Command = ({ value }) =>
  html`<div class="command"><code>${value}</code><${Copy} small value=${value} /></div>`;

export function SettingsPage() {
  const loaded = useData(() => Promise.all([get("settings"), get("overview")]), [], ({ kind }) => kind === "change"); // prettier-ignore
  const t = text.settings;
  const some = (/** @type {string[] | null} */ list) => (list ? html`<${Scopes} scopes=${list} />` : t.all);
  return html`<div class="page-head"><h1>${text.pages.settings}</h1><p class="muted">${t.hint}</p></div>
<${Loaded} of=${loaded}>${(
    /** @type {[Settings, import("../types").Overview]} */ [settings, { health }],
  ) => html`<div class="cards">
<${Card} title=${t.policy}><dl class="facts">${t.facts(settings).map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl></><${Health} checks=${health} /></div>
<${Nodes} />
<${Card} title=${t.accounts}><div class="table"><${Table} head=${t.accountHead} rows=${settings.accounts.map(({ name, max_scopes: scopes, max_resources: resources }) => [name, some(scopes), some(resources)])} /></div></>
${
  settings.resource_types.length > 0 &&
  html`<${Card} title=${t.types}><div class="table"><${Table} head=${t.typeHead} rows=${settings.resource_types.map(({ name, aliases, container }) => [name, aliases.join(", "), t.container(container)])} /></div></>`
}
${settings.gates.map(
  ({
    name,
    routes,
  }) => html`<details key=${name} class="card"><summary>${t.routes(name, routes.length)}</summary>
<div class="table"><${Table} head=${t.routeHead} rows=${routes.map(({ method, path, scope }) => [method, path, scope])} /></div></details>`,
)}
<${Card} title=${t.notifications} aside=${html`<${Copy} value=${t.lines} />`}><p>${t.notify} <a href=${`${text.documentation}/operator.md#events`}>${t.events}</a></p><pre tabindex="0">${t.lines}</pre></>`}</>`;
}
