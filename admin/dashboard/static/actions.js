import { ApiError, get, me, post, remove } from "./api.js";
import { dialog, el, field, say } from "./dom.js";
import { editKey } from "./form.js";
import { showSecret } from "./secret.js";
import { relative } from "./time.js";

// lastUse describes a key's last use, to show in a confirmation who is affected.
function lastUse(token) {
  if (token.id === me.actor) return "You're signed in with this key, so this will sign you out.";
  if (!token.last_used_at) return "This key has never been used.";
  const by = [token.last_used_ip && `from ${token.last_used_ip}`, token.last_used_user_agent && `by ${token.last_used_user_agent}`].filter(Boolean).join(" ");
  return `This key was last used ${relative(token.last_used_at)}${by ? ` ${by}` : ""}.`;
}

// confirmed asks for confirmation and then calls run. The Cancel button has the focus, so
// pressing Enter doesn't confirm by accident.
function confirmed(title, text, button, run, ...inputs) {
  const failed = el("p", { className: "wrong", role: "alert", hidden: true });
  const yes = el("button", { type: "submit", className: "danger" }, button);
  const no = el("button", { type: "button", autofocus: true, onclick: () => box.close() }, "Cancel");
  const form = el("form", { method: "dialog", className: "stack" }, text.map((line) => el("p", { dir: "auto" }, line)), inputs, failed, el("div", { className: "buttons" }, no, yes));
  const box = dialog(title, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    yes.disabled = true;
    failed.hidden = true;
    try {
      await run();
      box.close();
    } catch (error) {
      failed.textContent = error.message;
      failed.hidden = false;
      if (error instanceof ApiError && error.field) inputs.find((input) => input.name === error.field)?.wrong?.(error.message);
    } finally {
      yes.disabled = false;
    }
  });
}

function change(token, verb, done, changed) {
  return async () => {
    await post(`tokens/${token.id}/${verb}`);
    say(`${done} "${token.name}".`);
    changed();
  };
}

// oldUse describes the last use of the secret that the last rotation replaced.
export function oldUse(old) {
  if (!old.last_used_at) return "not since the rotation";
  const by = [old.last_used_ip && `from ${old.last_used_ip}`, old.last_used_user_agent && `by ${old.last_used_user_agent}`].filter(Boolean).join(" ");
  return `${relative(old.last_used_at)} ${by}`;
}

async function rotate(token, changed) {
  const text = ["Create a new secret for this key? ID, scopes and expiry stay the same.", lastUse(token), "Requests with the old secret will be refused after the time you choose here."];
  if (token.previous_valid_until && Date.parse(token.previous_valid_until) > Date.now()) {
    text.push(`The secret from before the last rotation stops working immediately. Last used: ${oldUse(await get(`tokens/${token.id}/previous`))}.`);
  }
  const grace = el("select", {}, [["24h", "1 day"], ["1h", "1 hour"], ["168h", "7 days"], ["0s", "stop it now"]].map(([value, text]) => el("option", { value }, text)));
  confirmed(`Rotate "${token.name}"`, text, "Rotate key",
    async () => {
      const created = await post(`tokens/${token.id}/rotate`, { grace: grace.value });
      changed();
      showSecret(created, "API key rotated");
    }, field("Keep the old secret working for", grace));
}

const verbs = {
  edit: ["Edit key", async (token, changed) => editKey(await get(`tokens/${token.id}`), changed)],
  rotate: ["Rotate", rotate],
  disable: ["Disable", (token, changed) => confirmed(`Disable "${token.name}"?`, ["Requests with this key will be refused until you enable it again.", lastUse(token)], "Disable key", change(token, "disable", "Disabled", changed))],
  enable: ["Enable", (token, changed) => change(token, "enable", "Enabled", changed)().catch((error) => say(error.message, "bad"))],
  revoke: ["Revoke", (token, changed) => confirmed(`Revoke "${token.name}"?`, ["This can't be undone. Requests with this key will be refused at once. The key stays listed for your records.", lastUse(token)], "Revoke key", change(token, "revoke", "Revoked", changed))],
  delete: ["Delete", (token, changed, gone = changed) => confirmed(`Delete "${token.name}"?`, ["Permanently deletes the key and its usage history. To keep the history, revoke it instead.", lastUse(token)], "Delete key", async () => {
    await remove(`tokens/${token.id}`);
    say(`Deleted "${token.name}".`);
    gone();
  })],
};

// actions returns a menu of the actions that the key's status allows.
export function actions(token, changed, gone) {
  const ended = token.status === "revoked" || token.status === "expired";
  const possible = token.status === "damaged" ? ["delete"] : ended ? (token.status === "revoked" ? ["delete"] : ["revoke", "delete"]) : ["edit", "rotate", token.status === "disabled" ? "enable" : "disable", "revoke", "delete"];
  const menu = el("details", { className: "menu" });
  const summary = el("summary", { "data-control": "menu", "aria-label": `Actions for ${token.name}` }, "Actions");
  menu.append(summary, el("div", { className: "items" }, possible.map((verb) => {
    const [label, run] = verbs[verb];
    return el("button", { type: "button", "data-verb": verb, className: verb === "delete" || verb === "revoke" ? "danger" : "", onclick: async () => {
      menu.open = false;
      summary.focus();
      try {
        await run(token, changed, gone);
      } catch (error) {
        say(error.message, "bad");
      }
    } }, label);
  })));
  menu.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && menu.open) {
      menu.open = false;
      summary.focus();
    }
  });
  menu.addEventListener("focusout", (event) => { if (!menu.contains(event.relatedTarget)) menu.open = false; });
  return menu;
}
