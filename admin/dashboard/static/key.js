import { actions, oldUse } from "./actions.js";
import { get, patch, post, query } from "./api.js";
import { auditTable } from "./audit.js";
import { badges } from "./badges.js";
import { bars } from "./chart.js";
import { el, field, say } from "./dom.js";
import { covers } from "./scopes.js";
import { exact, relative } from "./time.js";

const hour = 3600 * 1000;
const day = 24 * hour;

// keyPage shows everything about a key.
export async function keyPage(page, id) {
  const [token, scopes] = await Promise.all([get(`tokens/${encodeURIComponent(id ?? "")}`), get("scopes")]);
  const old = token.previous_valid_until ? await get(`tokens/${token.id}/previous`) : null;
  document.title = `${token.name} · API keys`;
  const again = () => keyPage(page, id).catch((error) => say(error.message, "bad"));
  const gone = () => { location.hash = "#keys"; };
  const parts = [
    el("div", { className: "title" }, el("h1", { dir: "auto" }, token.name), badges(token), actions(token, again, gone)),
    facts(token, old),
    section("Usage", await usage(token)),
  ];
  if (token.kind === "api") {
    parts.push(section("Unused scopes (last 90 days)", await unused(token, scopes.data, again)));
    parts.push(section("Why was this refused?", why(token, scopes.data)));
  }
  parts.push(section("Audit log", await auditTable({ token_id: token.id })));
  page.replaceChildren(...parts.flat());
}

function section(title, ...children) {
  return el("section", {}, el("h2", {}, title), ...children);
}

function facts(token, old) {
  const time = (text, none = null) => (text ? el("time", { dateTime: text, title: exact(text) }, `${relative(text)}`) : none);
  const windows = { "1s": "second", "1m": "minute", "1h": "hour", "1d": "day" };
  const all = token.usage_count + token.denied_count;
  // Leave out facts without a value.
  const list = [
    ["Key", el("code", {}, token.token_hint ?? token.id)],
    ["Status", token.status.replaceAll("_", " ")],
    ["Kind", token.kind === "admin" ? "Admin key" : "API key"],
    ["Account", token.account],
    ["Scopes", (token.scopes ?? []).join(", ")],
    ["Allowed IP addresses", (token.allowed_ips ?? []).join(", ") || "any"],
    ["Rate limit", token.rate_limit ? `${token.rate_limit.requests.toLocaleString()} requests per ${windows[token.rate_limit.window] ?? token.rate_limit.window}` : "none"],
    ["Quota", token.quota ? `${token.quota.requests.toLocaleString()} requests per calendar ${token.quota.period}` : "none"],
    ["Created", el("span", {}, time(token.created_at), token.created_by ? ` by ${token.created_by}` : "")],
    ["Valid from", time(token.not_before)],
    ["Expires", time(token.expires_at, "never")],
    ["Last used", el("span", {}, time(token.last_used_at, "never"), token.last_used_ip ? ` from ${token.last_used_ip}` : "", token.last_used_user_agent ? ` by ${token.last_used_user_agent}` : "", token.last_used_route ? ` for ${token.last_used_route}` : "")],
    ["Requests", `${token.usage_count.toLocaleString()} allowed · ${token.denied_count.toLocaleString()} refused${token.denied_count ? ` (${(100 * token.denied_count / all).toFixed(1)} %)` : ""}`],
  ].filter(([, value]) => value);
  if (old) list.push(["Old secret works until", time(old.valid_until)], ["Old secret last used", oldUse(old)]);
  for (const [key, value] of Object.entries(token.metadata ?? {})) list.push([key, value]);
  return el("dl", { className: "facts" }, list.map(([name, value]) => el("div", {}, el("dt", { dir: "auto" }, name), el("dd", { dir: "auto" }, value))));
}

// usage returns a chart of the usage by day or hour, and a table of it by scope and
// outcome.
async function usage(token) {
  const place = el("div");
  const spans = { day: ["Daily, last 90 days", day, 90], hour: ["Hourly, last 7 days", hour, 7 * 24] };
  const draw = async (step) => {
    const [label, length, count] = spans[step];
    const from = Math.floor(Date.now() / length) * length - (count - 1) * length;
    const { data } = await get(`tokens/${token.id}/usage${query({ step, from: new Date(from).toISOString() })}`);
    const byKind = new Map();
    for (const { scope, outcome, count: n } of data) {
      const key = `${scope ?? "unknown"} ${outcome}`;
      byKind.set(key, (byKind.get(key) ?? 0) + n);
    }
    const rows = [...byKind].sort((a, b) => b[1] - a[1]).map(([key, n]) => {
      const [scope, outcome] = key.split(" ");
      return el("tr", {}, el("td", { "data-label": "Scope" }, scope), el("td", { "data-label": "Outcome" }, outcome), el("td", { "data-label": "Requests", className: "number" }, n.toLocaleString()));
    });
    place.replaceChildren(
      el("div", { className: "presets" }, Object.entries(spans).map(([name, [text]]) => el("button", { type: "button", "aria-pressed": String(name === step), onclick: () => draw(name).catch((error) => say(error.message, "bad")) }, text))),
      bars(data, from, length, count, { width: 720, height: 120, label }),
      rows.length ? el("table", {}, el("thead", {}, el("tr", {}, ["Scope", "Outcome", "Requests"].map((text) => el("th", { scope: "col" }, text)))), el("tbody", {}, rows)) : el("p", { className: "hint" }, "No requests in this period."),
    );
  };
  await draw("day");
  return place;
}

// unused shows the scopes that a key has but hasn't used.
async function unused(token, catalog, again) {
  const { data } = await get(`tokens/${token.id}/usage${query({ step: "day", from: new Date(Date.now() - 90 * day).toISOString() })}`);
  const used = new Set(data.filter(({ outcome }) => outcome === "ok").map(({ scope }) => scope));
  const may = catalog.map(({ name }) => name).filter((name) => (token.scopes ?? []).some((grant) => covers(grant, name)));
  const never = may.filter((name) => !used.has(name));
  const kept = may.filter((name) => used.has(name));
  if (never.length === 0) return el("p", { className: "hint" }, "All scopes were used.");
  const list = el("p", {}, never.join(", "));
  if (kept.length === 0) return [list, el("p", { className: "hint" }, "No scope was used. If this key isn't needed, revoke it.")];
  const count = never.length === 1 ? "1 unused scope" : `${never.length} unused scopes`;
  if (token.status !== "active") return list;
  return [list, el("button", { type: "button", onclick: async () => {
    try {
      await patch(`tokens/${token.id}`, { scopes: kept }, token.version);
      say(`Removed ${count} from "${token.name}".`);
      again();
    } catch (error) {
      say(error.message, "bad");
    }
  } }, `Remove ${count}`)];
}

// why asks the server what the gate would do with a request.
function why(token, catalog) {
  const routes = catalog.flatMap((scope) => scope.routes);
  const method = el("select", {}, ["GET", "POST", "PUT", "PATCH", "DELETE"].map((value) => el("option", { value }, value)));
  const path = el("input", { type: "text", placeholder: "/api/unikernels", spellcheck: false, autocomplete: "off" });
  path.setAttribute("list", "routes");
  const ip = el("input", { type: "text", placeholder: "any", spellcheck: false, autocomplete: "off" });
  const result = el("div", { role: "status" });
  const fields = { method: field("Method", method), path: field("Path", path), ip: field("From IP address", ip) };
  const form = el("form", { className: "row", noValidate: true }, fields.method, fields.path, fields.ip, el("button", { type: "submit" }, "Explain"),
    el("datalist", { id: "routes" }, [...new Set(routes.map((route) => route.split(" ")[1]))].map((value) => el("option", { value }))));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    for (const part of Object.values(fields)) part.wrong("");
    const body = { token_id: token.id, method: method.value, path: path.value.trim() };
    if (ip.value.trim()) body.ip = ip.value.trim();
    try {
      const explanation = await post("explain", body);
      const outcomes = [explanation, ...explanation.other_gates];
      result.replaceChildren(...outcomes.flatMap((one) => outcome(one, outcomes.length > 1)));
    } catch (error) {
      if (Object.hasOwn(fields, error.field)) fields[error.field].wrong(error.message);
      else say(error.message, "bad");
    }
  });
  return [form, result];
}

// outcome describes what one gate would do. It names the gate if there are several.
function outcome({ gate, allowed, status, code, checks }, named) {
  const verdict = allowed ? "Allowed." : `Refused — ${status}: ${code.replaceAll("_", " ")}.`;
  return [
    el("p", {}, named ? `At ${gate}: ${verdict}` : verdict),
    el("ul", { className: "checks" }, checks.map(({ name, pass, detail }) => el("li", { className: pass ? "pass" : "fail" }, el("b", {}, `${pass ? "✓" : "✗"} ${name.replaceAll("_", " ")}: `), detail))),
  ];
}
