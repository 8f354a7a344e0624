import { ApiError, get, me, post, remove } from "./api.js";
import { dialog, el, field, say } from "./dom.js";
import { editKey } from "./form.js";
import { showSecret } from "./secret.js";
import { relative } from "./time.js";

// lastUse is for confirmations: who will notice.
function lastUse(token) {
  if (token.id === me.actor) return "You are signed in with this key, and it signs you out.";
  if (!token.last_used_at) return "It was never used.";
  const by = [token.last_used_ip && `from ${token.last_used_ip}`, token.last_used_user_agent && `by ${token.last_used_user_agent}`].filter(Boolean).join(" ");
  return `It was last used ${relative(token.last_used_at)}${by ? ` ${by}` : ""}.`;
}

// confirmed asks, and does it. The button is not the first thing that Enter presses.
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
    say(`${token.name}: ${done}.`);
    changed();
  };
}

// oldUse is who still uses the secret from before the last rotation.
export function oldUse(old) {
  if (!old.last_used_at) return "not since the rotation";
  const by = [old.last_used_ip && `from ${old.last_used_ip}`, old.last_used_user_agent && `by ${old.last_used_user_agent}`].filter(Boolean).join(" ");
  return `${relative(old.last_used_at)} ${by}`;
}

async function rotate(token, changed) {
  const text = ["The key gets a new secret. Its id, scopes and end stay.", lastUse(token), "Whoever still uses the old secret after that time is refused."];
  if (token.previous_valid_until && Date.parse(token.previous_valid_until) > Date.now()) {
    text.push(`The secret from before the last rotation ends at once. It was last used ${oldUse(await get(`tokens/${token.id}/previous`))}.`);
  }
  const grace = el("select", {}, [["24h", "1 day"], ["1h", "1 hour"], ["168h", "7 days"], ["0s", "not at all"]].map(([value, text]) => el("option", { value }, text)));
  confirmed(`Rotate ${token.name}`, text, "Rotate",
    async () => {
      const made = await post(`tokens/${token.id}/rotate`, { grace: grace.value });
      changed();
      showSecret(made, "API key rotated");
    }, field("The old secret works on for", grace));
}

const verbs = {
  edit: ["Edit Key", async (token, changed) => editKey(await get(`tokens/${token.id}`), changed)],
  rotate: ["Rotate", rotate],
  disable: ["Disable", (token, changed) => confirmed(`Disable ${token.name}?`, ["Its next request is refused, until it is enabled again.", lastUse(token)], "Disable", change(token, "disable", "disabled", changed))],
  enable: ["Enable", (token, changed) => change(token, "enable", "enabled", changed)().catch((error) => say(error.message, "bad"))],
  revoke: ["Revoke", (token, changed) => confirmed(`Revoke ${token.name}?`, ["Its next request is refused, for good. It stays in the list.", lastUse(token)], "Revoke", change(token, "revoke", "revoked", changed))],
  delete: ["Delete", (token, changed, gone = changed) => confirmed(`Delete ${token.name}?`, ["It stops at once, and with it go its counts and its place in the list. To keep those, revoke it.", lastUse(token)], "Delete", async () => {
    await remove(`tokens/${token.id}`);
    say(`${token.name}: deleted.`);
    gone();
  })],
};

// actions are what can be done with a key in its state.
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
