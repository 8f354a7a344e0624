// @ts-check
// Files to download, made by the page.

/** Returns records as CSV (RFC 4180), with the first record's names as headings. Spreadsheets
 * don't take texts for formulas.
 * @param {Record<string, any>[]} records */
export function csv(records) {
  if (!records.length) return "";
  const names = Object.keys(records[0]);
  const rows = [names, ...records.map((record) => names.map((name) => record[name]))];
  return `\ufeff${rows.map((row) => `${row.map(cell).join()}\r\n`).join("")}`;
}

/** @param {any} value */
function cell(value) {
  const words = Array.isArray(value)
    ? value.join(" ")
    : typeof value === "object"
      ? value && JSON.stringify(value)
      : value;
  const harmless = typeof words === "string" ? words.replace(/^[=+\-@\t\r\n]/, "'$&") : (words ?? "");
  return `"${String(harmless).replaceAll('"', '""')}"`;
}

/** Lets the browser save a file.
 * @param {string} name
 * @param {string} content */
export function save(name, content) {
  const url = URL.createObjectURL(new Blob([content]));
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
