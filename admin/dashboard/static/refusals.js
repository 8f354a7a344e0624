// @ts-check
// A key's refused requests, each with an explanation and a fix.
import { html, useState } from "./vendor/preact.js";
import { enable } from "./actions.js";
import { patch } from "./api.js";
import { openForm } from "./form.js";
import { date, dateTime } from "./format.js";
import { covers } from "./scopes.js";
import { text } from "./text.js";
import { Card, confirm, note } from "./ui.js";

/** @typedef {import("../types").Token} Token */
/** @typedef {import("../types").RefusedRequest} RefusedRequest */
/** @typedef {{method: string, path: string, ip: string, resources?: string, body?: string}} Question */
/** @typedef {{code: string, scope?: string | null, ip?: string | null}} Cause */

const t = text.key;

/** Collapses requests that differ only in time and client program. The input is newest first.
 * @param {RefusedRequest[]} refusals */
export function grouped(refusals) {
  /** @type {Map<string, RefusedRequest & {id: string, count: number, first: string}>} */
  const groups = new Map();
  for (const refusal of refusals) {
    const { code, method, path, scope, ip, time } = refusal;
    const id = `${[code, method, path, scope, ip]}`;
    const group = groups.get(id) ?? { ...refusal, id, count: 0, first: "" };
    groups.set(id, { ...group, count: group.count + 1, first: time });
  }
  return [...groups.values()];
}

/** Reports an error.
 * @param {Error} error */
export const failed = ({ message }) => note(message, { bad: true });

/** Changes a key, and offers to undo the change.
 * @param {Token} token
 * @param {object} change
 * @param {object} undo
 * @param {string} done
 * @param {() => void} after */
export async function edit(token, change, undo, done, after) {
  const changed = await patch(token, change);
  after();
  const run = () => patch(changed, undo).then(after, failed);
  note(done, { label: text.actions.undo, run });
}

/** Returns what to do about a refusal, or null if there is nothing to change. The code may also
 * be the key's status.
 * @param {Token} token
 * @param {Cause} cause
 * @param {() => void} after
 * @returns {{label: string, run: () => void} | null} */
export function remedy(token, { code, scope, ip }, after) {
  const { name, status } = token;
  const caused = code.startsWith(status);
  if (status === "revoked" || status === "expired") {
    return caused ? { label: text.actions.like, run: () => openForm({ like: token }) } : null;
  }
  if (status === "disabled" && caused)
    return { label: text.actions.enable.label, run: () => enable([token], after) };
  if (code === "rate_limited" || code === "quota_exceeded")
    return { label: t.raise, run: () => openForm({ edit: token }) };
  if (code === "resource_not_allowed")
    return token.resources && { label: t.editResources, run: () => openForm({ edit: token }) };
  const scopes = code === "insufficient_scope";
  const field = scopes ? "scopes" : "allowed_ips";
  const value = scopes ? scope : code === "ip_denied" && ip;
  const list = token[field];
  if (!value || !list || list.some((one) => covers(one.split("/")[0], value))) return null;
  const label = (scopes ? t.addScope : t.allowIP)(value);
  const run = () =>
    edit(token, { [field]: [...list, value] }, { [field]: list }, t.allowed(value, name), after);
  return { label, run: () => confirm({ title: `${label}?`, body: t.willAllow(name), action: label, run }) };
}

/** Reports whether a key has been given the scope or address that a request lacked, or is no
 * longer limited to resources.
 * @param {Token} token
 * @param {RefusedRequest} refusal */
const nowAllowed = ({ scopes, resources, allowed_ips: ips }, { code, scope, ip }) =>
  (code === "resource_not_allowed" && !resources) ||
  (code === "insufficient_scope" && !!scope && !!scopes?.some((grant) => covers(grant, scope))) ||
  (code === "ip_denied" && !!ip && (!ips || ips.some((range) => range.split("/")[0] === ip)));

/** Remedy is the button of a remedy, if there is one.
 * @param {{token: Token, cause: Cause, after: () => void}} props */
export function Remedy({ token, cause, after }) {
  const fix = remedy(token, cause, after);
  return fix && html`<button type="button" class="button small" onClick=${fix.run}>${fix.label}</button>`;
}

/** Refusals lists the refused requests.
 * @param {{token: Token, refusals: RefusedRequest[], ask: (question: Question) => void, after: () => void}} props */
export function Refusals({ token, refusals, ask, after }) {
  const [most, setMost] = useState(10);
  const groups = grouped(refusals);
  return html`<${Card} title=${t.refusals} class="stack refusals">
<p class="hint">${groups.length ? t.refusalsHint : t.noRefusals}</p>
<ul>${groups.slice(0, most).map((row) => {
    const { id, code, scope, time, first, count, method, path, ip, user_agent } = row;
    const allowed = nowAllowed(token, row);
    return html`<li key=${id}>
<div><p class="row"><code>${method} ${path}</code><a href=${`${text.documentation}/errors.md#${code}`}>${t.reason(code, scope)}</a>${allowed && html`<span class="badge active">${t.nowAllowed}</span>`}</p>
<p class="hint">${[dateTime(time), count > 1 && t.repeated(count, date(first)), ip, user_agent].filter(Boolean).join(" · ")}</p>
${t.advice[code] && !allowed && html`<p class="hint">${t.advice[code]}</p>`}</div>
<div class="row"><${Remedy} token=${token} cause=${row} after=${after} />
${
  token.kind === "api" &&
  path &&
  html`<button type="button" class="button small"
onClick=${() => ask({ method: method ?? "GET", path, ip: ip ?? "" })}>${t.explain}</button>`
}</div></li>`;
  })}</ul>
${groups.length > most && html`<p><button type="button" class="button" onClick=${() => setMost(100)}>${t.all(groups.length)}</button></p>`}</>`;
}
