// @ts-check
// What the user has chosen for this browser: theme, time zone, and the columns of the table.
import { useEffect, useReducer } from "./vendor/preact.js";

const storageKey = "mollygate";

/** @typedef {{theme: "system"|"light"|"dark", zone: "local"|"utc", columns: string[] | null}} Prefs */

/** @type {Prefs} */
const defaults = { theme: "system", zone: "local", columns: null };

/** @returns {Prefs} */
function load() {
  try {
    return { ...defaults, ...JSON.parse(localStorage.getItem(storageKey) ?? "{}") };
  } catch {
    return { ...defaults }; // storage is unavailable or holds something else
  }
}

/** @type {Prefs} */
export const prefs = globalThis.localStorage ? load() : { ...defaults };

const listeners = new Set();

/** Changes preferences and redraws the page.
 * @param {Partial<Prefs>} change */
export function setPrefs(change) {
  Object.assign(prefs, change);
  try {
    localStorage.setItem(storageKey, JSON.stringify(prefs));
  } catch {
    // They last until the page is closed.
  }
  applyTheme();
  for (const listener of listeners) listener();
}

/** Sets the attribute by which the style sheet chooses light or dark colors. */
export function applyTheme() {
  document.documentElement.dataset.theme = prefs.theme;
}

/** Redraws the calling component when a preference changes. */
export function usePrefs() {
  const [, redraw] = useReducer((n) => n + 1, 0);
  useEffect(() => {
    const listener = () => redraw(null);
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }, []);
  return prefs;
}
