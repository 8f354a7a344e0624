// @ts-check
// Recognizing keys in text, without the server. A key is PREFIX_ID_SECRET and ends with a
// checksum. Only its ID may leave the browser.

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** Returns the keys in a text with their positions. The checksum is six base62 digits of the
 * CRC-32. Matches may overlap, so text that only looks like a key can't hide one.
 * @param {string} text */
const find = (text) =>
  [...text.matchAll(/(?=([a-z]{2}[ak]_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}))/g)]
    .map(({ index: at, 1: key }) => ({ at, key }))
    .filter(({ key }) => {
      let crc = -1;
      for (const letter of key.slice(0, -6)) {
        crc ^= letter.charCodeAt(0);
        for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (0xedb88320 & -(crc & 1));
      }
      let [sum, digits] = [~crc >>> 0, ""];
      for (; digits.length < 6; sum = Math.floor(sum / 62)) digits = base62[sum % 62] + digits;
      return key.endsWith(digits);
    });

/** Returns the key in a text, such as a header that contains one, or undefined. Keys imported
 * from Mollymawk are UUIDs of version 4.
 * @param {string} text
 * @returns {string | undefined} */
export const wholeKey = (text) =>
  /^\s*([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})\s*$/.exec(text)?.[1] ?? find(text)[0]?.key;

/** Returns what the server may know of a search: the ID if the text contains a part of a key,
 * nothing if it may be a secret alone, or else the text.
 * @param {string} text */
export function publicPart(text) {
  const part = /[a-z]{2}[ak]_([0-9a-z]{12})|([0-9a-f]{8})-[0-9a-f]{4}-|([0-9a-z]+)_[0-9a-z]{13}/i.exec(text);
  if (part) return part.slice(1).find(Boolean) ?? "";
  return /[0-9a-z]{25}/i.test(text) ? "" : text.trim();
}

/** Returns the positions in a text of what looks like a key but isn't a whole one.
 * @param {string} text
 * @param {{at: number, key: string}[]} keys */
const findParts = (text, keys) =>
  [...text.matchAll(/[a-z]{2}[ak]_[0-9A-Za-z]{12}_[0-9A-Za-z]{8,}/g)]
    .filter(({ index, 0: part }) => !keys.some(({ at }) => at >= index && at < index + part.length))
    .map(({ index }) => ({ at: index, key: "" }));

/** Reads a file in chunks and reports each key in it by its ID and line. What is only a part of a
 * key is reported with an empty ID.
 * @param {Blob} file
 * @param {(id: string, line: number) => void} report */
export async function scan(file, report) {
  const chunk = 4 << 20;
  let [text, line] = ["", 1];
  for (let start = 0; start < file.size; start += chunk) {
    // Each byte becomes one character. In UTF-16, keys have a zero byte after each letter.
    const bytes = await file.slice(start, start + chunk).arrayBuffer();
    text += new TextDecoder("latin1").decode(bytes).replaceAll("\0", "");
    const end = start + chunk < file.size ? Math.max(0, text.length - 54) : text.length;
    const keys = find(text);
    const parts = findParts(text, keys).filter(({ at }) => at < end);
    let from = 0;
    for (const { at, key } of [...keys, ...parts].sort((a, b) => a.at - b.at)) {
      line += text.slice(from, at).split("\n").length - 1;
      from = at;
      report(key.slice(4, 16), line);
    }
    line += text.slice(from, end).split("\n").length - 1;
    text = text.slice(end); // a key may continue in the next chunk
  }
}
