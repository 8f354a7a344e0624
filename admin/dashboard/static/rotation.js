// @ts-check
// A rotation while both the old and the new secret work.
import { html } from "./vendor/preact.js";
import { patch } from "./api.js";
import { dateTime, day, relative } from "./format.js";
import { edit, failed } from "./refusals.js";
import { text } from "./text.js";
import { Card, confirm, note } from "./ui.js";

/** @typedef {import("../types").Token} Token */
/** @typedef {import("../types").PreviousUse} PreviousUse */

const t = text.key;

/** Returns when and by what the old secret was last used since the rotation.
 * @param {PreviousUse} previous */
const oldUse = ({ last_used_at: at, last_used_ip: ip, last_used_user_agent: agent }) =>
  at ? t.oldUsed(relative(at), t.from(ip, agent)) : t.oldUnused;

/** Asks, then stops the old secret.
 * @param {Token} token
 * @param {PreviousUse} previous
 * @param {() => void} after */
export const askEnd = (token, previous, after) =>
  confirm({
    title: t.endTitle,
    body: html`<p>${oldUse(previous)}</p><p>${t.endBody}</p>`,
    action: t.end,
    danger: true,
    run: async () => {
      await patch(token, { previous_valid_until: null });
      note(t.ended(token.name));
      after();
    },
  });

/** Rotation shows how long the old secret works and who still uses it. since is when the
 * rotation began, if the audit log still has it.
 * @param {{token: Token, previous: PreviousUse, since?: string | null, after: () => void}} props */
export function Rotation({ token, previous, since, after }) {
  const until = /** @type {string} */ (token.previous_valid_until);
  const end = Date.parse(until);
  const extend = () => {
    const later = new Date(end + day).toISOString();
    const [change, undo] = [later, until].map((previous_valid_until) => ({ previous_valid_until }));
    edit(token, change, undo, t.oldUntil(dateTime(later)), after).catch(failed);
  };
  return html`<${Card} title=${t.rotation} class="stack" aside=${html`<button type="button" class="button small" onClick=${extend}>${t.addDay}</button>
<button type="button" class="button small" onClick=${() => askEnd(token, previous, after)}>${t.end}</button>`}>
<p><b>${t.oldUntil(dateTime(until))}</b> <small>${relative(until)}</small></p>
<progress aria-label=${t.left} max="1" value=${(end - Date.now()) / (end - Date.parse(since ?? token.updated_at ?? ""))} />
<p class=${previous.last_used_at ? "banner warn" : "hint"} dir="auto">${oldUse(previous)}</p></>`;
}
