import { dialog, el, say } from "./dom.js";
import { curl, gateAddress, workflow } from "./snippets.js";

// showSecret shows a key this once. Neither Esc nor a click outside nor Back loses it:
// it goes when it was copied, or when somebody says that it is kept.
export function showSecret(made, title) {
  const secret = el("input", { type: "text", readOnly: true, value: made.token, className: "secret", "aria-label": "The new key", spellcheck: false, autocomplete: "off" });
  const gate = gateAddress(new URL(document.baseURI));
  const unknown = gate.startsWith("$");
  const kept = el("input", { type: "checkbox" });
  const close = el("button", { type: "button", className: "main", disabled: true }, "Done");
  const copied = el("p", { role: "status", className: "hint" });
  const box = dialog(title,
    el("p", {}, "Copy the key now. It can't be shown again."),
    el("div", { className: "row" }, secret, el("button", { type: "button", className: "main", autofocus: true, onclick: async () => {
      try {
        await navigator.clipboard.writeText(made.token);
      } catch { // not over plain HTTP, or not allowed
        secret.focus();
        secret.select();
        if (!document.execCommand("copy")) {
          copied.textContent = "The browser lets nothing be copied: the key is selected, copy it by hand.";
          return;
        }
      }
      copied.textContent = "Copied.";
      close.disabled = false;
    } }, "Copy")), copied,
    made.kind === "admin" ? null : [
      el("h3", {}, "With curl"), el("p", { className: "hint" }, `With the key in the variable MOLLYGATE_KEY${unknown ? ", and the gate's address in MOLLY" : ""}.`),
      el("pre", {}, el("code", { className: "curl" }, curl(gate))),
      el("h3", {}, "In GitHub Actions"), el("p", { className: "hint" }, `Put the key into the repository's secret MOLLYGATE_KEY${unknown ? ", and the gate's address into its variable MOLLY" : ""}.`),
      el("pre", {}, el("code", { className: "workflow" }, workflow(gate))),
    ],
    el("label", { className: "check" }, kept, " I have kept the key"),
    el("div", { className: "buttons" }, close));
  box.classList.add("stays");
  kept.addEventListener("change", () => { close.disabled = !kept.checked; });
  const stay = () => say("The key would be lost: copy it first.", "bad");
  box.addEventListener("cancel", (event) => {
    event.preventDefault();
    if (close.disabled) stay();
    else done();
  });
  // Chromium closes a dialog on the second Esc whatever is done with the first.
  box.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && close.disabled) {
      event.preventDefault();
      stay();
    }
  });
  // Back leads here again, and away from the page not without a question.
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
