import { actions } from "./actions.js";
import { get, query } from "./api.js";
import { badges } from "./badges.js";
import { monthChart } from "./chart.js";
import { el } from "./dom.js";
import { newKey } from "./form.js";
import { exact, relative } from "./time.js";

const pageSize = 50;
const manyKeys = 10_000;

// columns are pairs of a heading and the sort key that the server supports, if any.
const columns = [
  ["Name", "name"], ["Key", null], ["Usage", "usage_count"], ["Created", "created_at"], ["Expires", "expires_at"], ["Last used", "last_used_at"], ["Actions", null],
];
const descendingFirst = new Set(["usage_count", "created_at", "last_used_at"]);

// view is the list's state. It is kept while other pages are shown.
const view = { q: "", status: "", account: "", used: "", sort: "-created_at", cursors: [""] };

let reload = () => {};

// openNew shows the form for a new key. A link such as #new?name=CI&preset=deploy fills it
// in.
export function openNew(prefilled) {
  newKey(prefilled, () => reload());
}

export async function listPage(page) {
  const title = el("h1", {}, "API keys");
  const search = el("input", { type: "search", value: view.q, placeholder: "Search by name or ID", "aria-label": "Search", spellcheck: false });
  const status = select("Status", view.status, [["", "Any status"], ["active", "Active"], ["expiring", "Expiring"], ["not_yet_valid", "Not yet valid"], ["disabled", "Disabled"], ["expired", "Expired"], ["revoked", "Revoked"], ["damaged", "Damaged"]]);
  const accounts = (await get("accounts")).data.map(({ name }) => name);
  const account = select("Account", view.account, [["", "Any account"], ...accounts.map((name) => [name, name])]);
  const used = select("Usage", view.used, [["", "Any usage"], ["never", "Never used"], ["90", "Unused for 90 days"]]);
  const body = el("tbody");
  const head = el("tr");
  const state = el("p", { className: "empty", role: "status", hidden: true });
  const newer = el("button", { type: "button", onclick: () => { view.cursors.pop(); load(); } }, "Previous");
  const older = el("button", { type: "button" }, "Next");
  const position = el("span", { className: "place" });

  function changed() {
    view.cursors = [""];
    load();
  }
  let typing;
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => { view.q = search.value.trim(); changed(); }, 250);
  });
  status.addEventListener("change", () => { view.status = status.value; changed(); });
  account.addEventListener("change", () => { view.account = account.value; changed(); });
  used.addEventListener("change", () => { view.used = used.value; changed(); });

  page.replaceChildren(
    el("div", { className: "title" }, title, el("button", { type: "button", className: "main", onclick: () => openNew(new URLSearchParams()) }, "New API key")),
    el("div", { className: "filters", role: "search" }, search, status, account, used),
    el("table", { className: "keys" }, el("caption", { className: "hidden" }, "API keys"), el("thead", {}, head), body),
    state,
    el("div", { className: "paging" }, newer, position, older),
  );

  function heads() {
    head.replaceChildren(...columns.map(([label, sort]) => {
      if (!sort) return el("th", { scope: "col" }, label);
      const current = view.sort.replace("-", "") === sort;
      const direction = current ? (view.sort.startsWith("-") ? "descending" : "ascending") : "none";
      const turn = () => {
        const descending = current ? !view.sort.startsWith("-") : descendingFirst.has(sort);
        view.sort = (descending ? "-" : "") + sort;
        changed();
        // The call to changed has replaced the button that was pressed.
        head.querySelector(`[data-sort="${sort}"]`)?.focus();
      };
      return el("th", { scope: "col", "aria-sort": direction }, el("button", { type: "button", className: "sort", "data-sort": sort, onclick: turn }, label));
    }));
  }

  let asked = 0;
  let total = 0;
  // load shows the current list. If several calls overlap, the last one wins.
  async function load(quietly = false) {
    const mine = ++asked;
    heads();
    if (!quietly) body.setAttribute("aria-busy", "true");
    const { cursors, used: use, ...parameters } = view;
    if (use === "never") parameters.never_used = true;
    if (use === "90") parameters.unused_since = new Date(Date.now() - 90 * 86400 * 1000).toISOString().replace(/\.\d+Z$/, "Z");
    const cursor = cursors.at(-1);
    let list;
    try {
      // The server scans all keys to count them. If there are many, don't count them every few
      // seconds.
      list = await get(`tokens${query({ ...parameters, cursor, limit: pageSize, count: !quietly || total <= manyKeys })}`);
    } catch (error) {
      if (mine !== asked) return;
      body.removeAttribute("aria-busy");
      if (quietly) return; // keep showing the old list
      body.replaceChildren();
      state.hidden = false;
      state.replaceChildren(error.message, " ", el("button", { type: "button", onclick: () => load() }, "Try again"));
      return;
    }
    if (mine !== asked || !body.isConnected) return;
    body.removeAttribute("aria-busy");
    total = list.total ?? total;
    title.textContent = `API keys (${total})`;
    document.title = title.textContent;
    const filtered = view.q || view.status || view.account || view.used;
    state.hidden = list.data.length > 0;
    state.textContent = filtered ? "No keys match." : "No API keys yet. Create the first one with New API key.";
    const focused = document.activeElement?.closest?.("tr")?.dataset.id;
    const control = document.activeElement?.dataset?.control;
    body.replaceChildren(...list.data.map((token) => row(token, () => load(true))));
    if (focused) body.querySelector(`tr[data-id="${focused}"] ${control ? `[data-control="${control}"]` : "a"}`)?.focus();
    newer.disabled = cursors.length < 2;
    older.disabled = !list.next_cursor;
    older.onclick = () => { view.cursors.push(list.next_cursor); load(); };
    position.textContent = total > pageSize ? `Page ${cursors.length} of ${Math.ceil(total / pageSize)}` : "";
  }
  reload = load;
  await load();

  // Another tab or another user may have changed something.
  const again = () => { if (document.visibilityState === "visible" && !document.querySelector("dialog, details[open]")) load(true); };
  const timer = setInterval(again, 5000);
  document.addEventListener("visibilitychange", again);
  return () => {
    clearInterval(timer);
    document.removeEventListener("visibilitychange", again);
    reload = () => {};
  };
}

function select(label, value, options) {
  return el("select", { "aria-label": label }, options.map(([key, text]) => el("option", { value: key, selected: key === value }, text)));
}

function row(token, changed) {
  const time = (label, text, more = "") => cell(label, el("time", { dateTime: text ?? "", title: [exact(text), more].filter(Boolean).join("\n") }, relative(text)));
  const lastUse = [token.last_used_ip && `from ${token.last_used_ip}`, token.last_used_user_agent && `by ${token.last_used_user_agent}`, token.last_used_route && `for ${token.last_used_route}`].filter(Boolean).join("\n");
  const tr = el("tr", { "data-id": token.id },
    cell("Name", el("a", { href: `#key/${token.id}`, dir: "auto", className: "name" }, token.name), badges(token)),
    cell("Key", el("code", {}, token.token_hint ?? token.id), token.kind === "admin" ? el("span", { className: "badge" }, "admin") : null),
    cell("Usage", el("span", { className: "count" }, token.usage_count.toLocaleString()), monthChart(token)),
    time("Created", token.created_at, token.created_by && `by ${token.created_by}`),
    token.expires_at ? time("Expires", token.expires_at) : cell("Expires", "never"),
    time("Last used", token.last_used_at, lastUse),
    cell("Actions", actions(token, changed)),
  );
  return tr;
}

function cell(label, ...children) {
  return el("td", { "data-label": label }, ...children);
}
