// The admin API, relative to this page, so that it works below any path.
const base = new URL("api/v1/", document.baseURI);
// Browsers keep what was given for basic authentication, and fetch takes no such address.
base.username = base.password = "";

export class ApiError extends Error {
  constructor(status, problem) {
    super(problem.detail ?? `The server answered with status ${status}.`);
    this.status = status;
    this.code = problem.code ?? "";
    this.field = problem.field ?? "";
  }
}

// me is who is signed in.
export const me = { actor: "" };

// OfflineError says that nobody answered.
export class OfflineError extends Error {}

let signIn = () => Promise.reject(new Error("nobody can sign in yet"));

// onSignedOut sets what is done when the session is over: it returns a promise of the
// next one. What was asked for is asked again then, so no form is lost.
export function onSignedOut(handler) {
  signIn = handler;
}

// call makes a call and returns the JSON of the answer.
export async function call(method, path, { body, headers = {}, anonymous = false, type = "application/json" } = {}) {
  const request = { method, headers: { ...headers }, credentials: "same-origin", cache: "no-store", redirect: "error" };
  if (body !== undefined) {
    request.body = JSON.stringify(body);
    request.headers["Content-Type"] = type;
  }
  let response;
  let text;
  try {
    response = await fetch(new URL(path, base), request);
    text = await response.text();
  } catch {
    document.dispatchEvent(new CustomEvent("offline-now"));
    throw new OfflineError("Caddy can't be reached. Nothing was lost here; try again.");
  }
  document.dispatchEvent(new CustomEvent("online-now"));
  if (response.status === 401 && !anonymous) {
    await signIn();
    return call(method, path, { body, headers, type });
  }
  let answer = null;
  try {
    if (text) answer = JSON.parse(text);
  } catch {
    answer = {};
  }
  if (!response.ok) throw new ApiError(response.status, answer ?? {});
  return answer;
}

export const get = (path) => call("GET", path);
export const post = (path, body, headers) => call("POST", path, { body, headers });
// patch changes a key unless it has another version by now. The version is the key's
// own: servers on the way may change the ETag header.
export const patch = (path, body, version) =>
  call("PATCH", path, { body, type: "application/merge-patch+json", headers: { "If-Match": `"${version}"` } });
export const remove = (path) => call("DELETE", path);

// query is a query string of what is set.
export function query(parameters) {
  const set = Object.entries(parameters).filter(([, value]) => value !== "" && value !== undefined && value !== null && value !== false);
  return set.length ? `?${new URLSearchParams(set)}` : "";
}
