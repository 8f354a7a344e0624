import { get, query } from "./api.js";
import { el, say } from "./dom.js";
import { exact, relative } from "./time.js";

export async function auditPage(page) {
  document.title = "Audit · API Keys";
  page.replaceChildren(el("h1", {}, "Audit"), await auditTable({}));
}

// auditTable is the changes of keys, the newest first, a page at a time.
export async function auditTable(filter) {
  const body = el("tbody");
  const more = el("button", { type: "button" }, "Older");
  const none = el("p", { className: "empty", hidden: true }, "Nothing was changed yet.");
  let cursor = "";
  async function load() {
    const answer = await get(`audit${query({ ...filter, cursor, limit: 50 })}`);
    body.append(...answer.data.map((entry) => row(entry, !filter.token_id)));
    cursor = answer.next_cursor ?? "";
    more.hidden = !cursor;
    none.hidden = body.children.length > 0;
  }
  more.addEventListener("click", () => load().catch((error) => say(error.message, "bad")));
  await load();
  const heads = filter.token_id ? ["When", "Who", "What", "Changes"] : ["When", "Who", "What", "Key", "Changes"];
  return el("div", {}, el("table", {}, el("thead", {}, el("tr", {}, heads.map((text) => el("th", { scope: "col" }, text)))), body), none, more);
}

function row(entry, withKey) {
  const key = entry.token_id ? el("a", { href: `#key/${entry.token_id}`, dir: "auto" }, entry.token_name || entry.token_id) : "-";
  return el("tr", {},
    el("td", { "data-label": "When" }, el("time", { dateTime: entry.time, title: exact(entry.time) }, relative(entry.time))),
    el("td", { "data-label": "Who", title: entry.address ? `from ${entry.address}` : "" }, entry.actor),
    el("td", { "data-label": "What" }, entry.action),
    withKey ? el("td", { "data-label": "Key" }, key) : null,
    el("td", { "data-label": "Changes", dir: "auto" }, Object.entries(entry.changes ?? {}).map(([name, value]) => el("div", {}, `${name}: ${value}`))));
}
