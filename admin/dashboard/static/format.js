// @ts-check
// Numbers, times and lists as text. Times follow the chosen zone, and functions take the
// current time, so tests can set both.
import { prefs } from "./prefs.js";

const minute = 60_000;
const hour = 60 * minute;
export const day = 24 * hour;

// The units of relative times: the name, the distance from which it is used, its length.
/** @type {[string, number, number][]} */
const units = [
  ["y", 365 * day, 365 * day],
  ["mo", 60 * day, 30 * day],
  ["d", day, day],
  ["h", hour, hour],
  ["m", minute, minute],
  ["s", 0, 1000],
];

/** Returns the distance from now, such as "3 d ago" or "in 5 h".
 * @param {string | null | undefined} time
 * @param {number} [now] */
export function relative(time, now = Date.now()) {
  if (!time) return "never";
  const past = now - Date.parse(time);
  // A time ahead is rounded to minutes, so a key made a moment ago for 12 hours ends in 12 h.
  const amount = span(past <= -minute ? Math.round(-past / minute) * minute : Math.abs(past));
  return past >= 0 ? `${amount} ago` : `in ${amount}`;
}

/** Returns a length of time in its largest unit, such as "3 d".
 * @param {number} milliseconds */
export function span(milliseconds) {
  const [unit, , length] = units.find(([, from]) => milliseconds >= from) ?? units[units.length - 1];
  return `${Math.floor(milliseconds / length)} ${unit}`;
}

/** @type {Map<string, Intl.DateTimeFormat>} */
const formats = new Map();

/** Returns the format with these options in the chosen zone. Creating a format takes much longer
 * than using it, and the charts in a list of keys contain more than a thousand dates.
 * @param {Intl.DateTimeFormatOptions} options */
function formatFor(options) {
  const zoned = { timeZone: prefs.zone === "utc" ? "UTC" : undefined, ...options };
  const key = JSON.stringify(zoned);
  let known = formats.get(key);
  if (!known) formats.set(key, (known = new Intl.DateTimeFormat("en-GB", zoned)));
  return known;
}

/** @param {string | number | Date} time
 * @param {Intl.DateTimeFormatOptions} options */
const format = (time, options) => formatFor(options).format(new Date(time));

/** Returns a date, such as "9 Mar 2027".
 * @param {string | number | Date} time */
export const date = (time) => format(time, { day: "numeric", month: "short", year: "numeric" });

/** Returns a day without the year, such as "9 Mar".
 * @param {string | number | Date} time */
export const monthDay = (time) => format(time, { day: "numeric", month: "short" });

/** Returns a time of day, such as "14:05".
 * @param {string | number | Date} time */
export const clock = (time) => format(time, { hour: "2-digit", minute: "2-digit" });

/** Returns a time of day with seconds, such as "14:05:09".
 * @param {string | number | Date} time */
export const clockSeconds = (time) => format(time, { timeStyle: "medium" });

/** Returns a date and time, such as "9 Mar 2027, 14:05".
 * @param {string | number | Date} time */
export const dateTime = (time) => `${date(time)}, ${clock(time)}`;

/** Returns a day that the server counts in UTC, such as "28 Nov", whatever the chosen zone is.
 * @param {string | number | Date} time */
export const utcDay = (time) => format(time, { day: "numeric", month: "short", timeZone: "UTC" });

/** Returns a date and time with seconds and the zone's name, for tooltips.
 * @param {string | number | Date} time */
export const exact = (time) => format(time, { dateStyle: "medium", timeStyle: "long" });

/** Returns the chosen zone's name, such as "UTC" or "GMT+1".
 * @param {number} [now] */
export function zoneName(now = Date.now()) {
  const parts = formatFor({ timeZoneName: "short" }).formatToParts(now);
  return parts.find((part) => part.type === "timeZoneName")?.value ?? "";
}

const numbers = new Intl.NumberFormat("en-US");

/** Returns a count with separators, such as "12,810".
 * @param {number} n */
export const count = (n) => numbers.format(n);

/** Returns a count with a noun, such as "1 key" or "12,810 keys".
 * @param {number} n
 * @param {string} noun
 * @param {string} [plural] */
export const counted = (n, noun, plural = `${noun}s`) => `${count(n)} ${n === 1 ? noun : plural}`;

/** Returns a share in percent, such as "5.5%", "<0.1%" or "12%".
 * @param {number} part
 * @param {number} whole */
export function percent(part, whole) {
  if (!part || !whole) return "0%";
  const share = (100 * part) / whole;
  return share < 0.1 ? "<0.1%" : `${share < 10 ? share.toFixed(1) : Math.round(share)}%`;
}

/** Returns a size, such as "12.5 MB".
 * @param {number} bytes */
export function size(bytes) {
  const steps = ["B", "kB", "MB", "GB", "TB"];
  let step = 0;
  for (; bytes >= 1000 && step < steps.length - 1; step++) bytes /= 1000;
  return `${bytes >= 100 || step === 0 ? Math.round(bytes) : bytes.toFixed(1)} ${steps[step]}`;
}

/** Returns a duration of Go or of the API in words: "168h0m0s" is "7 days".
 * @param {string} text */
export function duration(text) {
  const [, n, unit] = /^(\d+)(mo|y)$/.exec(text) ?? []; // calendar units
  if (unit) return counted(Number(n), unit === "y" ? "year" : "month");
  if (!/\d/.test(text)) return "unlimited";
  let milliseconds = 0;
  const lengths = { ms: 1, s: 1000, m: minute, h: hour, d: day, w: 7 * day, mo: 30 * day, y: 365 * day };
  for (const [, n, unit] of text.matchAll(/([\d.]+)(ms|mo|[smhdwy])/g)) {
    milliseconds += Number(n) * lengths[/** @type {keyof typeof lengths} */ (unit)];
  }
  /** @type {[number, string][]} */
  const steps = [[day, "day"], [hour, "hour"], [minute, "minute"], [1000, "second"]]; // prettier-ignore
  const [length, noun] = steps.find(([step]) => milliseconds >= step && milliseconds % step === 0) ?? [
    1000,
    "second",
  ];
  return counted(milliseconds / length, noun);
}

/** Joins words: "a", "a and b", "a, b and c".
 * @param {string[]} words
 * @param {string} [last] */
export function list(words, last = "and") {
  if (words.length < 2) return words.join("");
  return `${words.slice(0, -1).join(", ")} ${last} ${words[words.length - 1]}`;
}
