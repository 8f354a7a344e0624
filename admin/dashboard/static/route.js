// @ts-check
// The address names the page and all that is chosen on it, after the "#", which browsers never
// send to a server: "#keys?status=active&sort=name".
import { useEffect, useReducer } from "./vendor/preact.js";

/** @typedef {{page: string, id: string, query: Record<string, string>}} Route */

/** Parses an address. Repeated parameters are joined by commas.
 * @param {string} hash
 * @returns {Route} */
export function parse(hash) {
  const [path, query = ""] = hash.replace(/^#/, "").split(/\?(.*)/s);
  const [page, id = ""] = path.split(/\/(.*)/s);
  const search = new URLSearchParams(query);
  const joined = [...search.keys()].map((name) => [name, search.getAll(name).join(",")]);
  return { page: page || "overview", id, query: Object.fromEntries(joined) };
}

/** Returns an address. Empty parameters are left out.
 * @param {string} page
 * @param {Record<string, unknown>} [query]
 * @param {string} [id] */
export function href(page, query = {}, id = "") {
  const given = Object.entries(query).filter(([, value]) => value);
  const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return `#${page}${id ? `/${id}` : ""}${search ? `?${search}` : ""}`;
}

/** @param {string} id */
export const keyHref = (id) => href("key", {}, id);

/** Goes to an address. With replace, Back doesn't return to the present one.
 * @param {string} address
 * @param {{replace?: boolean}} [options] */
export function go(address, { replace = false } = {}) {
  if (address === location.hash) return;
  if (replace) history.replaceState(history.state, "", address);
  else location.hash = address; // fires popstate
  if (replace) changed();
}

/** Changes some of the present page's parameters without a new entry in the history.
 * @param {Record<string, unknown>} change */
export function choose(change) {
  const { page, id, query } = current;
  go(href(page, { ...query, ...change }, id), { replace: true });
}

/** The last addresses of the lists, so a key's page leads back to what was filtered.
 * @type {Record<string, string>} */
export const lastLists = { keys: "#keys", admin: "#admin" };

let current = parse(globalThis.location?.hash ?? "");
/** @type {Set<() => void>} */
const listeners = new Set();

/** Returns the present route, and redraws the calling component when it changes. */
export function useRoute() {
  const [, redraw] = useReducer((n) => n + 1, 0);
  useEffect(() => {
    const listener = () => redraw(null);
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }, []);
  return current;
}

function changed() {
  current = parse(location.hash);
  if (Object.hasOwn(lastLists, current.page)) lastLists[current.page] = location.hash;
  for (const listener of listeners) listener();
}

/** The open dialogs, the topmost last. Back closes it instead of leaving the page. losing is set
 * if closing the tab would lose what was entered.
 * @type {{close: () => void, losing: boolean}[]} */
const dialogs = [];
let guarded = "";

/** Lets Back close a dialog until the returned function is called.
 * @param {() => void} close
 * @param {boolean} losing */
export function guardDialog(close, losing) {
  const guard = { close, losing };
  dialogs.push(guard);
  guarded = location.href;
  return () => void dialogs.splice(dialogs.indexOf(guard), 1);
}

// Positions are kept by entry of the history, so Back and a reload return to the same place.
const positions = "mollygate-scroll";

/** @returns {Record<string, number>} */
function saved() {
  try {
    return JSON.parse(sessionStorage.getItem(positions) ?? "{}");
  } catch {
    return {};
  }
}

function entry() {
  if (!history.state?.entry) history.replaceState({ entry: `${Date.now()}${Math.random()}` }, "");
  return history.state.entry;
}

// Content arrives later than the address, so the position is restored once the page is tall
// enough, unless the user scrolls first.
function restoreScroll() {
  const top = saved()[entry()] ?? 0;
  window.scrollTo(0, top);
  if (!top) return;
  const observer = new ResizeObserver(() => {
    if (document.documentElement.scrollHeight - window.innerHeight < top) return;
    window.scrollTo(0, top);
    stop();
  });
  const stop = () => {
    observer.disconnect();
    for (const name of ["wheel", "touchmove", "keydown"]) window.removeEventListener(name, stop);
  };
  observer.observe(document.body);
  for (const name of ["wheel", "touchmove", "keydown"]) window.addEventListener(name, stop, { once: true });
  setTimeout(stop, 3000);
}

/** Follows the address. Call it once. */
export function startRouting() {
  history.scrollRestoration = "manual";
  restoreScroll();
  let timer = 0;
  window.addEventListener("scroll", () => {
    clearTimeout(timer);
    timer = window.setTimeout(() => {
      const kept = Object.entries({ ...saved(), [entry()]: Math.round(window.scrollY) }).slice(-50);
      sessionStorage.setItem(positions, JSON.stringify(Object.fromEntries(kept)));
    }, 100);
  });
  window.addEventListener("popstate", () => {
    const dialog = dialogs[dialogs.length - 1];
    if (dialog && location.href !== guarded) {
      history.pushState(null, "", guarded);
      dialog.close();
      return;
    }
    if (parse(location.hash).page !== current.page || parse(location.hash).id !== current.id) restoreScroll();
    changed();
  });
  window.addEventListener("beforeunload", (event) => {
    if (dialogs.some(({ losing }) => losing)) event.preventDefault();
  });
}
