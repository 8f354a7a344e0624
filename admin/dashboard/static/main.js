import { call, get, me } from "./api.js";
import { auditPage } from "./audit.js";
import { el, say } from "./dom.js";
import { keyPage } from "./key.js";
import { listPage, openNew } from "./list.js";
import "./signin.js";

const page = document.getElementById("page");
const who = document.getElementById("who");
const signOut = document.getElementById("sign-out");
const offline = document.getElementById("offline");

let leave = () => {};

// show shows the page named by the URL's fragment, which browsers never send to the server.
async function show() {
  const [name, rest] = location.hash.slice(1).split(/[/?](.*)/s);
  // A Map has no inherited names, such as "constructor".
  const pages = new Map([
    ["keys", () => listPage(page)],
    ["new", () => listPage(page)],
    ["key", () => keyPage(page, rest)],
    ["audit", () => auditPage(page)],
  ]);
  leave();
  leave = () => {};
  for (const form of document.querySelectorAll("dialog:not(.stays)")) form.close();
  page.replaceChildren(el("p", { className: "loading", "aria-busy": "true" }, "Loading…"));
  for (const link of document.querySelectorAll("nav a")) {
    const here = link.hash === `#${name}` || (link.hash === "#keys" && name !== "audit");
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  try {
    leave = (await (pages.get(name) ?? pages.get("keys"))()) ?? leave;
  } catch (error) {
    page.replaceChildren(el("div", { className: "empty", role: "alert" }, el("p", {}, error.message),
      el("button", { type: "button", onclick: show }, "Try again")));
    return;
  }
  if (name === "new") openNew(new URLSearchParams(rest));
}

function welcome({ actor, name, expires_at: until }) {
  me.actor = actor;
  who.textContent = name ? `${name} (${actor})` : actor;
  who.title = until ? `Signed in until ${new Date(until).toLocaleString()}` : "";
  signOut.hidden = !until;
}

signOut.addEventListener("click", async () => {
  try {
    await call("DELETE", "session", { anonymous: true });
  } catch (error) {
    say(error.message, "bad");
    return;
  }
  location.hash = "";
  location.reload();
});

document.addEventListener("signed-in", (event) => welcome(event.detail));
document.addEventListener("offline-now", () => {
  offline.textContent = "Can't reach the server. What you see may be out of date.";
  offline.hidden = false;
});
document.addEventListener("online-now", () => { offline.hidden = true; });
window.addEventListener("hashchange", show);

get("session").then(welcome, (error) => say(error.message, "bad")).then(show);
