// Times as Mollymawk shows them: "12 s ago", "3 m ago", "5 h ago", "3 d ago", "2 w
// ago", "4 mo ago", "1 y ago".
const units = [
  ["y", 365 * 86400], ["mo", 30 * 86400], ["w", 7 * 86400], ["d", 86400], ["h", 3600], ["m", 60], ["s", 1],
];

export function relative(text, now = Date.now()) {
  if (!text) return "never";
  const seconds = Math.floor((now - Date.parse(text)) / 1000);
  const distance = Math.abs(seconds);
  const [unit, length] = units.find(([, length]) => distance >= length) ?? ["s", 1];
  const amount = `${Math.floor(distance / length)} ${unit}`;
  return seconds >= 0 ? `${amount} ago` : `in ${amount}`;
}

// exact is the time in the viewer's zone, and in UTC.
export function exact(text) {
  if (!text) return "";
  return `${new Date(text).toLocaleString()} (${text.replace("T", " ").replace("Z", " UTC")})`;
}
