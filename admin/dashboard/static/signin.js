// @ts-check
// Signing in, in a dialog above the page, so a form that is open loses nothing.
import { html, useRef, useState } from "./vendor/preact.js";
import { call, connection, onSignedOut, setConnection } from "./api.js";
import { text } from "./text.js";
import { Copy, Dialog, Field, show, useAction } from "./ui.js";

/** @type {Promise<unknown> | null} */
let waiting = null;

// Calls that are refused while the dialog is open share it.
onSignedOut(() => {
  waiting ??= new Promise((resolve) => {
    const again = connection.session !== null;
    const close = show(() => html`<${SignIn} again=${again} onDone=${done} />`);
    /** @param {import("../types").Session} session */
    function done(session) {
      close();
      waiting = null;
      setConnection({ session });
      resolve(session);
    }
  });
  return waiting;
});

/** @param {{again: boolean, onDone: (session: any) => void}} props */
function SignIn({ again, onDone }) {
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  const [missing, setMissing] = useState(false);
  const [busy, error, submit] = useAction(async () => {
    const token = input.current?.value.trim() ?? "";
    setMissing(!token);
    input.current?.focus();
    if (token) onDone(await call("POST", "session", { body: { token }, anonymous: true }));
  });
  const t = text.signIn;
  const wrong = missing ? t.missing : error?.code === "malformed_token" ? t.malformed : error?.message;
  return html`<${Dialog} title=${t.title} locked onClose=${() => {}} onSubmit=${submit}
    footer=${html`<button type="submit" class="button primary" disabled=${busy}>${t.submit}</button>`}>
    ${again && html`<p>${t.expired}</p>`}
    <input type="text" name="username" autocomplete="username" value="Mollygate" hidden />
    <${Field} label=${t.key} hint=${t.hint} error=${wrong}>
      ${(
        /** @type {object} */ attributes,
      ) => html`<input ref=${input} type="password" name="key" placeholder="mma_…"
        autocomplete="current-password" spellcheck=${false} autofocus ...${attributes} />`}
    </>
    <p class="hint">${t.help}</p>
    <p class="command"><code>${t.command}</code><${Copy} small value=${t.command} /></p>
  </>`;
}
