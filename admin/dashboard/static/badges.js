import { el } from "./dom.js";

// badges returns a key's badges, most important first.
export function badges(token, now = Date.now()) {
  const list = [];
  const names = { revoked: "revoked", disabled: "disabled", expired: "expired", not_yet_valid: "not yet valid", damaged: "damaged" };
  if (names[token.status]) list.push([names[token.status], token.status === "not_yet_valid" ? "warn" : "bad"]);
  if (token.expires_soon) list.push(["expiring", "warn"]);
  if (token.previous_valid_until && Date.parse(token.previous_valid_until) > now) list.push(["rotating", "warn"]);
  if (!token.last_used_at) list.push(["never used", ""]);
  if (token.format === "imported") list.push(["imported", ""]);
  return el("span", { className: "badges" }, list.map(([text, kind]) => el("span", { className: `badge ${kind}` }, text)));
}
