import assert from "node:assert/strict";
import test from "node:test";
import { href, parse } from "../static/route.js";

test("an address names the page, the id and the query", () => {
  const addresses = {
    "": { page: "overview", id: "", query: {} },
    "#keys": { page: "keys", id: "", query: {} },
    "#key/0a1b": { page: "key", id: "0a1b", query: {} },
    "#keys?search=a%26b%3F&status=active": {
      page: "keys",
      id: "",
      query: { search: "a&b?", status: "active" },
    },
  };
  for (const [address, route] of Object.entries(addresses)) assert.deepEqual(parse(address), route, address);
});

test("href returns an address that parse reads", () => {
  const query = { search: "a&b=c?#é", status: "active" };
  assert.deepEqual(parse(href("key", query, "0a1b")), { page: "key", id: "0a1b", query });
  assert.equal(href("keys", { search: "", status: undefined }), "#keys");
});
