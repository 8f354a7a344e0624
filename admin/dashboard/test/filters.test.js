// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { columns, defaults, fit, request, setFilters } from "../static/filters.js";

const now = Date.parse("2026-11-29T12:00:00Z");

test("request makes the API's parameters", () => {
  const set = (/** @type {Record<string, string>} */ query) =>
    Object.fromEntries(Object.entries(request("api", query, now)).filter(([, value]) => value));
  assert.deepEqual(set({}), { kind: "api" });
  assert.deepEqual(set({ expires: "7d" }), {
    kind: "api",
    status: "active",
    expires_before: "2026-12-06T12:00:00.000Z",
  });
  assert.equal(set({ expires: "7d", status: "disabled" }).status, "disabled");
  assert.deepEqual(set({ usage: "never" }), { kind: "api", never_used: true });
  assert.deepEqual(set({ usage: "90d" }), { kind: "api", unused_since: "2026-08-31T12:00:00.000Z" });
  assert.deepEqual(set({ owner: "ops", tag: "ci", page: "2", sort: "name" }), {
    kind: "api",
    owner: "ops",
    tag: "ci",
    sort: "name",
  });
});

test("active names the filters that are set", () => {
  assert.deepEqual(setFilters({ sort: "name", page: "2" }), []);
  assert.deepEqual(setFilters({ q: "a", status: "active" }), ["status", "q"]);
});

test("fit drops the columns of the least importance", () => {
  const names = (/** @type {number} */ width, chosen = defaults) =>
    fit(chosen, width).map(({ name }) => name);
  assert.deepEqual(names(300), []);
  assert.deepEqual(names(450), ["status", "expires"]);
  assert.deepEqual(names(1010), ["status", "key", "scopes", "usage", "expires", "last"]);
  assert.deepEqual(names(2000), defaults);
  assert.ok(names(800, [...defaults, "owner"]).includes("owner"));
  assert.ok(!defaults.includes("resources") && names(900, [...defaults, "resources"]).includes("resources"));
  for (let width = 300; width < 2000; width += 7) {
    const used = fit(columns.map(({ name }) => name), width).reduce((sum, column) => sum + column.width, 0); // prettier-ignore
    assert.ok(used <= Math.max(0, width - 236));
  }
});
