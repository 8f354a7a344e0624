// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { prefs } from "../static/prefs.js";
import { actorName, dayStart, details, isKey, outcome } from "../static/sentences.js";

prefs.zone = "utc";

/** @param {Record<string, string> | null} changes */
const entry = (changes) => ({
  time: "2026-11-28T05:00:00Z",
  actor: "4fQ9Zt2LkVb7",
  action: "edit",
  token_id: "9Zt2LkVb74fQ",
  token_name: "release bot",
  address: null,
  changes,
});

test("actors have names", () => {
  assert.equal(actorName("caddy-admin"), "Command line");
  assert.equal(actorName("mollygate"), "Mollygate");
  assert.equal(actorName("user:caddy-admin"), "caddy-admin");
  assert.equal(actorName("hannes"), "hannes");
  assert.equal(actorName(null), "Unknown");
  assert.ok(isKey("4fQ9Zt2LkVb7"));
  assert.ok(!isKey("user:4fQ9Zt2LkVb7") && !isKey(null));
});

test("a rotation says until when the old secret works", () => {
  assert.equal(outcome(entry(null)), "");
  assert.equal(outcome(entry({ grace: "604800s" })), "— old secret until 5 Dec 2026, 05:00");
  assert.equal(outcome(entry({ grace: "0s" })), "— old secret stopped at once");
  const expires_at = "2026-11-30T00:00:00Z -> 2027-11-28T05:00:00Z";
  assert.equal(outcome(entry({ grace: "604800s", expires_at })), "— old secret until 30 Nov 2026, 00:00");
});

test("lists are compared", () => {
  assert.deepEqual(details(entry({ scopes: "a b -> b c" })), [
    { label: "scopes", words: "", added: ["c"], removed: ["a"] },
  ]);
  assert.deepEqual(details(entry({ allowed_ips: "10.0.0.0/8 -> none" })), [
    { label: "addresses", words: "any address allowed", added: [], removed: ["10.0.0.0/8"] },
  ]);
  assert.deepEqual(details(entry({ resources: "none -> block/db unikernel/web-*" })), [
    { label: "resources", words: "", added: ["block/db", "unikernel/web-*"], removed: [] },
  ]);
  assert.deepEqual(details(entry({ resources: "block/db -> none" })), [
    { label: "resources", words: "no longer limited", added: [], removed: ["block/db"] },
  ]);
  assert.deepEqual(
    details(entry({ scopes: "a b… -> b" })),
    [{ label: "scopes", words: "a b… → b" }],
    "a list cut by the log isn't",
  );
});

test("other changes are in words", () => {
  const words = (/** @type {string} */ field, /** @type {string} */ change) =>
    details(entry({ [field]: change })).map((detail) => `${detail.label} ${detail.words}`)[0];
  assert.equal(
    words("expires_at", "2027-03-09T05:00:00Z -> 2027-06-09T05:00:00Z"),
    "expires 9 Mar 2027 → 9 Jun 2027",
  );
  assert.equal(
    words("expires_at", "2027-03-09T05:00:00Z -> 2027-03-09T06:00:00Z"),
    "expires 9 Mar 2027, 05:00 → 9 Mar 2027, 06:00",
  );
  assert.equal(words("expires_at", "none -> 2027-06-09T05:00:00Z"), "expires never → 9 Jun 2027");
  assert.equal(words("rate_limit", "none -> 60/1m"), "rate limit none → 60 requests per minute");
  assert.equal(
    words("rate_limit", "60/1m -> 1000/90s"),
    "rate limit 60 requests per minute → 1,000 requests per 90 seconds",
  );
  assert.equal(words("quota", "10000/month -> none"), "quota 10,000 requests per month → none");
  assert.equal(words("name", "a -> b"), "name a → b");
  assert.equal(words("metadata", "note, owner"), "changed note, owner");
  assert.equal(words("new_field", "x"), "new field x");
  assert.equal(words("grace", "0s"), undefined);
});

test("days begin in the chosen zone", () => {
  assert.equal(dayStart("2027-03-09"), "2027-03-09T00:00:00.000Z");
  assert.equal(dayStart("2027-02-28", 1), "2027-03-01T00:00:00.000Z");
  prefs.zone = "local";
  assert.equal(dayStart("2027-03-09"), new Date(2027, 2, 9).toISOString());
  prefs.zone = "utc";
  assert.equal(dayStart(""), undefined);
  assert.equal(dayStart("soon", 1), undefined);
});
