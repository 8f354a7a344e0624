// @ts-check
import assert from "node:assert/strict";
import { test } from "node:test";
import { csv } from "../static/export.js";

test("csv quotes cells and guards against formulas", () => {
  const record = {
    id: "1",
    name: '=1+"1"',
    scopes: ["a", "b"],
    quota: null,
    usage_count: -5,
    changes: { scopes: "a -> b" },
    owner: undefined,
  };
  assert.equal(
    csv([record, { id: "2", usage_count: 0 }]),
    '\ufeff"id","name","scopes","quota","usage_count","changes","owner"\r\n' +
      `"1","'=1+""1""","a b","","-5","{""scopes"":""a -> b""}",""\r\n` +
      '"2","","","","0","",""\r\n',
  );
  assert.equal(csv([]), "");
  for (const first of "=+-@\t\r\n") assert.ok(csv([{ name: `${first}x` }]).includes(`"'${first}x"`));
});
