// @ts-check
// All texts of the dashboard.
import {
  clock,
  count,
  counted,
  date,
  dateTime,
  duration,
  list,
  monthDay,
  percent,
  relative,
  size,
  utcDay,
} from "./format.js";

/** @typedef {import("../types").AttentionItem} Item
 * @typedef {{allowed: number, refused: number}} Total */

const compact = new Intl.NumberFormat("en", { notation: "compact" });

/** @param {Total} total */
const totalLine = ({ allowed, refused }) =>
  `${count(allowed)} allowed · ${count(refused)} refused${refused ? ` (${percent(refused, allowed + refused)})` : ""}`;

const chart = {
  /** @param {number} n */
  tick: (n) => compact.format(n),
  total: totalLine,
  /** @param {string} time
   * @param {"hour"|"day"} step */
  from: (time, step) => (step === "day" ? `${utcDay(time)} (UTC)` : `${monthDay(time)}, ${clock(time)}`),
  head: ["Time", "Allowed", "Refused"],
  none: "No requests",
  table: "Show as table",
  /** @param {number} days
   * @param {Total} sum */
  spark: (days, { allowed, refused }) =>
    `Last ${days} days: ${count(allowed)} allowed, ${count(refused)} refused`,
};

/** Returns when a key was used, the address, and the first word of the User-Agent.
 * @param {Item} item */
const used = ({ last_use: use }) =>
  use ? `last used ${relative(use.time)}${use.ip ? ` from ${use.ip}` : ""}${use.user_agent ? ` (${use.user_agent.split(" ")[0]})` : ""}` : "never used"; // prettier-ignore

/** @param {string[] | null} scopes */
const some = (scopes) =>
  list(scopes && scopes.length > 3 ? [...scopes.slice(0, 2), `${scopes.length - 2} more`] : (scopes ?? []));

const overview = {
  range: "Time range",
  requests: "Requests",
  active: "Active keys",
  /** @param {number} n */
  of: (n) => `of ${counted(n, "API key")}`,
  last: "Requests, 24 h",
  /** @param {number} now
   * @param {number} before */
  change: (now, before) =>
    before
      ? `${percent(Math.abs(now - before), before)} ${now < before ? "less" : "more"} than the 24 h before`
      : "None in the 24 h before",
  refused: "Refused, 24 h",
  /** @param {Total} sum */
  share: ({ allowed, refused }) => `${count(refused)} of ${counted(allowed + refused, "request")}`,
  expiring: "Expiring in 7 days",
  /** @param {import("../types").Token} [token] */
  next: (token) => (token ? `Next: ${token.name}, ${relative(token.expires_at)}` : "No key needs renewal"),
  attention: "Needs attention",
  nothing: "Nothing needs your attention.",
  /** @param {number} n */
  all: (n) => `All ${count(n)}`,
  /** @param {number} n */
  more: (n) => `${count(n)} more`,
  /** For each reason, a heading and what is the matter with a key.
   * @type {Record<string, [string, (item: Item) => string]>} */
  reasons: {
    used_after_revocation: ["Used after revocation", (item) =>
      `Tried ${item.refused === 100 ? "at least " : ""}${counted(item.refused ?? 0, "time")} since it was revoked ${relative(item.token.revoked_at)}, ${used(item)}.`],
    expiring: ["Expiring in 7 days", ({ token: { expires_at: end, last_used_at: last } }) =>
      `Expires ${relative(end)}, on ${dateTime(end ?? 0)}. Last used: ${relative(last)}.`],
    old_secret_in_use: ["Old secret still in use", (item) =>
      `Old secret ${used(item)}. Stops working ${relative(item.token.previous_valid_until)}.`],
    wide_grant: ["More access than needed", ({ token, used_scopes: scopes }) =>
      `${token.scopes?.includes("*") ? "Has full access" : `Has ${list((token.scopes ?? []).filter((scope) => scope.endsWith("*")))}`} but used only ${some(scopes) || "no scope"} in 90 days.`],
    unused_scopes: ["Unused scopes", ({ scopes }) => `${counted(scopes?.length ?? 0, "scope")} not used in 90 days: ${some(scopes)}.`],
    unused_resources: ["Unused resources", ({ resources }) => `${counted(resources?.length ?? 0, "resource")} not used in 90 days: ${some(resources)}.`],
    unused: ["Unused for 90 days", (item) => `Created ${date(item.token.created_at ?? 0)}, ${used(item)}.`],
  }, // prettier-ignore
  remedies: {
    show: "See requests",
    extend: "Extend",
    rotate: "Rotate",
    revoke: "Revoke",
    trim: "Remove unused",
    trimResources: "Remove unused",
    handOver: "See who uses it",
  },
  busiest: "Busiest keys, last 7 days",
  start: "Get started",
  steps: ["Create an API key", "Set MOLLYGATE_KEY to it and call the gate", "See the first request"],
  done: "Done",
  waiting: "This page updates when it arrives.",
};

const health = {
  title: "Health",
  states: { ok: "OK", warning: "Warning", failed: "Failed" },
  checks: { backend: "Backend", store: "Store", replica: "Shared copy", journal: "Journal", clock: "Clock", disk_free: "Disk", damaged: "Damage", backup: "Last backup" },
  /** @param {number} bytes */
  free: (bytes) => `${size(bytes)} free`,
  /** @param {string} age */
  age: (age) => `${age} old`,
  due: "Back up the store every day. On the server, run:",
  none: "None yet",
  command: "caddy api-token backup tokens.db",
}; // prettier-ignore

const nodes = {
  title: "Gates",
  hint: "These gates share the key store. A change at one gate takes effect at all live gates.",
  head: ["Gate", "State", "Last seen", "Its copy"],
  self: "this gate",
  states: { live: "live", gone: "gone", alone: "no contact" },
  /** @param {string} age */
  age: (age) => `${age} old`,
};

const settings = {
  hint: "Read-only. Change these settings in the Caddyfile.",
  policy: "Policy",
  /** @param {import("../types").Settings} s
   * @returns {[string, any][]} */
  facts: (s) => [
    ["Version", s.version],
    ["Key prefixes", list(s.prefixes)],
    ["Longest key lifetime", duration(s.max_lifetime)],
    ["Expiry warning", `${duration(s.warn_before)} before`],
    ["Audit log kept", duration(s.audit_retention ?? "")],
    ["Daily usage kept", duration(s.history_retention ?? "")],
    ["Dashboard session", counted(s.session_hours, "hour")],
    ["Store size", size(s.store.size)],
  ],
  accounts: "Accounts",
  accountHead: ["Account", "Scopes its keys can have", "Resources its keys can act on"],
  all: "All",
  types: "Resource types",
  typeHead: ["Type", "Also called", "Contains other resources"],
  /** @param {boolean} yes */
  container: (yes) => (yes ? "Yes" : "No"),
  /** @param {string} gate
   * @param {number} n */
  routes: (gate, n) => `Gate ${gate}: ${counted(n, "route")}`,
  routeHead: ["Method", "Path", "Scope"],
  notifications: "Notifications",
  notify: "Caddy can run a program when a key is about to expire, or when a revoked key is used. Build Caddy with the plugin caddy-events-exec, and add these lines to the global options of the Caddyfile.",
  lines: `events {
	on token.expiring exec /usr/local/bin/notify {event.data.name} {event.data.expires_at}
	on token.used_after_revoke exec /usr/local/bin/notify {event.data.name} {event.data.id}
}
`,
  events: "All events",
}; // prettier-ignore

const amount = (/** @type {number | string | undefined} */ n) => (typeof n === "string" ? n : count(n ?? 0));

const keys = {
  /** @param {number | string} part
   * @param {number} [all] */
  of: (part, all) => `${amount(part)} of ${amount(all)}`,
  search: "Filter by name, ID or owner",
  all: "All",
  filters: {
    account: "Account",
    owner: "Owner",
    tag: "Tag",
    scope: "Scope",
    usage: "Usage",
    expires: "Expires",
    sort: "Sort",
  },
  usage: { never: "never used", "90d": "unused for 90 days" },
  expires: { "7d": "within 7 days", "30d": "within 30 days" },
  sort: {
    "-created_at": "newest",
    name: "name",
    expires_at: "next to expire",
    "-last_used_at": "last used",
    "-usage_count": "most used",
  },
  /** @param {string} filter */
  remove: (filter) => `Remove ${filter}`,
  clear: "Clear filters",
  choose: "Columns",
  columns: {
    name: "Name",
    status: "Status",
    key: "Key",
    account: "Account",
    owner: "Owner",
    tags: "Tags",
    scopes: "Scopes",
    resources: "Resources",
    ips: "Allowed IPs",
    usage: "Requests",
    refused: "Refused",
    created: "Created",
    expires: "Expires",
    last: "Last used",
  },
  noRoom: " (no room)",
  copyHint: "Copy the key's public part",
  any: "any",
  /** @param {import("../types").Token} token
   * @param {string} end
   * @param {string} used */
  dates: ({ revoked_at, status, expires_at }, end, used) =>
    `${revoked_at ? "revoked" : status === "expired" ? "expired" : expires_at ? "expires" : "never expires"}${revoked_at || expires_at ? ` ${end}` : ""} · used ${used}`,
  menu: "Actions",
  /** @param {string} name */
  actions: (name) => `Actions for ${name}`,
  /** @param {string} name */
  select: (name) => `Select ${name}`,
  you: "you",
  selectPage: "Select all on this page",
  /** @param {number} [n] */
  selectAll: (n) => `Select all${n === undefined ? "" : ` ${amount(n)}`}`,
  /** @param {number} n */
  selected: (n) => `${amount(n)} selected`,
  unselect: "Clear the selection",
  selection: "Selection",
  export: "Export CSV",
  /** @param {number} n */
  cut: (n) => `Only the first ${amount(n)} keys were read. Use filters to narrow the list.`,
  pages: "Pages of the table",
  previous: "Previous",
  next: "Next",
  empty: { api: "No API keys yet", admin: "No admin keys yet" },
  emptyHint: {
    api: "An API key lets a CI job or a script call Mollymawk.",
    admin: "An admin key signs in here and can manage every key.",
  },
  none: "No key matches.",
};

const keyOf = (/** @type {number} */ n) => (n === 1 ? "this key" : "these keys");

const actions = {
  edit: "Edit",
  like: "New key like this",
  copyID: "Copy ID",
  /** @param {string} id */
  copied: (id) => `Copied ${id}.`,
  undo: "Undo",
  restored: "Restored",
  /** @param {number} n */
  keys: (n) => `${amount(n)} ${n === 1 ? "key" : "keys"}`,
  /** @param {{label: string, title?: string, body?: unknown}} action
   * @param {string} keys */
  title: ({ label, title = label, body }, keys) => `${title} ${keys}${body ? "?" : ""}`,
  /** @param {string} past
   * @param {string} keys */
  done: (past, keys) => `${past} ${keys}.`,
  /** @param {number} failed
   * @param {number} all */
  failed: (failed, all) => `${failed} of ${all} failed:`,
  neverUsed: "Never used.",
  /** @param {string} ago
   * @param {string} time
   * @param {string | null} ip
   * @param {string | null} agent */
  lastUse: (ago, time, ip, agent) =>
    `Last used ${ago} (${time})${ip ? ` from ${ip}` : ""}${agent ? ` by ${agent}` : ""}.`,
  /** @param {number} n
   * @param {number} all */
  recent: (n, all) => `${all === 1 ? "This key was" : `${n} of these keys were`} used within the last hour.`,
  own: "You are signed in with this key. Your session will end.",
  /** @param {number} n */
  later: (n) => `${actions.keys(n)} already ${n === 1 ? "expires" : "expire"} later and will not change.`,
  until: "New expiry, counted from now",
  /** @param {string} end */
  keep: (end) => `Keep ${end || "never"}`,
  expires: "Expires",
  /** @param {number} n */
  skipped: (n) => `${actions.keys(n)} can't be changed this way and will be skipped.`,
  overlap: "Keep the old secret working for",
  stop: "Stop it now",
  replaced: "The secret from before the last rotation still works. It will stop now.",
  add: "Add tags",
  addHint: "Separate tags with commas.",
  present: "Keep tags",
  kept: "Scopes to keep",
  keptResources: "Resources to keep",
  /** @param {string} ago */
  unusedSince: (ago) => `Not used since the key was created ${ago}.`,
  unused: "Not used in the last 90 days.",
  allUnused: "This key used none of its scopes. Revoke it instead.",
  revoke: {
    label: "Revoke",
    past: "Revoked",
    /** @param {number} n */
    body: (n) =>
      `This can't be undone. Requests with ${keyOf(n)} will be refused at once. The ${n === 1 ? "key stays" : "keys stay"} listed for your records.`,
  },
  disable: {
    label: "Disable",
    past: "Disabled",
    /** @param {number} n */
    body: (n) =>
      `Requests with ${keyOf(n)} will be refused until you enable ${n === 1 ? "it" : "them"} again.`,
  },
  enable: { label: "Enable", past: "Enabled" },
  delete: {
    label: "Delete",
    past: "Deleted",
    /** @param {number} n */
    body: (n) =>
      n === 1
        ? "Permanently deletes the key and its usage history. Requests with it will be refused. To keep the history, revoke it instead."
        : "Permanently deletes the keys and their usage history. Requests with them will be refused. To keep the history, revoke them instead.",
  },
  extend: { label: "Extend", past: "Extended" },
  tags: { label: "Edit tags", title: "Edit the tags of", past: "Changed the tags of" },
  rotate: {
    label: "Rotate",
    past: "New secret for",
    body: "Create a new secret for this key? ID and scopes stay the same.",
  },
  trim: {
    label: "Remove unused scopes",
    title: "Remove unused scopes of",
    past: "Removed the unused scopes of",
  },
  trimResources: {
    label: "Remove unused resources",
    title: "Remove unused resources of",
    past: "Removed the unused resources of",
  },
};

/** @type {Record<string, string>} */
const reasons = {
  ip_denied: "address not allowed",
  rate_limited: "rate limit reached",
  quota_exceeded: "quota used up",
  expired_token: "key expired",
  revoked_token: "key revoked",
  disabled_token: "key disabled",
  invalid_path: "path not canonical",
  ambiguous_target: "it isn't clear what the request acts on",
};

const key = {
  gone: "This key doesn't exist. It may have been deleted.",
  more: "More actions",
  copyCurl: "Copy a curl command",
  /** @type {Record<string, string>} */
  states: {
    revoked: "Revoked",
    disabled: "Disabled",
    expired: "Expired",
    not_yet_valid: "Not valid before",
    damaged: "The key's record is damaged. Delete the key and create a new one",
  },
  /** @param {string} name */
  by: (name) => ` by ${name}`,
  /** @param {number} n
   * @param {string} status
   * @param {string} when
   * @param {string} from */
  presented: (n, status, when, from) =>
    `Tried ${n > 99 ? "at least " : ""}${counted(n, "time")} since it ${status === "expired" ? "" : "was "}${status}, last ${when}${from}.`,
  /** @param {string | null} ip
   * @param {string | null} agent */
  from: (ip, agent) => `${ip ? ` from ${ip}` : ""}${agent ? ` (${agent})` : ""}`,
  usage: "Usage",
  range: "Period",
  /** @param {number} allowed
   * @param {number} refused
   * @param {string} share */
  totals: (allowed, refused, share) =>
    `${count(allowed)} allowed${refused ? ` · ${count(refused)} refused (${share})` : ""}`,
  chart: "Requests",
  byGate: "By gate, in total",
  gateColumns: ["Gate", "Allowed", "Refused", "Last used"],
  columns: ["Scope", "Allowed", "Refused", "Share"],
  noScope: "No matching route",
  activity: "Activity",
  access: "Access",
  about: "About",
  validFrom: "Valid from",
  rate: "Rate limit",
  /** @param {import("../types").RateLimit} limit
   * @param {string} window */
  perWindow: ({ requests }, window) => `${counted(requests, "request")} per ${window.replace("1 ", "")}`,
  quota: "Quota",
  /** @param {import("../types").Quota} quota */
  perPeriod: ({ requests, period }) => `${counted(requests, "request")} per calendar ${period} (UTC)`,
  changed: "Changed",
  unused: "Unused",
  /** @param {number} n */
  remove: (n) => `Remove ${counted(n, "unused scope")}…`,
  unusedResources: "Unused resources",
  /** @param {number} n */
  removeResources: (n) => `Remove ${counted(n, "unused resource")}…`,
  nowAllowed: "allowed now",
  refusals: "Refused requests",
  refusalsHint: "The last 100 refused requests with this key.",
  noRefusals: "No request with this key has been refused.",
  /** @param {number} n */
  all: (n) => `Show all ${n}`,
  /** @param {number} n
   * @param {string} date */
  repeated: (n, date) => `${n} times since ${date}`,
  /** @param {string} code
   * @param {string | null} [scope] */
  reason: (code, scope) =>
    code === "insufficient_scope" && scope
      ? `this key lacks ${scope}`
      : (reasons[code] ?? code.replaceAll("_", " ")),
  /** What else to do about a refusal.
   * @type {Record<string, string>} */
  advice: {
    resource_not_allowed:
      "The key is limited to some resources. To check a request, choose Explain and enter what it acts on, or its body.",
    ambiguous_target:
      "Programs could read the request in different ways. Correct the client; changing the key doesn't help.",
  },
  raise: "Raise limit…",
  editResources: "Edit resources…",
  /** @param {string} scope */
  addScope: (scope) => `Add scope ${scope}`,
  /** @param {string} ip */
  allowIP: (ip) => `Allow ${ip}`,
  /** @param {string} name */
  willAllow: (name) => `"${name}" may use it from its next request on.`,
  /** @param {string} what
   * @param {string} name */
  allowed: (what, name) => `Allowed ${what} for "${name}".`,
  explain: "Explain",
  explainTitle: "Why was this refused?",
  method: "Method",
  path: "Path",
  ip: "From IP address",
  resources: "Acts on",
  body: "Body",
  /** @type {Record<string, string>} */
  errors: { path: "The path must start with /", ip: "Enter an IP address, such as 203.0.113.7" },
  passed: "Passed",
  failed: "Failed",
  /** @param {number} status
   * @param {string} reason */
  refused: (status, reason) => `Refused — ${status}: ${reason}.`,
  allowedRequest: "Allowed.",
  /** @param {string} gate */
  at: (gate) => `At ${gate}: `,
  rotation: "Rotation in progress",
  /** @param {string} time */
  oldUntil: (time) => `Old secret works until ${time}`,
  left: "Time left",
  /** @param {string} when
   * @param {string} from */
  oldUsed: (when, from) => `The old secret was last used ${when}${from}. Give this client the new secret.`,
  oldUnused: "Nobody has used it since the rotation.",
  end: "Stop old secret now",
  endTitle: "Stop the old secret now?",
  endBody:
    "This can't be undone. Requests with the old secret will be refused at once. The new secret keeps working.",
  /** @param {string} name */
  ended: (name) => `The old secret of "${name}" has stopped working.`,
  addDay: "Extend by 1 day",
};

const form = {
  /** @type {Record<string, string>} */
  titles: { api: "New API key", admin: "New admin key" },
  edit: "Edit key",
  created: "Key created",
  create: "Create key",
  save: "Save changes",
  link: "Copy link",
  linked: "A link filled in this form. Check it before you create the key.",
  /** @param {string} what
   * @param {string} value */
  unknown: (what, value) =>
    `The link asked for ${what} ${value}, which ${what === "resources" || (/^(acc|pre|sco)/.test(what) && !value.includes("*")) ? "isn't here" : "a link can't set"}.`,
  /** @param {string} name */
  updated: (name) => `Updated "${name}".`,
  /** @param {string} name */
  copyOf: (name) => `${name} copy`,
  lost: "The key was created, but its secret was lost in transit. Rotate the key to get a new one.",
  unsaved: "What you entered will be lost.",
  start: "What is the key for?",
  // Purposes to start from: the suggested name, and what the other fields are filled in with, as
  // in a link to the form, and the tab of the snippets.
  /** @type {[string, string, Record<string, string>, string?][]} */
  templates: [
    ["GitHub Actions", "Deploy from a workflow", { preset: "deploy", expires_in: "3mo" }, "github"],
    ["GitLab CI", "Deploy from a pipeline", { preset: "deploy", expires_in: "3mo" }, "gitlab"],
    [
      "One unikernel",
      "Restart, update and watch it",
      {
        scope: "unikernel:list,unikernel:console,unikernel:restart,unikernel:update",
        resources: "unikernel/",
        expires_in: "3mo",
      },
    ],
    ["Status page", "See what is running", { scope: "unikernel:list,monitoring:read", expires_in: "1y" }],
    ["Nightly backup", "Download volumes", { preset: "backup", expires_in: "1y" }],
    ["Read only", "List and watch unikernels", { preset: "read", expires_in: "3mo" }],
  ],
  /** @type {Record<string, string>} */
  labels: {
    name: "Name", owner: "Owner", tags: "Tags", note: "Note", account: "Account", scopes: "Scopes", resources: "Resources", expires_in: "Expires", end: "Expires",
    expires_at: "Date and time", not_before: "Not valid before", allowed_ips: "Allowed IP addresses", rate_limit: "Rate limit",
    window: "Rate limit per", quota: "Quota", period: "Quota per", metadata: "Metadata",
  }, // prettier-ignore
  /** @type {Record<string, string>} */
  hints: {
    tags: "Separated by commas.",
    resources:
      "Leave empty to allow everything that the scopes allow. End a name with * to allow all names that start like it: web-*",
    allowed_ips: "One IP address or range per line. Leave empty to allow any.",
    rate_limit: "Bursts up to this many; refills evenly.",
    quota: "Resets at 00:00 UTC.",
  },
  /** @param {string} end */
  keep: (end) => `keep ${end || "never"}`,
  date: "until a date…",
  /** @type {Record<string, string>} */
  units: { s: "second", h: "hour", d: "day", w: "week", mo: "month", y: "year" },
  more: "Restrictions and limits",
  per: { rate_limit: "requests per", quota: "requests per calendar" },
  unlimited: "no limit",
  windows: { "1s": "second", "1m": "minute", "1h": "hour", "1d": "day" },
  periods: { day: "day", month: "month" },
  /** @param {string} entries */
  kept: (entries) => `Other metadata is kept: ${entries}`,
  manage: "Can sign in here and manage every key",
  /** @param {string} what
   * @param {string} account */
  can: (what, account) => `Can ${what} as ${account}`,
  /** @param {string} resources */
  only: (resources) => `only ${resources}`,
  /** @param {number} n */
  others: (n) => `${n} more`,
  /** @param {string} day */
  since: (day) => `starting ${day}`,
  /** @param {string} day */
  until: (day) => (day ? `until ${day}` : "without an end"),
  /** @param {string} networks */
  from: (networks) => `from ${networks}`,
  network: "network",
  request: "request",
  /** @param {string} requests
   * @param {string} window */
  rate: (requests, window) => `at most ${requests} per ${duration(window).replace(/^1 /, "")}`,
  wrong: {
    name: "Enter a name, such as GitHub CI.",
    /** @param {number} max */
    long: (max) => `Use at most ${count(max)} characters.`,
    scopes: "Choose at least one scope.",
    /** @param {string} account
     * @param {string} scopes */
    beyond: (account, scopes) =>
      `Account ${account} doesn't allow ${scopes}. Remove it or choose another account.`,
    /** @param {string} account */
    unbound: (account) => `Keys of account ${account} must be limited to some resources.`,
    unnamed: "Enter a name, or * for all.",
    date: "Enter a date and time.",
    past: "That time has passed.",
    /** @param {string} latest */
    late: (latest) => `The latest possible end is ${latest}.`,
    starts: "Choose a time before the key expires.",
    /** @param {string} text */
    address: (text) =>
      `"${text}" isn't an IP address or range. Write for example 203.0.113.7 or 203.0.113.0/24.`,
    /** @param {string} max */
    number: (max) => `Enter a whole number up to ${max}, or leave this empty for no limit.`,
    /** @param {string} max */
    lifetime: (max) => `A secret can be valid for at most ${max} from its creation. Choose an earlier end.`,
  },
  /** @param {string} account
   * @param {string} scopes */
  dropped: (account, scopes) => `Removed ${scopes}, which ${account} doesn't allow.`,
  /** @param {string} account
   * @param {string} resources */
  within: (account, resources) => `Keys of account ${account} can act only on ${resources}.`,
  /** The types that have another name in Mollymawk.
   * @type {Record<string, string>} */
  types: { block: "volume (block)" },
  type: "Type of resource",
  resource: "name",
  /** @param {string} resource */
  remove: (resource) => `Remove ${resource}`,
  /** @param {string} resources */
  added: (resources) => `Added ${resources}`,
  /** @param {string} resource */
  removed: (resource) => `Removed ${resource}`,
  deleted: "This key was deleted while you were editing it.",
  clash: "Someone else changed this key while you were editing. What you entered is kept.",
  theirs: "Show their change",
  unlisted: "Only its state or secret has changed.",
  empty: "none",
};

const scopes = {
  // Verbs that differ from the name of the action.
  /** @type {Record<string, string>} */
  verbs: { "*": "manage", console: "watch", rollback: "roll back", upload: "overwrite", write: "change" },
  /** @type {Record<string, string>} */
  nouns: {
    unikernel: "unikernels",
    block: "volumes",
    instance: "instances",
    monitoring: "monitoring",
    "*": "everything but monitoring",
  },
  // Sentences that say more than the verb and the noun.
  /** @type {Record<string, string>} */
  sentences: {
    "unikernel:console": "Watch a unikernel's console",
    "unikernel:create": "Create or replace unikernels",
    "unikernel:rollback": "Roll back an update",
    "unikernel:scale": "Change the number of instances",
    "unikernel:update": "Update to another build",
    "block:upload": "Overwrite a volume's data",
    "block:download": "Download a volume's data",
  },
  /** @type {Record<string, string>} */
  presets: {
    backup: "download volumes",
    read: "list and watch",
    deploy: "read, create, update, restart, roll back",
    full: "everything but monitoring",
  },
  /** @param {number} n
   * @param {number} of */
  count: (n, of) => `${n} of ${of} selected`,
  later: "all, and those added later",
  /** @param {string} account */
  refused: (account) => `not allowed for ${account}`,
};

const secret = {
  warning: "Copy your key now. You won't be able to see it again.",
  saved: "I've saved it",
  done: "Done",
  locked: "Copy the key before you close this.",
  use: "Use the key",
  /** @type {Record<string, string>} */
  tabs: { curl: "curl", github: "GitHub Actions", gitlab: "GitLab CI", shell: "Shell" },
  /** @type {Record<string, string>} */
  hints: {
    curl: "First run this command and paste the key:",
    github: "Save the key as the repository secret MOLLYGATE_KEY.",
    gitlab: "Save the key as the masked CI/CD variable MOLLYGATE_KEY.",
    shell: "Set MOLLYGATE_KEY to the key in the environment.",
  },
  /** @type {Record<string, string>} */
  setUp: { curl: "read -rs MOLLYGATE_KEY" },
  gate: "Also set MOLLY to the gate's URL.",
  forbidden: "This key can't list unikernels: replace the path with one that it may call.",
  waiting: "Waiting for the first request…",
  /** @param {string} route
   * @param {string} ip */
  first: (route, ip) => `First request: ${route} from ${ip}`,
  denied: "A request was refused. The key's page shows why.",
  /** @param {string} until */
  until: (until) =>
    `The old secret works until ${until}. Replace it everywhere before then. The key's page shows who still uses it.`,
  admin: "Sign in with it at this address, or send it as a Bearer token to the admin API.",
};

const search = {
  label: "Search by name, ID or paste a key",
  scan: "Scan files for keys",
  revoke: "Revoke now",
  /** @param {string} words */
  all: (words) => `All API keys that match “${words}”`,
  none: "No key or page matches.",
  damaged: "That isn't a whole key: part of it is missing or changed.",
  /** @param {string} name
   * @param {string} status */
  identified: (name, status) => `This is “${name}”, ${status}.`,
  unknown: "No key here has this secret. It was replaced or deleted, or it belongs to another server.",
  /** @param {string[]} places */
  incomplete: (places) => `Incomplete or damaged keys: ${places.join(", ")}`,
  admin: "admin key",
  foreign: "Not known here: deleted, or of another server",
  /** @param {number} keys
   * @param {number} files
   * @param {string} size */
  found: (keys, files, size) =>
    `${keys ? `${counted(keys, "key")} found` : "No keys found"} in ${counted(files, "file")} (${size}).`,
  privacy: "Your browser reads the files and sends only key IDs. You can also drop files on any page.",
};

const audit = {
  /** @type {Record<string, string>} */
  actions: {
    create: "created",
    edit: "changed",
    rotate: "rotated",
    revoke: "revoked",
    disable: "disabled",
    enable: "enabled",
    delete: "deleted",
    import: "imported",
    "accept clock": "accepted the server's clock",
    compact: "compacted the store",
    "create sign-in link": "created a sign-in link",
    "use sign-in link": "signed in with a link",
    "end sign-in links": "ended their own sign-in links and sessions",
    repair: "repaired the store",
    restore: "restored a backup at all gates",
    "accept store": "accepted the shared store, which had lost changes",
  },
  /** @type {Record<string, string>} */
  actors: { "caddy-admin": "Command line", mollygate: "Mollygate", "": "Unknown" },
  /** @type {Record<string, string>} */
  fields: {
    allowed_ips: "addresses",
    not_before: "valid from",
    expires_at: "expires",
    previous_valid_until: "old secret until",
    metadata: "changed",
  },
  none: "none",
  /** @type {Record<string, string>} */
  emptied: { allowed_ips: "any address allowed", resources: "no longer limited" },
  /** @param {string} requests
   * @param {string} window */
  limit: (requests, window) => `${requests} requests per ${window}`,
  oldStopped: "— old secret stopped at once",
  /** @param {string} time */
  oldUntil: (time) => `— old secret until ${time}`,
  deleted: "(deleted)",
  /** @param {string} zone */
  zone: (zone) => `Times in ${zone}`,
  filters: { action: "Action", actor: "Changed by", token_id: "Key", from: "From", to: "To" },
  any: "Any",
  clear: "Clear filters",
  empty: "No entries",
  order: "Choose a date that isn't before the first one.",
  more: "Load more",
  /** @param {string} format */
  export: (format) => `Export ${format.toUpperCase()}`,
  /** @param {number} n
   * @param {boolean} more */
  exported: (n, more) => `Exported ${more ? "the newest " : ""}${counted(n, "entry", "entries")}.`,
};

export const text = {
  brand: "Mollygate",
  documentation: "https://github.com/mollygate/mollygate/blob/main/docs",
  pages: {
    overview: "Overview",
    keys: "API keys",
    admin: "Admin keys",
    audit: "Audit log",
    settings: "Settings",
  },
  navigation: "Pages",
  skip: "Skip to the content",
  newKey: "New API key",
  newAdminKey: "New admin key",
  cancel: "Cancel",
  close: "Close",
  copy: "Copy",
  copied: "Copied",
  copyFailed: "Couldn't copy. Press Ctrl+C — the text is selected.",
  dismiss: "Dismiss",
  loading: "Loading…",
  retry: "Try again",
  outdated: "Can't load this part of the dashboard. Mollygate may have been updated: reload the page.",
  reload: "Reload",
  never: "never",
  offline: "Can't reach the server. What you see may be out of date.",
  behind: "This gate has lost contact with the shared store.",
  notFound: {
    title: "There is no such page",
    back: "Go to the overview",
  },
  discard: { title: "Discard your changes?", stay: "Keep editing", leave: "Discard" },
  status: {
    active: "active",
    expiring: "expiring",
    expired: "expired",
    not_yet_valid: "not yet valid",
    disabled: "disabled",
    revoked: "revoked",
    damaged: "damaged",
    rotating: "rotating",
  },
  user: {
    label: "Your account",
    /** @param {string} until */
    until: (until) => `Signed in until ${until}`,
    signOut: "Sign out",
    everywhere: "Sign out everywhere",
    everywhereBody:
      "Ends all your dashboard sessions, on every device, and your unused sign-in links. Admin keys keep working.",
    theme: "Theme",
    themes: { system: "System theme", light: "Light theme", dark: "Dark theme" },
    zones: { local: "Local time", utc: "UTC" },
    docs: "Documentation",
    errors: "Error codes",
  },
  signIn: {
    title: "Sign in to Mollygate",
    expired: "Your session has ended. Sign in to continue; nothing you entered is lost.",
    key: "Admin key",
    hint: "The key isn't stored in your browser. You'll be signed out after 12 hours.",
    help: "No key? On the server, run this command and open the link that it prints.",
    command: "caddy api-token open",
    link: "This link signs you in. Continue only if you created it yourself with caddy api-token open, or if your own first run of Mollygate printed it. If someone sent it to you, cancel: your changes would be recorded under their name.",
    /** @param {string} user */
    instead: (user) => `You are signed in as ${user}. Continuing ends that session.`,
    malformed: "That isn't a valid admin key. Check that you copied all of it — it starts with mma_.",
    missing: "Enter your admin key.",
    submit: "Sign in",
  },
  chart,
  health,
  overview,
  nodes,
  settings,
  keys,
  actions,
  form,
  secret,
  scopes,
  key,
  search,
  audit,
};
