// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";

Object.assign(globalThis, { document: { baseURI: "http://localhost/" } });
const { can, needed, tagsOf } = await import("../static/actions.js");

test("needed keeps the used scopes that are granted", () => {
  assert.deepEqual(
    needed(["unikernel:*", "block:read"], ["unikernel:list", "unikernel:create", "unikernel:list"]),
    ["unikernel:create", "unikernel:list"],
  );
  assert.deepEqual(needed(["a:b"], ["c:d"]), []);
});

test("tagsOf splits the list", () => {
  assert.deepEqual(tagsOf(/** @type {any} */ ({ metadata: { tags: "a, b,,a" } })), ["a", "b"]);
  assert.deepEqual(tagsOf(/** @type {any} */ ({ metadata: null })), []);
});

test("can knows what a state allows", () => {
  const allowed = (/** @type {string} */ status) =>
    Object.keys(can).filter((name) => can[name](/** @type {any} */ ({ status })));
  assert.deepEqual(allowed("active"), ["change", "disable"]);
  assert.deepEqual(allowed("disabled"), ["change", "enable"]);
  assert.deepEqual(allowed("revoked"), []);
  assert.deepEqual(allowed("expired"), []);
});
