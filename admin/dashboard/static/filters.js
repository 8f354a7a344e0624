// @ts-check
// What the address of the table of keys means: the filters, and the columns that fit.
import { choose } from "./route.js";
import { publicPart } from "./scan.js";

/** @typedef {import("../types").Token} Token */
/** @typedef {Record<string, string | undefined>} Query */

export const statuses = [
  "",
  "active",
  "expiring",
  "disabled",
  "revoked",
  "expired",
  "not_yet_valid",
  "damaged",
];

const names = ["status", "account", "owner", "tag", "scope", "usage", "expires", "q"];

/** Returns the names of the filters that are set.
 * @param {Query} query */
export const setFilters = (query) => names.filter((name) => query[name]);

/** Changes filters or the order, which leads to the first page.
 * @param {Record<string, unknown>} change */
export const chooseFilter = (change) => choose({ page: "", ...change });

export const clearFilters = () => chooseFilter(Object.fromEntries(names.map((name) => [name, ""])));

/** Returns the API's parameters for the filters. Keys that expire soon are active ones unless
 * another status is chosen.
 * @param {string} kind
 * @param {Query} query
 * @param {number} [now] */
export function request(
  kind,
  { status, account, owner, tag, scope, usage, expires, q, sort },
  now = Date.now(),
) {
  const at = (/** @type {number} */ days) => new Date(now + days * 86_400_000).toISOString();
  return {
    kind,
    account,
    owner,
    tag,
    scope,
    sort,
    q: q && publicPart(q),
    status: status || (expires && "active"),
    never_used: usage === "never",
    unused_since: usage && usage !== "never" && at(-parseInt(usage)),
    expires_before: expires && at(parseInt(expires)),
  };
}

/** The columns in their order on the page. When there is no room for all, those with the lowest
 * rank stay. The first click on a heading sorts as sort says.
 * @typedef {{name: string, width: number, rank: number, sort?: string}} Column
 * @type {Column[]} */
export const columns = [
  { name: "status", width: 104, rank: 1 },
  { name: "key", width: 166, rank: 12 },
  { name: "account", width: 84, rank: 13 },
  { name: "owner", width: 110, rank: 4 },
  { name: "tags", width: 150, rank: 5 },
  { name: "scopes", width: 152, rank: 11 },
  { name: "resources", width: 150, rank: 7 },
  { name: "ips", width: 130, rank: 6 },
  { name: "usage", width: 136, rank: 3, sort: "-usage_count" },
  { name: "refused", width: 80, rank: 8 },
  { name: "created", width: 104, rank: 9, sort: "-created_at" },
  { name: "expires", width: 104, rank: 2, sort: "expires_at" },
  { name: "last", width: 108, rank: 10, sort: "-last_used_at" },
];

export const defaults = ["status", "key", "account", "scopes", "usage", "expires", "last"];

/** Returns the columns to show of those chosen in a table of some width.
 * @param {string[]} chosen
 * @param {number} width in pixels */
export function fit(chosen, width) {
  let left = width - 236; // the box, the name, the menu
  const shown = columns
    .filter(({ name }) => chosen.includes(name))
    .sort((a, b) => a.rank - b.rank)
    .filter((column) => {
      if (column.width > left) return false;
      left -= column.width;
      return true;
    });
  return columns.filter((column) => shown.includes(column));
}
