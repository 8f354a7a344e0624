// @ts-check
// Calls of the admin API.

// The API's URL is relative to this page, so the page works below any path. A page's URL may
// contain basic authentication credentials, which fetch rejects.
const base = new URL("api/v1/", document.baseURI);
base.username = base.password = "";

/** An ApiError is a refusal. */
export class ApiError extends Error {
  /** @param {number} status
   * @param {Partial<import("../types").Problem>} problem */
  constructor(status, problem) {
    const changed =
      status === 412 && "Someone else has changed this key. Look at it again, then try once more.";
    super(changed || (problem.detail ?? `The server responded with status ${status}.`));
    this.status = status;
    this.code = problem.code ?? "";
    this.field = problem.field ?? "";
  }
}

/** An OfflineError means that the server sent no response. */
export class OfflineError extends Error {
  constructor() {
    super("Can't reach the server. Nothing you entered is lost; try again.");
  }
}

/** What the page knows about its connection. Behind is set if a response came from an old copy of
 * a shared key store. Listeners are called after each change.
 * @type {{session: import("../types").Session | null, offline: boolean, behind: boolean}} */
export const connection = { session: null, offline: false, behind: false };

/** @type {Set<() => void>} */
const watchers = new Set();

/** Calls the function whenever connection changes.
 * @param {() => void} watcher */
export function watchConnection(watcher) {
  watchers.add(watcher);
  return () => void watchers.delete(watcher);
}

/** @param {Partial<typeof connection>} change */
export function setConnection(change) {
  Object.assign(connection, change);
  for (const watcher of watchers) watcher();
}

/** @type {() => Promise<unknown>} */
let signIn = () => Promise.reject(new Error("sign-in isn't ready yet"));

/** Sets the function to call when there is no session. It returns a promise of the next one.
 * The refused call is then repeated, so no input is lost.
 * @param {() => Promise<unknown>} handler */
export function onSignedOut(handler) {
  signIn = handler;
}

/** Makes a call and returns the response's JSON.
 * @param {string} method
 * @param {string} path
 * @param {{body?: unknown, headers?: Record<string, string>, anonymous?: boolean, type?: string}} [options]
 * @returns {Promise<any>} */
export async function call(method, path, options = {}) {
  const { body, headers = {}, anonymous = false, type = "application/json" } = options;
  /** @type {RequestInit & {headers: Record<string, string>}} */
  const request = {
    method,
    headers: { ...headers },
    credentials: "same-origin",
    cache: "no-store",
    redirect: "error",
  };
  if (body !== undefined) {
    request.body = JSON.stringify(body);
    request.headers["Content-Type"] = type;
  }
  let response, text;
  try {
    response = await fetch(new URL(path, base), request);
    text = await response.text();
  } catch {
    setConnection({ offline: true });
    throw new OfflineError();
  }
  if (connection.offline) setConnection({ offline: false });
  if (!connection.behind && response.headers.has("Mollygate-Replica-Age")) setConnection({ behind: true });
  if (response.status === 401 && !anonymous) {
    await signIn();
    return call(method, path, options);
  }
  let value = null;
  try {
    if (text) value = JSON.parse(text);
  } catch {
    value = {}; // a proxy's error page
  }
  if (!response.ok) throw new ApiError(response.status, value ?? {});
  if (method !== "GET") changedAt = Date.now();
  return value;
}

/** The time of this page's last call that may have changed something, in milliseconds since
 * 1970, or 0. */
export let changedAt = 0;

/** @param {string} path */
export const get = (path) => call("GET", path);

/** @param {string} path
 * @param {unknown} [body]
 * @param {Record<string, string>} [headers] */
export const post = (path, body, headers) => call("POST", path, { body, headers });

/** Changes a key if it still has the given version. The version comes from the key, because
 * intermediaries may change the ETag header.
 * @param {{id: string, version: number}} token
 * @param {object} body
 * @returns {Promise<import("../types").Token>} */
export const patch = (token, body) =>
  call("PATCH", `tokens/${token.id}`, {
    body,
    type: "application/merge-patch+json",
    headers: { "If-Match": `"${token.version}"` },
  });

/** @param {string} path */
export const remove = (path) => call("DELETE", path);

/** Returns a query string of the parameters that have a value, such as "?limit=50".
 * @param {Record<string, unknown>} parameters */
export function query(parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value || value === 0);
  return given.length ? `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}` : "";
}

/** An event says what changed: the ids of some keys, or null if it may be any key.
 * @typedef {{kind: "change"|"usage", ids: string[] | null}} ServerEvent */

/** @type {Set<(event: ServerEvent) => void>} */
const subscribers = new Set();
/** @type {EventSource | null} */
let stream = null;

/** Calls the function for each event from the server. All subscribers share one stream.
 * @param {(event: ServerEvent) => void} subscriber */
export function subscribe(subscriber) {
  subscribers.add(subscriber);
  return () => void subscribers.delete(subscriber);
}

/** @param {ServerEvent} event */
const publish = (event) => subscribers.forEach((subscriber) => subscriber(event));

/** Opens the stream of events once there is a session. Events missed while it was interrupted
 * are made up for by an event for all keys. */
export function listen() {
  stream?.close();
  let interrupted = false;
  stream = new EventSource(new URL("events", base));
  stream.addEventListener("change", ({ data }) => {
    const id = JSON.parse(data).token_id;
    publish({ kind: "change", ids: id ? [id] : null });
  });
  stream.addEventListener("usage", ({ data }) => publish({ kind: "usage", ids: JSON.parse(data).token_ids }));
  stream.addEventListener("open", () => {
    if (interrupted) publish({ kind: "change", ids: null });
    interrupted = false;
  });
  stream.addEventListener("error", () => {
    interrupted = true;
    // After a refusal the browser doesn't reconnect. This call asks to sign in if needed.
    if (stream?.readyState === EventSource.CLOSED) {
      stream = null;
      setTimeout(() => get("session").then(reopen, reopen), 3000);
    }
  });
}

function reopen() {
  if (stream) return;
  listen();
  publish({ kind: "change", ids: null });
}
