// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";

// These modules read the page's address when they are loaded.
Object.assign(globalThis, { document: { baseURI: "http://keys.test/" }, location: { hash: "" } });
const { grouped, remedy } = await import("../static/refusals.js");
const { scopeUse } = await import("../static/key.js");

/** @typedef {import("../types").Token} Token */

const refusal = {
  time: "2026-11-28T05:00:00Z",
  method: "POST",
  path: "/api/unikernel/destroy",
  scope: "unikernel:destroy",
  code: "insufficient_scope",
  ip: "203.0.113.7",
  user_agent: "curl/8",
};

/** @param {Partial<Token>} change */
const token = (change) =>
  /** @type {Token} */ ({
    name: "CI",
    kind: "api",
    status: "active",
    scopes: ["unikernel:list"],
    allowed_ips: null,
    ...change,
  });

/** @param {Token} of
 * @param {object} cause */
const label = (of, cause) => remedy(of, { ...refusal, ...cause }, () => {})?.label;

test("repeated refusals are collapsed", () => {
  const older = { ...refusal, time: "2026-11-01T00:00:00Z", user_agent: "curl/7" };
  const other = { ...refusal, ip: "203.0.113.8" };
  const [{ id, ...first }, second, ...rest] = grouped([refusal, other, older]);
  assert.deepEqual(first, { ...refusal, count: 2, first: older.time });
  assert.equal(grouped([{ ...refusal, time: "2026-11-29T00:00:00Z" }, refusal])[0].id, id);
  assert.notEqual(second.id, id);
  assert.equal(second.count, 1);
  assert.equal(rest.length, 0);
});

test("a missing scope can be added unless it has been", () => {
  assert.equal(label(token({}), {}), "Add scope unikernel:destroy");
  assert.equal(label(token({ scopes: ["unikernel:*"] }), {}), undefined);
  assert.equal(label(token({ status: "revoked" }), {}), undefined);
  assert.equal(label(token({}), { scope: null }), undefined);
});

test("an address can be allowed if the key has a list of addresses", () => {
  const code = "ip_denied";
  assert.equal(label(token({ allowed_ips: ["10.0.0.0/8"] }), { code }), "Allow 203.0.113.7");
  assert.equal(label(token({ allowed_ips: ["203.0.113.7/32"] }), { code }), undefined);
  assert.equal(label(token({}), { code }), undefined);
});

test("the resources of a key can be edited unless it isn't limited any more", () => {
  const code = "resource_not_allowed";
  assert.equal(label(token({ resources: ["unikernel/web"] }), { code }), "Edit resources…");
  assert.equal(label(token({ resources: null }), { code }), undefined);
  assert.equal(label(token({ resources: ["unikernel/web"], status: "revoked" }), { code }), undefined);
  assert.equal(label(token({ resources: ["unikernel/web"] }), { code: "ambiguous_target" }), undefined);
});

test("what to do about a status depends on the present one", () => {
  assert.equal(label(token({ status: "disabled" }), { code: "disabled_token" }), "Enable");
  assert.equal(label(token({}), { code: "disabled_token" }), undefined);
  assert.equal(label(token({ status: "revoked" }), { code: "revoked_token" }), "New key like this");
  assert.equal(label(token({ status: "expired" }), { code: "expired_token" }), "New key like this");
  assert.equal(label(token({ status: "expired" }), { code: "rate_limited" }), undefined);
  assert.equal(label(token({ status: "not_yet_valid" }), { code: "not_yet_valid" }), undefined);
  assert.equal(label(token({}), { code: "quota_exceeded" }), "Raise limit…");
  assert.equal(label(token({}), { code: "body_timeout" }), undefined);
  assert.equal(label(token({ status: "disabled" }), { code: "" }), undefined);
});

test("only allowed requests use a scope, and wildcards include scopes", () => {
  const catalog = ["unikernel:list", "unikernel:create", "block:create"].map((name) => ({
    name,
    routes: [],
    presets: [],
  }));
  const points = [
    { time: refusal.time, scope: "unikernel:list", outcome: "ok", count: 3 },
    { time: refusal.time, scope: "unikernel:create", outcome: "rate_limited", count: 3 },
  ];
  assert.deepEqual(scopeUse(token({ scopes: ["unikernel:*"] }), catalog, points), {
    used: ["unikernel:list"],
    unused: ["unikernel:create"],
  });
});
