// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { fill, scale, totals } from "../static/chart.js";
import { prefs } from "../static/prefs.js";

prefs.zone = "utc";
const now = Date.parse("2026-11-29T10:30:00Z");

test("fill returns complete points, and sums scopes and outcomes", () => {
  const points = fill(
    [
      { time: "2026-11-29T09:00:00Z", scope: "a", outcome: "ok", count: 3 },
      { time: "2026-11-29T09:00:00Z", scope: "b", outcome: "ok", count: 2 },
      { time: "2026-11-29T09:00:00Z", scope: null, outcome: "wrong_ip", count: 1 },
      { time: "2026-11-29T06:00:00Z", scope: "a", outcome: "ok", count: 9 },
    ],
    "hour",
    3,
    now,
  );
  assert.deepEqual(points, [
    { time: "2026-11-29T08:00:00.000Z", allowed: 0, refused: 0 },
    { time: "2026-11-29T09:00:00.000Z", allowed: 5, refused: 1 },
    { time: "2026-11-29T10:00:00.000Z", allowed: 0, refused: 0 },
  ]);
});

test("fill accepts totals and days", () => {
  const points = fill([{ time: "2026-11-28T00:00:00Z", allowed: 4, refused: 2 }], "day", 2, now);
  assert.deepEqual(totals(points), { allowed: 4, refused: 2 });
  assert.equal(points[1].time, "2026-11-29T00:00:00.000Z");
});

test("scale is round and covers the highest value", () => {
  for (const [max, ticks] of /** @type {[number, number[]][]} */ ([
    [0, [0, 1]],
    [3, [0, 1, 2, 3]],
    [150, [0, 50, 100, 150]],
    [370, [0, 100, 200, 300, 400]],
  ])) {
    assert.deepEqual(scale(max), ticks);
  }
  for (let max = 1; max < 1e9; max = Math.ceil(max * 1.37)) {
    const ticks = scale(max);
    assert.ok(ticks.length <= 6 && ticks[ticks.length - 1] >= max, `${max}: ${ticks}`);
  }
});
