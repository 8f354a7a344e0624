// @ts-check
// The audit log in words.
import { count, date, dateTime, duration } from "./format.js";
import { prefs } from "./prefs.js";
import { text } from "./text.js";

/** @typedef {import("../types").AuditEntry} AuditEntry */
/** A detail is a changed field: its items added and removed, and a change in words.
 * @typedef {{label: string, words: string, added?: string[], removed?: string[]}} Detail */

const t = text.audit;

/** Reports whether an actor is a key, by its ID.
 * @param {string | null} actor */
export const isKey = (actor) => /^[0-9A-Za-z]{12}$/.test(actor ?? "");

/** Returns the name of an actor that isn't a key.
 * @param {string | null} actor */
export const actorName = (actor) => t.actors[actor ?? ""] ?? String(actor).replace(/^user:/, "");

/** Returns until when the old secret works after a rotation, or "".
 * @param {AuditEntry} entry */
export function outcome({ time, changes }) {
  if (!changes?.grace) return "";
  const grace = 1000 * parseInt(changes.grace);
  const expiries = (changes.expires_at ?? "").split(" -> ").map(Date.parse).filter(Boolean);
  return grace ? t.oldUntil(dateTime(Math.min(Date.parse(time ?? "") + grace, ...expiries))) : t.oldStopped;
}

/** Returns a value in words: a time, a limit such as "60/1m" or "1000/month", or the value.
 * @param {string} value
 * @param {string} none
 * @param {(time: string) => string} showTime */
function inWords(value, none, showTime) {
  const [, requests, window] = /^(\d+)\/(\w+)$/.exec(value) ?? [];
  if (requests)
    return t.limit(count(+requests), /\d/.test(window) ? duration(window).replace(/^1 /, "") : window);
  return value === "none" ? none : /^\d{4}-\d\d-\d\dT/.test(value) ? showTime(value) : value;
}

/** Returns an entry's changes. The log cuts long lists, which can't be compared.
 * @param {AuditEntry} entry
 * @returns {Detail[]} */
export const details = ({ changes }) =>
  Object.entries(changes ?? {}).flatMap(([field, change]) => {
    if (field === "grace") return [];
    const label = t.fields[field] ?? field.replaceAll("_", " ");
    const values = change.split(" -> ");
    if (/^(scopes|resources|allowed_ips)$/.test(field) && !change.includes("…")) {
      const [old, now] = values.map((value) => value.split(" ").filter((item) => item !== "none"));
      const lacks = (/** @type {string[]} */ list) => (/** @type {string} */ item) => !list.includes(item);
      const words = now[0] ? "" : (t.emptied[field] ?? "");
      return { label, words, added: now.filter(lacks(old)), removed: old.filter(lacks(now)) };
    }
    // Times on the same day differ by the time of day.
    const [days, times] = [date, dateTime].map((show) =>
      values.map((value) => inWords(value, field === "expires_at" ? text.never : t.none, show)),
    );
    return { label, words: (days[0] === days[1] ? times : days).join(" → ") };
  });

/** Returns the time at which a day such as "2027-03-09" begins in the chosen zone, or
 * undefined if there is no such day.
 * @param {string | undefined} day
 * @param {number} [later] days to add */
export function dayStart(day = "", later = 0) {
  const time = new Date(day + (prefs.zone === "utc" ? "T00:00Z" : "T00:00"));
  if (isNaN(+time)) return undefined;
  if (prefs.zone === "utc") time.setUTCDate(time.getUTCDate() + later);
  else time.setDate(time.getDate() + later);
  return time.toISOString();
}
