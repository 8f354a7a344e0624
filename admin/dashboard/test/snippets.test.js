// @ts-check
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { gateAddress, snippets } from "../static/snippets.js";

test("the gate's address follows from the page's", () => {
  assert.equal(gateAddress(new URL("https://keys.molly.example.com/")), "https://molly.example.com");
  assert.equal(gateAddress(new URL("http://localhost:8080/keys/")), "http://localhost:8080");
  assert.equal(gateAddress(new URL("http://localhost:8080/")), "$MOLLY");
});

test("the shell accepts the snippets", () => {
  for (const gate of ["https://molly.example.com", "$MOLLY"]) {
    const { curl, shell, github, gitlab } = snippets(gate);
    for (const code of [curl, shell]) {
      const { status, stderr } = spawnSync("sh", ["-n"], { input: code, encoding: "utf8" });
      assert.equal(status, 0, stderr);
    }
    for (const code of [curl, shell, github, gitlab]) assert.ok(code.includes(`"${gate}/api/unikernels"`));
    for (const code of [github, gitlab]) assert.doesNotMatch(code, /\t/);
  }
});
