import { dialog, el, say } from "./dom.js";
import { curl, gateAddress, workflow } from "./snippets.js";

// showSecret shows a new key once. Esc, Back and clicks outside don't close the dialog.
// The dialog can be closed once the key has been copied or the user has confirmed saving
// it.
export function showSecret(created, title) {
  const secret = el("input", { type: "text", readOnly: true, value: created.token, className: "secret", "aria-label": "New key", spellcheck: false, autocomplete: "off" });
  const gate = gateAddress(new URL(document.baseURI));
  const unknown = gate.startsWith("$");
  const saved = el("input", { type: "checkbox" });
  const close = el("button", { type: "button", className: "main", disabled: true }, "Done");
  const copied = el("p", { role: "status", className: "hint" });
  const box = dialog(title,
    el("p", {}, "Copy your key now. You won't be able to see it again."),
    el("div", { className: "row" }, secret, el("button", { type: "button", className: "main", autofocus: true, onclick: async () => {
      try {
        await navigator.clipboard.writeText(created.token);
      } catch { // unavailable over plain HTTP, or not permitted
        secret.focus();
        secret.select();
        if (!document.execCommand("copy")) {
          copied.textContent = "Couldn't copy. Press Ctrl+C — the key is selected.";
          return;
        }
      }
      copied.textContent = "Copied.";
      close.disabled = false;
    } }, "Copy")), copied,
    created.kind === "admin" ? null : [
      el("h3", {}, "With curl"), el("p", { className: "hint" }, `Set MOLLYGATE_KEY to the key${unknown ? ", and MOLLY to the gate's URL" : ""}.`),
      el("pre", {}, el("code", { className: "curl" }, curl(gate))),
      el("h3", {}, "In GitHub Actions"), el("p", { className: "hint" }, `Save the key as the repository secret MOLLYGATE_KEY${unknown ? ", and the gate's URL as the variable MOLLY" : ""}.`),
      el("pre", {}, el("code", { className: "workflow" }, workflow(gate))),
    ],
    el("label", { className: "check" }, saved, " I've saved it"),
    el("div", { className: "buttons" }, close));
  box.classList.add("stays");
  saved.addEventListener("change", () => { close.disabled = !saved.checked; });
  const stay = () => say("Copy the key before you close this.", "bad");
  box.addEventListener("cancel", (event) => {
    event.preventDefault();
    if (close.disabled) stay();
    else done();
  });
  // Chromium closes a dialog on the second Esc, even if the first cancel event was prevented.
  box.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && close.disabled) {
      event.preventDefault();
      stay();
    }
  });
  // The Back button returns to this dialog, and leaving the page requires confirmation.
  history.pushState(null, "", location.href);
  const back = () => {
    if (!box.open) return;
    history.pushState(null, "", location.href);
    stay();
  };
  const away = (event) => { if (close.disabled) event.preventDefault(); };
  window.addEventListener("popstate", back);
  window.addEventListener("beforeunload", away);
  function done() {
    window.removeEventListener("popstate", back);
    window.removeEventListener("beforeunload", away);
    secret.value = "";
    box.close();
  }
  close.addEventListener("click", done);
}
