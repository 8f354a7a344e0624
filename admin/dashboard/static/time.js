// Times are shown as in Mollymawk: "12 s ago", "3 m ago", "5 h ago", "3 d ago", "2 w ago",
// "4 mo ago", "1 y ago". Each entry holds a unit, the shortest distance it is used for,
// and its length, both in seconds.
const units = [
  ["y", 365 * 86400, 365 * 86400], ["mo", 30 * 86400, 28 * 86400], ["w", 7 * 86400, 7 * 86400], ["d", 86400, 86400],
  ["h", 3600, 3600], ["m", 60, 60], ["s", 0, 1],
];

export function relative(text, now = Date.now()) {
  if (!text) return "never";
  const seconds = Math.floor((now - Date.parse(text)) / 1000);
  // Future times are first rounded to minutes, so a key created a moment ago for 12 hours is
  // shown to expire in 12 hours, not 11.
  const distance = seconds <= -60 ? Math.round(-seconds / 60) * 60 : Math.abs(seconds);
  const [unit, , length] = units.find(([, begins]) => distance >= begins);
  // A year can hold 13 months of 28 days, so limit the number to 12.
  const amount = `${unit === "mo" ? Math.min(12, Math.floor(distance / length)) : Math.floor(distance / length)} ${unit}`;
  return seconds >= 0 ? `${amount} ago` : `in ${amount}`;
}

// exact returns the time in the viewer's time zone and in UTC.
export function exact(text) {
  if (!text) return "";
  return `${new Date(text).toLocaleString()} (${text.replace("T", " ").replace("Z", " UTC")})`;
}
