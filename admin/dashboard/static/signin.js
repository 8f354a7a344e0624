import { call, onSignedOut } from "./api.js";
import { dialog, el, field } from "./dom.js";

let waiting = null;

// signIn asks for an admin key, on top of whatever is on the page, and waits for a
// session. All who ask at once wait for the same.
function signIn() {
  waiting ??= ask().finally(() => { waiting = null; });
  return waiting;
}

function ask() {
  return new Promise((resolve) => {
    const input = el("input", { type: "password", name: "key", autocomplete: "current-password", required: true, spellcheck: false, placeholder: "mma_…" });
    const key = field("Admin key", input, "It is checked by the server and not kept in this browser. The session ends after 12 hours, when you sign out, or with the key.");
    const button = el("button", { type: "submit", className: "main" }, "Sign in");
    // Password managers keep a key with a name.
    const name = el("input", { type: "text", name: "username", autocomplete: "username", value: "Mollygate", hidden: true });
    const form = el("form", { method: "dialog", className: "stack" }, name, key, el("div", { className: "buttons" }, button));
    const box = dialog("Sign in", form);
    box.classList.add("stays");
    // There is nothing behind it to go back to.
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
        key.wrong(error.message);
      } finally {
        button.disabled = false;
      }
    });
  });
}

onSignedOut(signIn);
