import { call, onSignedOut } from "./api.js";
import { dialog, el, field } from "./dom.js";

let waiting = null;

// signIn asks for an admin key in a dialog on top of the page, and waits for a session.
// Concurrent calls share one dialog.
function signIn() {
  waiting ??= ask().finally(() => { waiting = null; });
  return waiting;
}

function ask() {
  return new Promise((resolve) => {
    const input = el("input", { type: "password", name: "key", autocomplete: "current-password", required: true, spellcheck: false, placeholder: "mma_…" });
    const key = field("Admin key", input, "The key isn't stored in your browser. You'll be signed out after 12 hours. No key? On the server: caddy api-token create --kind admin --name NAME --expires-in 12h");
    const button = el("button", { type: "submit", className: "main" }, "Sign in");
    // Password managers save a key together with a user name.
    const name = el("input", { type: "text", name: "username", autocomplete: "username", value: "Mollygate", hidden: true });
    const form = el("form", { method: "dialog", className: "stack" }, name, key, el("div", { className: "buttons" }, button));
    const box = dialog("Sign in", form);
    box.classList.add("stays");
    // There is no page behind the dialog to go back to.
    box.addEventListener("cancel", (event) => event.preventDefault());
    box.addEventListener("close", () => { if (!done) document.body.append(box), box.showModal(); });
    let done = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      key.wrong("");
      button.disabled = true;
      try {
        const who = await call("POST", "session", { body: { token: input.value }, anonymous: true });
        done = true;
        input.value = "";
        box.close();
        document.dispatchEvent(new CustomEvent("signed-in", { detail: who }));
        resolve(who);
      } catch (error) {
        key.wrong(error.code === "malformed_token" ? "That isn't a valid admin key. Check that you copied all of it — it starts with mma_." : error.message);
      } finally {
        button.disabled = false;
      }
    });
  });
}

onSignedOut(signIn);
