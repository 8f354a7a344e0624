import { ApiError, get, patch, post } from "./api.js";
import { dialog, el, field, say } from "./dom.js";
import { covers } from "./scopes.js";
import { showSecret } from "./secret.js";

const validities = [["1mo", "1 month"], ["3mo", "3 months"], ["6mo", "6 months"], ["1y", "1 year"], ["2y", "2 years"], ["date", "Until a date"]];

// newKey shows the dialog for a new key. Anybody can make a link that fills the form in,
// so it fills in what can be seen there only: neither an admin key, which has no scopes,
// nor wildcards, which also grant the scopes that are added later.
export async function newKey(prefilled, changed) {
  const [scopes, accounts] = await Promise.all([get("scopes"), get("accounts")]);
  const form = keyForm(scopes.data, accounts.data, {
    name: prefilled.get("name") ?? "", account: prefilled.get("account") ?? "default", preset: prefilled.get("preset") ?? "", kind: "api",
    scopes: prefilled.getAll("scope").filter((scope) => !scope.includes("*")), valid: prefilled.get("expires_in") ?? "3mo",
  }, true);
  if (String(prefilled)) form.element.prepend(el("p", { className: "notice", role: "note" }, "A link filled in this form. Check the scopes before you create the key."));
  // A repeat after a lost answer makes no second key.
  const once = crypto.randomUUID?.() ?? String(Math.random()).slice(2);
  open("Create API Key", "Create Key", form, async () => {
    const made = await post("tokens", form.values(), { "Idempotency-Key": once });
    changed();
    return () => (made.token ? showSecret(made, "API key created") : say("The key was made, but its secret was lost on the way. Rotate it.", "bad"));
  });
}

// editKey shows the dialog for a key that is there. Only what differs is sent, and only
// if nobody else has changed the key meanwhile.
export async function editKey(token, changed) {
  const [scopes, accounts] = await Promise.all([get("scopes"), get("accounts")]);
  const form = keyForm(scopes.data, accounts.data, { ...token, valid: "" }, false);
  const before = JSON.stringify(form.values());
  open("Edit API Key", "Update Key", form, async () => {
    const was = JSON.parse(before);
    const changes = Object.fromEntries(Object.entries(form.values()).filter(([key, value]) => JSON.stringify(value) !== JSON.stringify(was[key])));
    if (Object.keys(changes).length === 0) return () => {};
    const updated = await patch(`tokens/${token.id}`, changes, token.version);
    changed();
    return () => say(`${updated.name}: updated.`);
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
        failed.textContent = error.code === "precondition_failed" ? "Somebody else has changed this key meanwhile. Close this and look at it again." : error.message;
        failed.hidden = false;
      }
    } finally {
      button.disabled = false;
    }
  });
}

// keyForm are the fields of a key, with what it has.
function keyForm(catalog, accounts, token, isNew) {
  const name = el("input", { type: "text", value: token.name, maxLength: 100, dir: "auto", autocomplete: "off", autofocus: true });
  const valid = el("select", {}, (isNew ? [] : [["", "as it is"]]).concat(validities).map(([value, text]) => el("option", { value, selected: value === token.valid }, text)));
  const until = el("input", { type: "datetime-local", hidden: token.valid !== "date", "aria-label": "Until" });
  valid.addEventListener("change", () => { until.hidden = valid.value !== "date"; });
  const kind = el("select", {}, [["api", "calls Mollymawk"], ["admin", "manages keys here"]].map(([value, text]) => el("option", { value, selected: value === token.kind }, text)));
  const account = el("select", {}, accounts.map((a) => el("option", { value: a.name, selected: a.name === token.account }, a.name)));
  const addresses = el("textarea", { rows: 2, value: (token.allowed_ips ?? []).join("\n"), placeholder: "203.0.113.0/24", spellcheck: false });
  const rate = limitInputs(token.rate_limit, "window", [["1s", "second"], ["1m", "minute"], ["1h", "hour"], ["1d", "day"]]);
  const quota = limitInputs(token.quota, "period", [["day", "day"], ["month", "month"]]);
  const checklist = scopeChecklist(catalog, token.preset ? catalog.filter(({ presets }) => presets.includes(token.preset)).map((scope) => scope.name) : token.scopes ?? []);

  const fields = {
    name: field("Name", name, "What it is for, such as GitHub CI."),
    expires_in: field("Valid for", valid),
    account: field("Account", account),
    scopes: checklist.field,
    allowed_ips: field("Allowed addresses", addresses, "One address or range a line. Empty is from anywhere."),
    rate_limit: rate.field("At most so many requests at once, which come back evenly over"),
    quota: quota.field("At most so many requests in a calendar"),
  };
  fields.expires_at = fields.expires_in;
  fields.preset = fields.scopes;
  fields.expires_in.insertBefore(until, fields.expires_in.querySelector(".wrong"));
  const kindField = field("Kind", kind);
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
  const more = el("details", { className: "more", open: Boolean(token.allowed_ips || token.rate_limit || token.quota) }, el("summary", {}, "Addresses and limits"), fields.allowed_ips, fields.rate_limit, fields.quota);
  return { element: el("div", { className: "stack" }, fields.name, fields.expires_in, isNew ? kindField : null, fields.account, fields.scopes, more), fields, values };
}

// limitInputs are a number and what it is for; an empty number is no limit.
function limitInputs(limit, unit, options) {
  const number = el("input", { type: "text", inputMode: "numeric", value: limit?.requests ?? "", placeholder: "no limit", autocomplete: "off" });
  const known = options.some(([value]) => value === limit?.[unit]);
  const per = el("select", { "aria-label": unit }, (limit && !known ? [[limit[unit], limit[unit]]] : []).concat(options).map(([value, text]) => el("option", { value, selected: value === limit?.[unit] }, text)));
  return {
    field(label) {
      const box = field(label, number);
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

// scopeChecklist is the scopes by resource, with the presets as buttons. What a key
// has with a wildcard is kept as such until a box of it is changed.
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
