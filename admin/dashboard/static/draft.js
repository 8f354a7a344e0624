// @ts-check
// A key's form as data: what is typed, what the API gets, what is wrong and what it means.
import { count, counted, date, dateTime, day, list } from "./format.js";
import { prefs } from "./prefs.js";
import { text } from "./text.js";

const { form, scopes: words } = text;

/** @typedef {import("../types").Token} Token */
/** @typedef {import("../types").Scope} Scope */
/** @typedef {Token["kind"]} Kind */
/** @typedef {import("../types").ResourceType} ResourceType */
/** @typedef {{scopes: Scope[], accounts: import("../types").Settings["accounts"], types: ResourceType[], max: string}} Catalog */
/** @typedef {ReturnType<typeof draftOf>} Draft */

/** Reports whether a grant includes a scope. A grant is the scope's name, "resource:*", or "*",
 * which includes all scopes except explicit ones.
 * @param {string} grant
 * @param {string} name */
export const covers = (grant, name) =>
  grant === name ||
  (grant.endsWith(":*") && name.startsWith(grant.slice(0, -1))) ||
  (grant === "*" && !name.startsWith("monitoring:"));

/** Reports whether a key can list the unikernels. The list doesn't say on which instance they are.
 * @param {Token} token */
export const canList = ({ scopes, resources }) =>
  !!scopes?.some((grant) => covers(grant, "unikernel:list")) &&
  !resources?.some((resource) => resource.startsWith("instance/"));

/** Returns the names of the scopes that grants include.
 * @param {string[]} grants
 * @param {Scope[]} scopes */
export const namesOf = (grants, scopes) =>
  scopes.map(({ name }) => name).filter((name) => grants.some((grant) => covers(grant, name)));

/** Returns the presets' scopes by name, narrowest first.
 * @param {Scope[]} scopes
 * @returns {Map<string, string[]>} */
export const presetsOf = (scopes) =>
  new Map(
    [...new Set(scopes.flatMap(({ presets }) => presets))]
      .map(
        (preset) =>
          /** @type {[string, string[]]} */ ([
            preset,
            scopes.filter(({ presets }) => presets.includes(preset)).map(({ name }) => name),
          ]),
      )
      .sort(([, a], [, b]) => a.length - b.length),
  );

/** Reports whether an account allows a grant.
 * @param {string} grant
 * @param {Catalog} catalog
 * @param {string} account */
export function allowed(grant, { scopes, accounts }, account) {
  const limits = accounts.find(({ name }) => name === account)?.max_scopes;
  return !limits || namesOf([grant], scopes).every((name) => limits.some((limit) => covers(limit, name)));
}

/** Returns grants without the scopes that an account doesn't allow. Wildcards that it allows in
 * part are replaced by the scopes that it allows.
 * @param {string[]} grants
 * @param {Catalog} catalog
 * @param {string} account */
export const within = (grants, catalog, account) =>
  [
    ...new Set(
      grants.flatMap((grant) =>
        allowed(grant, catalog, account)
          ? [grant]
          : namesOf([grant], catalog.scopes).filter((name) => allowed(name, catalog, account)),
      ),
    ),
  ].sort();

/** Adds or removes a scope or "resource:*". Removing it splits the wildcards that include it.
 * @param {string[]} grants
 * @param {string} grant
 * @param {Scope[]} scopes */
export function toggle(grants, grant, scopes) {
  const around = grants.filter((other) => covers(other, grant));
  const added = around.length ? namesOf(around, scopes).filter((name) => !covers(grant, name)) : [grant];
  const others = grants.filter((other) => !around.includes(other) && !covers(grant, other));
  return [...new Set([...others, ...added])].sort();
}

/** Returns when a duration of the API ends, or NaN if it isn't one. Months and years are
 * calendar units, clamped to the last day of the month.
 * @param {string} duration
 * @param {number} now */
export function endOf(duration, now) {
  const [, n, unit] = /^([1-9]\d{0,8})(s|h|d|w|mo|y)$/.exec(duration) ?? [];
  const months = /** @type {Record<string, number>} */ ({ mo: 1, y: 12 })[unit];
  if (!months)
    return (
      now +
      Number(n) * /** @type {Record<string, number>} */ ({ s: 1000, h: day / 24, d: day, w: 7 * day })[unit]
    );
  const end = new Date(now);
  end.setUTCMonth(end.getUTCMonth() + Number(n) * months);
  if (end.getUTCDate() !== new Date(now).getUTCDate()) end.setUTCDate(0);
  return +end;
}

/** Returns the latest end that the server allows.
 * @param {Catalog} catalog
 * @param {number} now */
const latestEnd = ({ max }, now) => endOf(max, now) || Infinity;

/** Reports whether the server accepts a duration.
 * @param {string} duration
 * @param {Catalog} catalog
 * @param {number} now */
export const fits = (duration, catalog, now) =>
  endOf(duration, now) <= latestEnd(catalog, now) || (duration === "never" && catalog.max === "unlimited");

/** Returns a duration in words.
 * @param {string} duration */
export const inWords = (duration) => counted(parseInt(duration), form.units[duration.replace(/\d+/, "")]);

const utc = () => prefs.zone === "utc";

/** Returns a time as the value of an input, in the chosen zone.
 * @param {string | null | undefined} time */
function toInput(time) {
  const at = new Date(time ?? NaN);
  return time ? new Date(+at - (utc() ? 0 : at.getTimezoneOffset() * 60_000)).toISOString().slice(0, 16) : "";
}

/** Returns the time that an input's value means, or NaN.
 * @param {string} value */
const fromInput = (value) => Date.parse(value + (utc() ? "Z" : ""));

/** @param {string} value */
const iso = (value) => new Date(fromInput(value)).toISOString().replace(".000", "");

/** Returns what the form shows for a key, or for a new one. Its members are called as the
 * API's. Without expires_in the key keeps its end.
 * @param {Partial<Token>} [token] */
export function draftOf(token = {}) {
  const { owner = "", tags = "", note = "", ...metadata } = token.metadata ?? {};
  return {
    name: token.name ?? "", owner, tags, note, metadata,
    account: token.account ?? "default",
    scopes: token.scopes ?? [],
    resources: token.resources ?? [],
    expires_in: token.id ? "" : "3mo",
    expires_at: "",
    end: token.expires_at ?? "",
    not_before: toInput(token.not_before),
    allowed_ips: (token.allowed_ips ?? []).join("\n"),
    rate_limit: `${token.rate_limit?.requests ?? ""}`,
    window: token.rate_limit?.window ?? "1m",
    quota: `${token.quota?.requests ?? ""}`,
    period: `${token.quota?.period ?? "month"}`,
  }; // prettier-ignore
}

/** Returns the different words of a text.
 * @param {string} text */
export const split = (text) => [...new Set(text.split(/[\s,]+/).filter(Boolean))];

/** Returns the different items in order.
 * @param {string[]} items */
export const sorted = (items) => [...new Set(items)].sort();

/** Returns a resource with the name of its type instead of an alias, such as "block/db" for
 * "volume/db", or "" if there is no such type.
 * @param {string} resource
 * @param {ResourceType[]} types */
function canonical(resource, types) {
  const [, alias, rest] = /^([^/]+)\/(.+)$/.exec(resource) ?? [];
  const type = types.find(({ name, aliases }) => [name, ...aliases].includes(alias?.toLowerCase()));
  return type ? `${type.name}/${rest}` : "";
}

/** Returns the resources that a text names. Names without a type are of the given type.
 * @param {string} text
 * @param {string} type
 * @param {ResourceType[]} types */
export const resourcesIn = (text, type, types) =>
  split(text).map((word) => canonical(word, types) || (word.includes("/") ? word : `${type}/${word}`));

/** Returns the resources to which an account limits its keys.
 * @param {Catalog} catalog
 * @param {string} account */
export const boundsOf = ({ accounts }, account) =>
  sorted(accounts.find(({ name }) => name === account)?.max_resources ?? []);

/** Returns the number that is typed, which may have separators.
 * @param {string} typed */
const number = (typed) => Number(typed.replace(/[\s,]/g, ""));

/** Returns a chosen duration for the API, which counts it from now, not from the key's start.
 * @param {Draft} draft
 * @param {number} now */
function lifetime(draft, now) {
  const { expires_in } = draft;
  const end = endOf(expires_in, startOf(draft, now));
  if (end && startOf(draft, now) > now) return { expires_at: new Date(end).toISOString() };
  return expires_in && { expires_in };
}

/** Returns the body that creates a key.
 * @param {Draft} draft
 * @param {Kind} kind
 * @param {number} [now]
 * @returns {Record<string, any>} */
export function bodyOf(draft, kind, now = Date.now()) {
  const { account, scopes, resources, expires_in, expires_at, not_before, window, period } = draft;
  const [owner, tags, note] = [draft.owner.trim(), draft.tags.trim(), draft.note.trim()];
  const [ips, rate, quota] = [split(draft.allowed_ips), number(draft.rate_limit), number(draft.quota)];
  return {
    name: draft.name.trim(),
    metadata: { ...draft.metadata, ...(owner && { owner }), ...(tags && { tags }), ...(note && { note }) },
    allowed_ips: ips.length ? ips : null,
    not_before: not_before ? iso(not_before) : null,
    ...(expires_in === "date" ? { expires_at: iso(expires_at) } : lifetime(draft, now)),
    ...(kind === "api" && {
      account, scopes,
      resources: resources.length ? resources : null,
      rate_limit: rate ? { requests: rate, window } : null,
      quota: quota ? { requests: quota, period } : null,
    }),
  }; // prettier-ignore
}

/** Returns the members of an object that differ from the old ones. Missing ones become null.
 * @param {Record<string, any>} old
 * @param {Record<string, any>} now
 * @returns {Record<string, any>} */
const different = (old, now) =>
  Object.fromEntries(
    Object.keys({ ...old, ...now })
      .filter((key) => JSON.stringify(old[key]) !== JSON.stringify(now[key]))
      .map((key) => [key, now[key] ?? null]),
  );

/** Returns the merge patch from one draft to another.
 * @param {Draft} old
 * @param {Draft} now
 * @param {Kind} kind */
export function changesOf(old, now, kind) {
  const [before, after] = [bodyOf(old, kind), bodyOf(now, kind)];
  const changes = different(before, after);
  if (changes.metadata) changes.metadata = different(before.metadata, after.metadata);
  return changes;
}

/** Combines two edits of a key. What I didn't change becomes theirs. Returns also what they
 * changed.
 * @param {Draft} base
 * @param {Draft} mine
 * @param {Draft} other */
export const merge = (base, mine, other) => ({
  draft: { ...other, .../** @type {Partial<Draft>} */ (different(base, mine)) },
  theirs: different(base, other),
});

/** Returns the time from which a duration counts: the key's start, or now.
 * @param {Draft} draft
 * @param {number} now */
export const startOf = ({ not_before }, now) => Math.max(fromInput(not_before) || 0, now);

/** Returns when the key will expire: Infinity for never, NaN if the date isn't complete.
 * @param {Draft} draft
 * @param {number} now */
function endTime(draft, now) {
  const { expires_in, expires_at, end } = draft;
  if (expires_in === "date") return fromInput(expires_at);
  return endOf(expires_in, startOf(draft, now)) || Date.parse(expires_in ? "" : end) || Infinity;
}

// The maximum length of an owner, tags and a note, as in the API.
const mostMetadata = 1024;

const length = (/** @type {string} */ text) => [...text.trim()].length;

/** Returns what is wrong in a draft, by its member. The server checks the rest.
 * @param {Draft} draft
 * @param {Kind} kind
 * @param {Catalog} catalog
 * @param {number} now
 * @returns {Record<string, string>} */
export function check(draft, kind, catalog, now) {
  const t = form.wrong;
  const [end, latest, dated] = [endTime(draft, now), latestEnd(catalog, now), draft.expires_in === "date"];
  const beyond = draft.scopes.filter((grant) => !allowed(grant, catalog, draft.account));
  const address = split(draft.allowed_ips).find(
    (text) => !/^([\d.]{7,}|[\da-f.]*:[\da-f.:]+)(\/\d+)?$/i.test(text),
  );
  /** @param {string} typed
   * @param {number} max */
  const limit = (typed, max) =>
    typed.trim() &&
    !(number(typed) % 1 === 0 && number(typed) > 0 && number(typed) <= max) &&
    t.number(count(max));
  const all = {
    name: !draft.name.trim() ? t.name : length(draft.name) > 100 && t.long(100),
    owner: length(draft.owner) > mostMetadata && t.long(mostMetadata),
    tags: length(draft.tags) > mostMetadata && t.long(mostMetadata),
    note: length(draft.note) > mostMetadata && t.long(mostMetadata),
    scopes:
      kind === "api" &&
      (!draft.scopes.length ? t.scopes : beyond.length && t.beyond(draft.account, list(beyond))),
    resources:
      kind === "api" &&
      !draft.resources.length &&
      boundsOf(catalog, draft.account).length > 0 &&
      t.unbound(draft.account),
    expires_in: !dated && draft.expires_in && end > latest && t.late(dateTime(latest)),
    expires_at: dated && (!end ? t.date : end <= now ? t.past : end > latest && t.late(dateTime(latest))),
    not_before: fromInput(draft.not_before) >= end && t.starts,
    allowed_ips: address && t.address(address),
    rate_limit: limit(draft.rate_limit, 1e9),
    quota: limit(draft.quota, 1e15 - 1),
  };
  return /** @type {Record<string, string>} */ (
    Object.fromEntries(Object.entries(all).filter(([, wrong]) => wrong))
  );
}

/** @param {string} scope */
export const resourceOf = (scope) => scope.split(":")[0];

/** Returns the verb and the noun of a scope.
 * @param {string} scope */
export function wordsOf(scope) {
  const [resource, action = "*"] = scope.split(":");
  return [words.verbs[action] ?? action, words.nouns[resource] ?? resource];
}

/** Returns resources in words, by type, such as "web-* (unikernels) and db (volumes)".
 * @param {string[]} resources */
export function resourceWords(resources) {
  const order = Object.keys(words.nouns);
  const types = sorted(resources.map((resource) => resource.split("/")[0])).sort(
    (a, b) => order.indexOf(a) - order.indexOf(b),
  );
  return list(
    types.map((type) => {
      const names = resources
        .filter((one) => one.startsWith(`${type}/`))
        .map((one) => one.slice(type.length + 1));
      const shown = names.length > 3 ? [...names.slice(0, 2), form.others(names.length - 2)] : names;
      return `${list(shown)} (${words.nouns[type] ?? type})`;
    }),
  );
}

/** Returns what a key can do in a sentence, or "" if it is nothing.
 * @param {Draft} draft
 * @param {Kind} kind
 * @param {Catalog} catalog
 * @param {number} now */
export function summary(draft, kind, { scopes }, now) {
  const [end, start, networks] = [endTime(draft, now), startOf(draft, now), split(draft.allowed_ips)];
  const anywhere = networks.some((network) => network.endsWith("/0"));
  const rate = number(draft.rate_limit);
  /** @type {Map<string, Set<string>>} */
  const verbs = new Map();
  for (const grant of ["*", ...scopes.flatMap(({ name }) => [`${resourceOf(name)}:*`, name])].filter(
    (grant) => draft.scopes.includes(grant),
  )) {
    const [verb, noun] = wordsOf(grant);
    verbs.set(noun, (verbs.get(noun) ?? new Set()).add(verb));
  }
  const can = list(
    [...verbs].map(
      ([noun, all]) => `${all.has(words.verbs["*"]) ? words.verbs["*"] : list([...all])} ${noun}`,
    ),
  );
  if (kind === "api" && !can) return "";
  return [
    kind === "api" ? form.can(can, draft.account) : form.manage,
    draft.resources.length && form.only(resourceWords(draft.resources)),
    start > now && form.since(date(start)),
    end && form.until(end === Infinity ? "" : date(end)),
    networks.length && !anywhere && form.from(counted(networks.length, form.network)),
    rate > 0 && form.rate(counted(rate, form.request), draft.window),
  ].filter(Boolean).join(", "); // prettier-ignore
}

/** Fills in a draft from a link to the form. Anyone can make such a link, so it can't choose a
 * kind or wildcards, which also grant scopes added later. Returns also what it asked for in
 * vain.
 * @param {Record<string, string>} query
 * @param {Catalog} catalog
 * @param {number} now */
export function fromLink(query, catalog, now) {
  const draft = draftOf();
  if (!catalog.accounts.some(({ name }) => name === draft.account)) draft.account = catalog.accounts[0]?.name;
  const presets = presetsOf(catalog.scopes);
  /** @type {[string, string][]} */
  const unknown = [];
  /** @type {Record<string, (value: string) => boolean>} */
  const known = {
    name: Boolean, owner: Boolean, tags: Boolean, allowed_ips: Boolean,
    account: (value) => catalog.accounts.some(({ name }) => name === value),
    expires_in: (value) => fits(value, catalog, now),
    scopes: (value) => catalog.scopes.some(({ name }) => name === value),
    resources: (value) => canonical(value, catalog.types) !== "",
  }; // prettier-ignore
  for (const [parameter, value] of Object.entries(query)) {
    const key = parameter.replace(/^scope$|^preset$/, "scopes");
    const values =
      parameter === "preset"
        ? (presets.get(value) ?? [value])
        : key === "scopes" || key === "resources"
          ? split(value)
          : [parameter === "expires_in" ? value.replace(/^\d+$/, "$&s") : value];
    for (const one of values) {
      if (!Object.hasOwn(known, key) || !known[key](one)) unknown.push([parameter, one]);
      else if (key === "scopes") draft.scopes = sorted([...draft.scopes, one]);
      else if (key === "resources")
        draft.resources = sorted([...draft.resources, canonical(one, catalog.types)]);
      else Object.assign(draft, { [key]: one });
    }
  }
  return { draft, unknown };
}

/** Returns the parameters of a link that fills in the form like this.
 * @param {Draft} draft
 * @param {Catalog} catalog */
export const toLink = ({ name, owner, tags, account, scopes, resources, expires_in, allowed_ips }, catalog) => ({
  name, owner, tags, account, allowed_ips,
  scopes: namesOf(scopes, catalog.scopes).join(","),
  resources: resources.join(","),
  expires_in: expires_in !== "date" && expires_in,
}); // prettier-ignore
