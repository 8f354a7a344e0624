// @ts-check
// Signing in, in a dialog above the page, so a form that is open loses nothing.
import { html, useRef, useState } from "./vendor/preact.js";
import { ApiError, call, connection, onSignedOut, setConnection, watchConnection } from "./api.js";
import { go, href } from "./route.js";
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

/** The code of a sign-in link that hasn't been used, or "". */
let code = "";

// The code leaves the address immediately, so that it isn't bookmarked or copied.
function takeCode() {
  const [, found = ""] = /^#signin=(.*)$/s.exec(location.hash) ?? [];
  if (!found) return;
  code = found;
  go(href("overview"), { replace: true });
  offer();
}

// If there is no session, the page asks to sign in anyway.
function offer() {
  if (!code || !connection.session) return;
  const close = show(
    () => html`<${SignIn} again=${false} onDone=${() => location.reload()} onCancel=${() => close()} />`,
  );
}

window.addEventListener("popstate", takeCode);
watchConnection(offer);
takeCode();

/** SignIn asks for a key, or whether to use a sign-in link: anyone could have made the link, so it
 * is never used without a click.
 * @param {{again: boolean, onDone: (session: any) => void, onCancel?: () => void}} props */
function SignIn({ again, onDone, onCancel }) {
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  const [link, setLink] = useState(() => [code, (code = "")][0]);
  const [missing, setMissing] = useState(false);
  const [busy, error, submit] = useAction(async () => {
    const token = input.current?.value.trim() ?? "";
    setMissing(!link && !token);
    input.current?.focus();
    if (!link && !token) return;
    try {
      onDone(await call("POST", "session", { body: link ? { code: link } : { token }, anonymous: true }));
    } catch (thrown) {
      if (thrown instanceof ApiError) setLink("");
      throw thrown;
    }
  });
  const t = text.signIn;
  const wrong = missing ? t.missing : error?.code === "malformed_token" ? t.malformed : error?.message;
  if (link) {
    const user = connection.session?.name ?? connection.session?.actor;
    return html`<${Dialog} title=${t.title} locked=${!onCancel} onClose=${onCancel ?? (() => {})} onSubmit=${submit}
      footer=${html`<button type="button" class="button" onClick=${onCancel ?? (() => setLink(""))}>${text.cancel}</button>
        <button type="submit" class="button primary" disabled=${busy}>${t.submit}</button>`}>
      <p>${t.link}</p>
      ${user && html`<p dir="auto">${t.instead(user)}</p>`}
      ${error && html`<p class="error" role="alert">${error.message}</p>`}
    </>`;
  }
  return html`<${Dialog} title=${t.title} locked=${!onCancel} onClose=${onCancel ?? (() => {})} onSubmit=${submit}
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
