// @ts-check
// The secret of a new key, which is shown once.
import { html, useRef, useState } from "./vendor/preact.js";
import { get } from "./api.js";
import { canList } from "./draft.js";
import { dateTime } from "./format.js";
import { useGate } from "./gate.js";
import { snippets } from "./snippets.js";
import { text } from "./text.js";
import { Copy, Dialog, Field, Icon, show, Tabs, useData } from "./ui.js";

/** @typedef {import("../types").TokenWithSecret} Created */

/** Shows a new key until the user has copied it or says that it is saved. until is when the
 * secret that it replaces stops working.
 * @param {Created} created
 * @param {{title: string, until?: string | null, tab?: string}} options tab is the first tab of the snippets */
export function showSecret(created, { title, until = created.previous_valid_until, tab }) {
  show((close) => html`<${Secret} ...${{ created, title, until, tab, close }} />`);
}

/** @param {{created: Created, title: string, until: string | null, tab?: string, close: () => void}} props */
function Secret({ created, title, until, tab, close }) {
  const t = text.secret;
  const input = useRef(null);
  const [saved, setSaved] = useState(false);
  const [warned, setWarned] = useState(false);
  const save = () => setSaved(true);
  return html`<${Dialog} sheet title=${title} locked=${!saved} onLocked=${() => setWarned(true)} onClose=${close} onSubmit=${() => saved && close()}
    footer=${html`<label class="check"><input type="checkbox" checked=${saved} onChange=${() => setSaved(!saved)} />${t.saved}</label>
      <button type="submit" class="button primary" disabled=${!saved}>${t.done}</button>`}>
    <${Field} label=${t.warning}>${(/** @type {object} */ attributes) => html`<div class="row">
      <input ref=${input} class="secret mono" readonly value=${created.token} spellcheck=${false} autocomplete="off" onCopy=${save}
        onFocus=${(/** @type {any} */ e) => e.target.select()} ...${attributes} />
      <${Copy} value=${created.token} field=${input} onCopied=${save} /></div>`}</>
    ${warned && !saved && html`<p class="error" role="alert">${t.locked}</p>`}
    ${until && html`<p class="banner">${t.until(dateTime(until))}</p>`}
    ${
      created.kind === "admin"
        ? html`<p>${t.admin}</p><p class="command"><code>${location.origin + location.pathname}</code></p>`
        : html`<${Use} created=${created} first=${tab} />${!until && html`<${First} created=${created} />`}`
    }</>`;
}

/** @param {{created: Created, first?: string}} props */
function Use({ created, first }) {
  const t = text.secret;
  const gate = useGate();
  return html`<${Tabs} label=${t.use} first=${first} tabs=${Object.entries(snippets(gate)).map(
    ([id, code]) => ({
      id,
      label: t.tabs[id],
      content: html`<p class="hint">${t.hints[id]}</p>${t.setUp[id] && html`<p class="command"><code>${t.setUp[id]}</code><${Copy} small value=${t.setUp[id]} /></p>`}
      <p class="hint">${gate.startsWith("$") && t.gate} ${!canList(created) && t.forbidden}</p>
      <div class="snippet"><pre tabindex="0"><code class=${id}>${code}</code></pre><${Copy} small value=${code} /></div>`,
    }),
  )} />`;
}

/** @param {{created: Created}} props */
function First({ created }) {
  const t = text.secret;
  const { data = created } = useData(
    () => get(`tokens/${created.id}`),
    [],
    ({ ids }) => !ids || ids.includes(created.id),
  );
  const used = data.usage_count > created.usage_count;
  return html`<p role="status" class=${used ? "row good" : "row"}><${Icon} name=${used ? "check" : "clock"} />
    ${used ? t.first(data.last_used_route, data.last_used_ip) : data.denied_count > created.denied_count ? t.denied : t.waiting}</p>`;
}
