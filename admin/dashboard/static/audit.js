import { get, query } from "./api.js";
import { el, say } from "./dom.js";
import { exact, relative } from "./time.js";

export async function auditPage(page) {
  document.title = "Audit log · API keys";
  page.replaceChildren(el("h1", {}, "Audit log"), await auditTable({}));
}

// auditTable returns a table of audit entries, newest first. A button loads more.
export async function auditTable(filter) {
  const body = el("tbody");
  const more = el("button", { type: "button" }, "Load more");
  const none = el("p", { className: "empty", hidden: true }, "No changes yet.");
  let cursor = "";
  async function load() {
    const list = await get(`audit${query({ ...filter, cursor, limit: 50 })}`);
    body.append(...list.data.map((entry) => row(entry, !filter.token_id)));
    cursor = list.next_cursor ?? "";
    more.hidden = !cursor;
    none.hidden = body.children.length > 0;
  }
  more.addEventListener("click", () => load().catch((error) => say(error.message, "bad")));
  await load();
  const heads = filter.token_id ? ["When", "Who", "Action", "Changes"] : ["When", "Who", "Action", "Key", "Changes"];
  return el("div", {}, el("table", {}, el("thead", {}, el("tr", {}, heads.map((text) => el("th", { scope: "col" }, text)))), body), none, more);
}

function row(entry, withKey) {
  const key = entry.token_id ? el("a", { href: `#key/${entry.token_id}`, dir: "auto" }, entry.token_name || entry.token_id) : "-";
  return el("tr", {},
    el("td", { "data-label": "When" }, el("time", { dateTime: entry.time, title: exact(entry.time) }, relative(entry.time))),
    el("td", { "data-label": "Who", title: entry.address ? `from ${entry.address}` : "" }, entry.actor),
    el("td", { "data-label": "Action" }, entry.action),
    withKey ? el("td", { "data-label": "Key" }, key) : null,
    el("td", { "data-label": "Changes", dir: "auto" }, Object.entries(entry.changes ?? {}).map(([name, value]) => el("div", {}, `${name}: ${value}`))));
}
