// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import * as draft from "../static/draft.js";
import { prefs } from "../static/prefs.js";

prefs.zone = "utc";
const now = Date.parse("2026-11-29T08:36:43Z");

/** @param {string} name
 * @param {string[]} presets */
const scope = (name, ...presets) => ({ name, presets, routes: [`POST /${name}`] });

/** @type {import("../static/draft.js").Catalog} */
const catalog = {
  scopes: [
    scope("unikernel:list", "read", "full"),
    scope("unikernel:create", "full"),
    scope("block:download", "backup", "full"),
    scope("monitoring:read"),
  ],
  accounts: [
    { name: "default", max_scopes: null, max_resources: null },
    { name: "bob", max_scopes: ["unikernel:list"], max_resources: null },
    { name: "eve", max_scopes: null, max_resources: ["unikernel/web-*", "block/*"] },
  ],
  types: [
    { name: "instance", aliases: [], container: true },
    { name: "unikernel", aliases: [], container: false },
    { name: "block", aliases: ["volume"], container: false },
  ],
  max: "2y",
};

/** @type {any} */
const token = {
  id: "uaaQY5vkdXbc", kind: "api", name: "CI", account: "default", scopes: ["unikernel:*"], resources: ["unikernel/web"], expires_at: "2027-03-09T10:00:30Z",
  not_before: "2026-12-04T08:36:43Z", allowed_ips: ["10.0.0.0/8"], rate_limit: { requests: 60, window: "1m" }, quota: null,
  metadata: { owner: "web", ticket: "#1" },
}; // prettier-ignore

test("durations end like the server's", () => {
  /** @type {[string, string, string][]} */
  const cases = [
    ["2026-01-31T10:00:00Z", "1mo", "2026-02-28T10:00:00.000Z"],
    ["2024-02-29T10:00:00Z", "1y", "2025-02-28T10:00:00.000Z"],
    ["2026-11-30T10:00:00Z", "3mo", "2027-02-28T10:00:00.000Z"],
    ["2026-11-29T10:00:00Z", "2y", "2028-11-29T10:00:00.000Z"],
    ["2026-11-29T10:00:00Z", "2w", "2026-12-13T10:00:00.000Z"],
    ["2026-11-29T10:00:00Z", "12h", "2026-11-29T22:00:00.000Z"],
    ["2026-11-29T10:00:00Z", "90s", "2026-11-29T10:01:30.000Z"],
  ];
  for (const [start, duration, end] of cases) {
    assert.equal(new Date(draft.endOf(duration, Date.parse(start))).toISOString(), end, duration);
  }
  for (const wrong of ["", "5m", "0d", "-1d", "never", "constructor", "date", "3", "1mo2d"]) {
    assert.ok(Number.isNaN(draft.endOf(wrong, now)), wrong);
  }
  assert.equal(draft.fits("2y", catalog, now), true);
  assert.equal(draft.fits("731d", catalog, now), true);
  assert.equal(draft.fits("25mo", catalog, now), false);
  assert.equal(draft.fits("never", catalog, now), false);
  assert.equal(draft.fits("never", { ...catalog, max: "unlimited" }, now), true);
  assert.equal(draft.inWords("1mo"), "1 month");
  assert.equal(draft.inWords("45d"), "45 days");
});

test("wildcards are kept until a scope of theirs is removed", () => {
  const { scopes } = catalog;
  assert.deepEqual(draft.toggle(["unikernel:*"], "block:download", scopes), [
    "block:download",
    "unikernel:*",
  ]);
  assert.deepEqual(draft.toggle(["unikernel:*"], "unikernel:list", scopes), ["unikernel:create"]);
  assert.deepEqual(draft.toggle(["*"], "block:*", scopes), ["unikernel:create", "unikernel:list"]);
  assert.deepEqual(draft.toggle(["unikernel:list"], "unikernel:*", scopes), ["unikernel:*"]);
  assert.deepEqual(draft.toggle(["*", "monitoring:read"], "monitoring:read", scopes), ["*"]);
  assert.deepEqual(draft.namesOf(["*"], scopes), ["unikernel:list", "unikernel:create", "block:download"]);
  assert.deepEqual([...draft.presetsOf(scopes).keys()], ["read", "backup", "full"]);
});

test("an untouched key has no changes", () => {
  const old = draft.draftOf(token);
  assert.deepEqual(draft.changesOf(old, draft.draftOf(token), "api"), {});
  assert.equal(draft.bodyOf(old, "api").expires_in, undefined);
});

test("only changes are sent", () => {
  const old = { ...draft.draftOf(token), not_before: "" };
  const changed = {
    ...old,
    owner: "",
    tags: "a, b",
    allowed_ips: "",
    rate_limit: "",
    quota: "10,000",
    resources: [],
    expires_in: "1y",
  };
  assert.deepEqual(draft.changesOf(old, changed, "api"), {
    metadata: { owner: null, tags: "a, b" }, allowed_ips: null, rate_limit: null, quota: { requests: 10000, period: "month" },
    resources: null, expires_in: "1y",
  }); // prettier-ignore
  const dated = { ...old, expires_in: "date", expires_at: "2027-01-02T03:04" };
  assert.deepEqual(draft.changesOf(old, dated, "api"), { expires_at: "2027-01-02T03:04:00Z" });
});

test("a body has what the kind of key has", () => {
  const body = draft.bodyOf({ ...draft.draftOf(), name: " CI ", scopes: ["*"] }, "api");
  assert.deepEqual(body, {
    name: "CI", metadata: {}, allowed_ips: null, not_before: null, expires_in: "3mo", account: "default", scopes: ["*"],
    resources: null, rate_limit: null, quota: null,
  }); // prettier-ignore
  assert.equal("scopes" in draft.bodyOf(draft.draftOf(), "admin"), false);
});

test("all faults are found at once", () => {
  const bad = {
    ...draft.draftOf(), name: " ", expires_in: "date", allowed_ips: "10.0.0.1\nhost", rate_limit: "sixty", quota: "0.5",
  }; // prettier-ignore
  assert.deepEqual(Object.keys(draft.check(bad, "api", catalog, now)), [
    "name", "scopes", "expires_at", "allowed_ips", "rate_limit", "quota",
  ]); // prettier-ignore
  assert.match(draft.check(bad, "api", catalog, now).allowed_ips, /host/);
  const good = {
    ...bad,
    name: "CI",
    scopes: ["*"],
    expires_at: "2027-01-01T00:00",
    allowed_ips: "10.0.0.1, ::1\n2001:db8::/32",
    rate_limit: "1,000",
    quota: "",
  };
  assert.deepEqual(draft.check(good, "api", catalog, now), {});
  /** @type {[Partial<import("../static/draft.js").Draft>, string, RegExp][]} */
  const cases = [
    [{ expires_at: "2026-11-29T08:00" }, "expires_at", /passed/],
    [{ expires_at: "2028-11-29T09:00" }, "expires_at", /29 Nov 2028, 08:36/],
    [{ not_before: "2027-01-01T00:00" }, "not_before", /before/],
    [{ account: "bob", scopes: ["unikernel:list", "unikernel:create"] }, "scopes", /unikernel:create/],
    [{ rate_limit: "9000000000" }, "rate_limit", /1,000,000,000/],
    [{ account: "bob", scopes: ["unikernel:*"] }, "scopes", /unikernel:\*/],
    [{ account: "eve" }, "resources", /Keys of account eve must be limited/],
  ];
  for (const [change, field, words] of cases)
    assert.match(draft.check({ ...good, ...change }, "api", catalog, now)[field], words);
  assert.deepEqual(
    draft.check(
      { ...bad, name: "Carol", expires_in: "1y", allowed_ips: "", rate_limit: "", quota: "" },
      "admin",
      catalog,
      now,
    ),
    {},
  );
});

test("the summary says what the key can do", () => {
  const made = {
    ...draft.draftOf(),
    account: "alice",
    scopes: ["unikernel:create", "unikernel:list"],
    allowed_ips: "10.0.0.1\n10.0.0.2",
  };
  /** @param {object} change */
  const summary = (change) => draft.summary({ ...made, ...change }, "api", catalog, now);
  assert.equal(summary({}), "Can list and create unikernels as alice, until 28 Feb 2027, from 2 networks");
  assert.equal(summary({ scopes: ["*", "monitoring:read"], allowed_ips: "", expires_in: "never" }),
    "Can manage everything but monitoring and read monitoring as alice, without an end"); // prettier-ignore
  assert.equal(summary({ scopes: ["unikernel:*", "block:download"], allowed_ips: "", not_before: "2026-12-04T08:00" }),
    "Can manage unikernels and download volumes as alice, starting 4 Dec 2026, until 4 Mar 2027"); // prettier-ignore
  assert.equal(summary({ resources: ["block/db", "instance/default", "unikernel/api", "unikernel/web-*"], allowed_ips: "" }),
    "Can list and create unikernels as alice, only api and web-* (unikernels), db (volumes) and default (instances), until 28 Feb 2027"); // prettier-ignore
  assert.equal(summary({ scopes: [] }), "");
  assert.match(draft.summary(draft.draftOf(), "admin", catalog, now), /^Can sign in .* until 28 Feb 2027$/);
});

test("resources are typed and pasted in several forms", () => {
  const all = (/** @type {string} */ text, type = "unikernel") =>
    draft.resourcesIn(text, type, catalog.types);
  assert.deepEqual(all("web-*"), ["unikernel/web-*"]);
  assert.deepEqual(all("db", "block"), ["block/db"]);
  assert.deepEqual(all("Volume/db"), ["block/db"]);
  assert.deepEqual(all(" unikernel/a,block/b\n\tapi  instance/c, unikernel/a,"), ["unikernel/a", "block/b", "unikernel/api", "instance/c"]); // prettier-ignore
  assert.deepEqual(all("host/a block/ block/a/b"), ["host/a", "block/", "block/a/b"]);
  assert.deepEqual(all(" , \n"), []);
  assert.equal(
    draft.resourceWords(["unikernel/a", "unikernel/b", "unikernel/c", "unikernel/d", "project/x"]),
    "x (project) and a, b and 2 more (unikernels)",
  );
  assert.deepEqual(draft.boundsOf(catalog, "eve"), ["block/*", "unikernel/web-*"]);
  assert.deepEqual(draft.boundsOf(catalog, "bob"), []);
});

test("a key that is limited to an instance can't list unikernels", () => {
  const can = (/** @type {object} */ change) => draft.canList({ ...token, ...change });
  assert.ok(can({}));
  assert.ok(can({ resources: null }));
  assert.ok(!can({ resources: ["instance/default", "unikernel/web"] }));
  assert.ok(!can({ scopes: ["block:*"] }));
});

test("a link limits a key to resources", () => {
  const query = { name: "CI", scope: "unikernel:list", resources: "volume/db,unikernel/web-*,host/x,unikernel/,block/db" }; // prettier-ignore
  const { draft: made, unknown } = draft.fromLink(query, catalog, now);
  assert.deepEqual(made.resources, ["block/db", "unikernel/web-*"]);
  assert.deepEqual(unknown, [["resources", "host/x"], ["resources", "unikernel/"]]); // prettier-ignore
  const link = Object.fromEntries(Object.entries(draft.toLink(made, catalog)).filter(([, value]) => value));
  assert.equal(link.resources, "block/db,unikernel/web-*");
  assert.deepEqual(draft.fromLink(/** @type {any} */ (link), catalog, now), { draft: made, unknown: [] });
});

test("a link fills in the form, except wildcards and the kind", () => {
  const query = {
    name: "CI", preset: "read", scope: "*,block:download,nope:x", account: "nobody", expires_in: "45d", kind: "admin",
    allowed_ips: "10.0.0.1,10.0.0.2", constructor: "x",
  }; // prettier-ignore
  const { draft: made, unknown } = draft.fromLink(query, catalog, now);
  assert.deepEqual(made.scopes, ["block:download", "unikernel:list"]);
  assert.equal(made.account, "default");
  assert.equal(made.expires_in, "45d");
  assert.deepEqual(unknown, [["scope", "*"], ["scope", "nope:x"], ["account", "nobody"], ["kind", "admin"], ["constructor", "x"]]); // prettier-ignore
  assert.deepEqual(draft.fromLink({ preset: "wrong", expires_in: "3y" }, catalog, now).unknown, [["preset", "wrong"], ["expires_in", "3y"]]); // prettier-ignore
  assert.equal(draft.fromLink({ expires_in: "3600" }, catalog, now).draft.expires_in, "3600s");
  const link = Object.fromEntries(Object.entries(draft.toLink(made, catalog)).filter(([, value]) => value));
  assert.deepEqual(draft.fromLink(/** @type {any} */ (link), catalog, now), { draft: made, unknown: [] });
  assert.equal(
    draft.toLink({ ...made, scopes: ["unikernel:*"] }, catalog).scopes,
    "unikernel:list,unikernel:create",
  );
});

test("two edits are merged", () => {
  const base = draft.draftOf(token);
  const mine = { ...base, name: "mine", tags: "a" };
  const other = { ...base, name: "theirs", owner: "ops" };
  const { draft: merged, theirs } = draft.merge(base, mine, other);
  assert.equal(merged.name, "mine");
  assert.equal(merged.tags, "a");
  assert.equal(merged.owner, "ops");
  assert.deepEqual(theirs, { name: "theirs", owner: "ops" });
});
