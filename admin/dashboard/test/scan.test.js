// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { publicPart, scan, wholeKey } from "../static/scan.js";

// These have the right checksums, but no server knows them.
const key = "mmk_4fQ9Zt2LkVb7_0a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P0D9Vcc";
const admin = "mma_9Zt2LkVb74fQ_Z9y8X7w6V5u4T3s2R1q0P9o8N7m6L5k43UmFDd";
const damaged = key.replace(/.$/, (last) => (last === "0" ? "1" : "0"));

test("a whole key is found by its checksum", () => {
  assert.equal(wholeKey(key), key);
  assert.equal(wholeKey(`Authorization: Bearer ${key}\r\n`), key);
  assert.equal(wholeKey(`mmk_${key}`), key, "text that looks like a key hides none");
  assert.equal(wholeKey(damaged), undefined);
  assert.equal(wholeKey(key.slice(0, -1)), undefined);
  assert.equal(wholeKey(" 1b4e28ba-2fa1-4f1d-883f-0016d3cca427\n"), "1b4e28ba-2fa1-4f1d-883f-0016d3cca427");
});

test("no part of a secret is public", () => {
  const id = key.slice(4, 16);
  for (let length = 16; length <= key.length; length++) assert.equal(publicPart(key.slice(0, length)), id);
  for (const text of [`mmk_${id}_…`, `TOKEN="${key}"`, damaged, `x${key} y`]) {
    assert.equal(publicPart(text), id);
  }
  assert.equal(publicPart(key.slice(17)), "");
  assert.equal(publicPart(key.slice(6)), key.slice(6, 16));
  assert.equal(publicPart("1b4e28ba-2fa1-4f1d-883f-0016"), "1b4e28ba");
  assert.equal(publicPart(" release bot "), "release bot");
  assert.equal(publicPart("2001:db8::1"), "2001:db8::1");
});

/** @param {Blob} file */
async function found(file) {
  /** @type {[string, number][]} */
  const all = [];
  await scan(file, (id, line) => all.push([id, line]));
  return all;
}

test("a scan reports the lines of keys, and of incomplete ones without their ID", async () => {
  const text = `one\n${key} ${damaged}\n\n"${admin}"${key}\n${key.slice(0, -1)}\nmmk_4fQ9Zt2LkVb7_…`;
  const [first, second] = [key, admin].map((key) => key.slice(4, 16));
  const want = [[first, 2], ["", 2], [second, 4], [first, 4], ["", 5]]; // prettier-ignore
  assert.deepEqual(await found(new Blob([text])), want);
  assert.deepEqual(await found(new Blob([Buffer.from(`\ufeff${text}`, "utf16le")])), want);
  assert.deepEqual(await found(new Blob([])), []);
});

test("a scan finds a key across chunks once", async () => {
  const chunk = 4 << 20;
  for (const before of [
    chunk - 56,
    chunk - 55,
    chunk - 54,
    chunk - 20,
    chunk - 1,
    chunk,
    chunk + 1,
    2 * chunk - 30,
  ]) {
    const file = new Blob(["x".repeat(before - 1), "\n", key, "x".repeat(100)]);
    assert.deepEqual(await found(file), [[key.slice(4, 16), 2]], `after ${before} bytes`);
  }
});
