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

// keyPage is all there is to know of one key.
export async function keyPage(page, id) {
  const [token, scopes] = await Promise.all([get(`tokens/${encodeURIComponent(id ?? "")}`), get("scopes")]);
  const old = token.previous_valid_until ? await get(`tokens/${token.id}/previous`) : null;
  document.title = `${token.name} · API Keys`;
  const again = () => keyPage(page, id).catch((error) => say(error.message, "bad"));
  const gone = () => { location.hash = "#keys"; };
  const parts = [
    el("div", { className: "title" }, el("h1", { dir: "auto" }, token.name), badges(token), actions(token, again, gone)),
    facts(token, old),
    section("Usage", await usage(token)),
  ];
  if (token.kind === "api") {
    parts.push(section("Scopes that were not used in 90 days", await unused(token, scopes.data, again)));
    parts.push(section("Why was this refused?", why(token, scopes.data)));
  }
  parts.push(section("Audit", await auditTable({ token_id: token.id })));
  page.replaceChildren(...parts.flat());
}

function section(title, ...children) {
  return el("section", {}, el("h2", {}, title), ...children);
}

function facts(token, old) {
  const time = (text, none = "-") => (text ? el("time", { dateTime: text, title: exact(text) }, `${relative(text)}`) : none);
  const list = [
    ["Key", el("code", {}, token.token_hint ?? token.id)],
    ["Status", token.status.replaceAll("_", " ")],
    ["Kind", token.kind],
    ["Account", token.account ?? "-"],
    ["Scopes", (token.scopes ?? []).join(", ") || "-"],
    ["Allowed addresses", (token.allowed_ips ?? []).join(", ") || "any"],
    ["Rate limit", token.rate_limit ? `${token.rate_limit.requests} in ${token.rate_limit.window}` : "none"],
    ["Quota", token.quota ? `${token.quota.requests} a ${token.quota.period}` : "none"],
    ["Created", el("span", {}, time(token.created_at), token.created_by ? ` by ${token.created_by}` : "")],
    ["Not before", time(token.not_before)],
    ["Expires", time(token.expires_at, "never")],
    ["Last used", el("span", {}, time(token.last_used_at, "never"), token.last_used_ip ? ` from ${token.last_used_ip}` : "", token.last_used_user_agent ? ` by ${token.last_used_user_agent}` : "", token.last_used_route ? ` for ${token.last_used_route}` : "")],
    ["Requests", `${token.usage_count.toLocaleString()}, and ${token.denied_count.toLocaleString()} refused`],
  ];
  if (old) list.push(["Old secret works until", time(old.valid_until)], ["Old secret last used", oldUse(old)]);
  for (const [key, value] of Object.entries(token.metadata ?? {})) list.push([key, value]);
  return el("dl", { className: "facts" }, list.map(([name, value]) => el("div", {}, el("dt", { dir: "auto" }, name), el("dd", { dir: "auto" }, value))));
}

// usage is the chart by day or by hour, and the numbers by scope and outcome.
async function usage(token) {
  const place = el("div");
  const spans = { day: ["By day, for 90 days", day, 90], hour: ["By hour, for 7 days", hour, 7 * 24] };
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
      rows.length ? el("table", {}, el("thead", {}, el("tr", {}, ["Scope", "Outcome", "Requests"].map((text) => el("th", { scope: "col" }, text)))), el("tbody", {}, rows)) : el("p", { className: "hint" }, "No requests in this time."),
    );
  };
  await draw("day");
  return place;
}

// unused compares what a key may do with what it has done.
async function unused(token, catalog, again) {
  const { data } = await get(`tokens/${token.id}/usage${query({ step: "day", from: new Date(Date.now() - 90 * day).toISOString() })}`);
  const used = new Set(data.filter(({ outcome }) => outcome === "ok").map(({ scope }) => scope));
  const may = catalog.map(({ name }) => name).filter((name) => (token.scopes ?? []).some((grant) => covers(grant, name)));
  const never = may.filter((name) => !used.has(name));
  const kept = may.filter((name) => used.has(name));
  if (never.length === 0) return el("p", { className: "hint" }, "All of them were used.");
  const list = el("p", {}, never.join(", "));
  if (kept.length === 0) return [list, el("p", { className: "hint" }, "None was used. If that stays so, revoke the key.")];
  if (token.status !== "active") return list;
  return [list, el("button", { type: "button", onclick: async () => {
    try {
      await patch(`tokens/${token.id}`, { scopes: kept }, token.version);
      say(`${token.name} keeps ${kept.join(", ")}.`);
      again();
    } catch (error) {
      say(error.message, "bad");
    }
  } }, `Remove them and keep ${kept.join(", ")}`)];
}

// why asks the server what would become of a request.
function why(token, catalog) {
  const routes = catalog.flatMap((scope) => scope.routes);
  const method = el("select", {}, ["GET", "POST", "PUT", "PATCH", "DELETE"].map((value) => el("option", { value }, value)));
  const path = el("input", { type: "text", placeholder: "/api/unikernels", spellcheck: false, autocomplete: "off" });
  path.setAttribute("list", "routes");
  const ip = el("input", { type: "text", placeholder: "any", spellcheck: false, autocomplete: "off" });
  const answer = el("div", { role: "status" });
  const fields = { method: field("Method", method), path: field("Path", path), ip: field("From address", ip) };
  const form = el("form", { className: "row", noValidate: true }, fields.method, fields.path, fields.ip, el("button", { type: "submit" }, "Explain"),
    el("datalist", { id: "routes" }, [...new Set(routes.map((route) => route.split(" ")[1]))].map((value) => el("option", { value }))));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    for (const part of Object.values(fields)) part.wrong("");
    const body = { token_id: token.id, method: method.value, path: path.value.trim() };
    if (ip.value.trim()) body.ip = ip.value.trim();
    try {
      const said = await post("explain", body);
      const outcomes = [said, ...said.other_gates];
      answer.replaceChildren(...outcomes.flatMap((one) => outcome(one, outcomes.length > 1)));
    } catch (error) {
      if (Object.hasOwn(fields, error.field)) fields[error.field].wrong(error.message);
      else say(error.message, "bad");
    }
  });
  return [form, answer];
}

// outcome returns what one gate would do, with its name if there are several.
function outcome({ gate, allowed, status, code, checks }, named) {
  const verdict = allowed ? "It would be let through." : `It would be refused with ${status} ${code}.`;
  return [
    el("p", {}, named ? `At ${gate}: ${verdict}` : verdict),
    el("ul", { className: "checks" }, checks.map(({ name, pass, detail }) => el("li", { className: pass ? "pass" : "fail" }, el("b", {}, `${pass ? "✓" : "✗"} ${name.replaceAll("_", " ")}: `), detail))),
  ];
}
