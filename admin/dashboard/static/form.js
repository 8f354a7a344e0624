import { ApiError, get, patch, post } from "./api.js";
import { dialog, el, field, say } from "./dom.js";
import { covers } from "./scopes.js";
import { showSecret } from "./secret.js";

const expiries = [["1mo", "in 1 month"], ["3mo", "in 3 months"], ["6mo", "in 6 months"], ["1y", "in 1 year"], ["2y", "in 2 years"], ["date", "on a date"]];

// newKey shows the form for a new key. Anyone can create a link that fills in the form, so
// links can't set anything that is easy to overlook in the form: the kind admin, which has
// no scopes, and wildcards, which also grant scopes added later.
export async function newKey(prefilled, changed) {
  const [scopes, accounts] = await Promise.all([get("scopes"), get("accounts")]);
  const form = keyForm(scopes.data, accounts.data, {
    name: prefilled.get("name") ?? "", account: prefilled.get("account") ?? "default", preset: prefilled.get("preset") ?? "", kind: "api",
    scopes: prefilled.getAll("scope").filter((scope) => !scope.includes("*")), valid: prefilled.get("expires_in") ?? "3mo",
  }, true);
  if (String(prefilled)) form.element.prepend(el("p", { className: "notice", role: "note" }, "A link filled in this form. Check the scopes before you create the key."));
  // Repeating the request after a lost response doesn't create a second key.
  const once = crypto.randomUUID?.() ?? String(Math.random()).slice(2);
  open("Create API key", "Create key", form, async () => {
    const created = await post("tokens", form.values(), { "Idempotency-Key": once });
    changed();
    return () => (created.token ? showSecret(created, "API key created") : say("The key was created, but its secret was lost in transit. Rotate the key to get a new one.", "bad"));
  });
}

// editKey shows the form for an existing key. It sends only the changed fields and fails
// if someone else has changed the key in the meantime.
export async function editKey(token, changed) {
  const [scopes, accounts] = await Promise.all([get("scopes"), get("accounts")]);
  const form = keyForm(scopes.data, accounts.data, { ...token, valid: "" }, false);
  const before = JSON.stringify(form.values());
  open("Edit API key", "Update key", form, async () => {
    const was = JSON.parse(before);
    const changes = Object.fromEntries(Object.entries(form.values()).filter(([key, value]) => JSON.stringify(value) !== JSON.stringify(was[key])));
    if (Object.keys(changes).length === 0) return () => {};
    const updated = await patch(`tokens/${token.id}`, changes, token.version);
    changed();
    return () => say(`Updated "${updated.name}".`);
  });
}

function open(title, label, form, submit) {
  const failed = el("p", { className: "wrong", role: "alert", hidden: true });
  const button = el("button", { type: "submit", className: "main" }, label);
  const element = el("form", { method: "dialog", className: "stack", noValidate: true }, form.element, failed,
    el("div", { className: "buttons" }, el("button", { type: "button", onclick: () => box.close() }, "Cancel"), button));
  const box = dialog(title, element);
  element.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    failed.hidden = true;
    for (const part of Object.values(form.fields)) part.wrong("");
    try {
      const then = await submit();
      box.close();
      then();
    } catch (error) {
      const part = error instanceof ApiError && Object.hasOwn(form.fields, error.field) && form.fields[error.field];
      if (part) {
        part.wrong(error.message);
      } else {
        failed.textContent = error.code === "precondition_failed" ? "Someone else changed this key while you were editing. Close this form and open it again to see the change." : error.message;
        failed.hidden = false;
      }
    } finally {
      button.disabled = false;
    }
  });
}

// keyForm returns the fields for a key, filled in from token.
function keyForm(catalog, accounts, token, isNew) {
  const name = el("input", { type: "text", value: token.name, maxLength: 100, dir: "auto", autocomplete: "off", autofocus: true });
  const keep = token.expires_at ? `keep ${new Date(token.expires_at).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" })}` : "never (unchanged)";
  const valid = el("select", {}, (isNew ? [] : [["", keep]]).concat(expiries).map(([value, text]) => el("option", { value, selected: value === token.valid }, text)));
  const until = el("input", { type: "datetime-local", hidden: token.valid !== "date", "aria-label": "Expiry date" });
  valid.addEventListener("change", () => { until.hidden = valid.value !== "date"; });
  const kind = el("select", {}, [["api", "API key"], ["admin", "Admin key"]].map(([value, text]) => el("option", { value, selected: value === token.kind }, text)));
  const account = el("select", {}, accounts.map((a) => el("option", { value: a.name, selected: a.name === token.account }, a.name)));
  const addresses = el("textarea", { rows: 2, value: (token.allowed_ips ?? []).join("\n"), placeholder: "203.0.113.0/24", spellcheck: false });
  const rate = limitInputs(token.rate_limit, "window", "Rate limit interval", [["1s", "requests per second"], ["1m", "requests per minute"], ["1h", "requests per hour"], ["1d", "requests per day"]]);
  const quota = limitInputs(token.quota, "period", "Quota period", [["day", "requests per day"], ["month", "requests per month"]]);
  const checklist = scopeChecklist(catalog, token.preset ? catalog.filter(({ presets }) => presets.includes(token.preset)).map((scope) => scope.name) : token.scopes ?? []);

  const fields = {
    name: field("Name", name, "What this key is for, such as GitHub CI."),
    expires_in: field("Expires", valid),
    account: field("Account", account),
    scopes: checklist.field,
    allowed_ips: field("Allowed IP addresses", addresses, "One IP address or range per line. Leave empty to allow any."),
    rate_limit: rate.field("Rate limit", "Bursts up to this many; refills evenly."),
    quota: quota.field("Quota", "Per calendar day or month. Resets at 00:00 UTC."),
  };
  fields.expires_at = fields.expires_in;
  fields.preset = fields.scopes;
  fields.expires_in.insertBefore(until, fields.expires_in.querySelector(".wrong"));
  const kindField = field("Kind", kind, "An API key is for CI and scripts, and calls Mollymawk. An admin key signs in here and can manage every key.");
  const forApi = [fields.account, fields.scopes, fields.rate_limit, fields.quota];
  const sort = () => { for (const part of forApi) part.hidden = kind.value === "admin"; };
  kind.addEventListener("change", sort);
  sort();

  function values() {
    const list = { name: name.value.trim(), allowed_ips: addresses.value.split(/[\s,]+/).filter(Boolean) };
    if (valid.value === "date") list.expires_at = until.value ? new Date(until.value).toISOString().replace(/\.\d+Z$/, "Z") : "";
    else if (valid.value) list.expires_in = valid.value;
    if (isNew) list.kind = kind.value;
    if (kind.value === "api") {
      Object.assign(list, { account: account.value, scopes: checklist.scopes(), rate_limit: rate.value(), quota: quota.value() });
    }
    return list;
  }
  const more = el("details", { className: "more", open: Boolean(token.allowed_ips || token.rate_limit || token.quota) }, el("summary", {}, "IP addresses and limits"), fields.allowed_ips, fields.rate_limit, fields.quota);
  return { element: el("div", { className: "stack" }, fields.name, fields.expires_in, isNew ? kindField : null, fields.account, fields.scopes, more), fields, values };
}

// limitInputs returns inputs for the number of requests and for the member named unit. An
// empty number means no limit. Screen readers read label as the name of the unit.
function limitInputs(limit, unit, label, options) {
  const number = el("input", { type: "text", inputMode: "numeric", value: limit?.requests ?? "", placeholder: "no limit", autocomplete: "off" });
  const known = options.some(([value]) => value === limit?.[unit]);
  const per = el("select", { "aria-label": label }, (limit && !known ? [[limit[unit], `requests per ${limit[unit]}`]] : []).concat(options).map(([value, text]) => el("option", { value, selected: value === limit?.[unit] }, text)));
  return {
    field(name, hint) {
      const box = field(name, number, hint);
      number.after(per);
      box.classList.add("limit");
      return box;
    },
    value() {
      const text = number.value.trim();
      return text === "" ? null : { requests: /^\d+$/.test(text) ? Number(text) : text, [unit]: per.value };
    },
  };
}

// scopeChecklist returns checkboxes for the scopes by resource, and buttons for the
// presets. A wildcard in the key stays a wildcard until a checkbox that it covers is
// changed.
function scopeChecklist(catalog, granted) {
  const boxes = new Map();
  let wildcards = granted.filter((grant) => grant.endsWith("*"));
  const groups = new Map();
  for (const scope of catalog) {
    const [resource, action] = scope.name.split(":");
    const box = el("input", { type: "checkbox", checked: granted.some((grant) => covers(grant, scope.name)), value: scope.name });
    box.addEventListener("change", () => {
      wildcards = wildcards.filter((grant) => !covers(grant, scope.name));
      mark();
    });
    boxes.set(scope.name, box);
    if (!groups.has(resource)) groups.set(resource, []);
    groups.get(resource).push(el("label", { className: "check", title: scope.routes.join("\n") }, box, ` ${action}`));
  }
  const presets = [...new Set(catalog.flatMap((scope) => scope.presets))].sort();
  const set = (names) => { for (const [name, box] of boxes) box.checked = names.includes(name); };
  const inPreset = (preset) => catalog.filter((scope) => scope.presets.includes(preset)).map((scope) => scope.name);
  const buttons = presets.map((preset) => el("button", { type: "button", className: "preset", "data-preset": preset, onclick: () => {
    wildcards = preset === "full" ? ["*"] : [];
    set(inPreset(preset));
    mark();
  } }, preset));
  function mark() {
    const now = [...boxes].filter(([, box]) => box.checked).map(([name]) => name);
    for (const button of buttons) {
      const same = inPreset(button.dataset.preset);
      button.setAttribute("aria-pressed", String(same.length === now.length && same.every((name) => now.includes(name))));
    }
  }
  const wrong = el("p", { className: "wrong", hidden: true, role: "alert" });
  const box = el("fieldset", { className: "scopes" }, el("legend", {}, "Scopes"), el("div", { className: "presets" }, buttons),
    el("div", { className: "resources" }, [...groups].map(([resource, list]) => el("fieldset", {}, el("legend", {}, resource), list))), wrong);
  box.wrong = (text) => {
    wrong.textContent = text ?? "";
    wrong.hidden = !text;
  };
  mark();
  return {
    field: box,
    scopes() {
      const single = [...boxes].filter(([name, b]) => b.checked && !wildcards.some((grant) => covers(grant, name))).map(([name]) => name);
      return [...wildcards, ...single].sort();
    },
  };
}
