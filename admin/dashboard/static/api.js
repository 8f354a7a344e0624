// The admin API's URL is relative to this page, so the page works below any path.
const base = new URL("api/v1/", document.baseURI);
// The page's URL may contain basic authentication credentials, which fetch rejects.
base.username = base.password = "";

export class ApiError extends Error {
  constructor(status, problem) {
    super(problem.detail ?? `The server responded with status ${status}.`);
    this.status = status;
    this.code = problem.code ?? "";
    this.field = problem.field ?? "";
  }
}

// me is the signed-in caller.
export const me = { actor: "" };

// OfflineError means that the server sent no response.
export class OfflineError extends Error {}

let signIn = () => Promise.reject(new Error("sign-in isn't ready yet"));

// onSignedOut sets the function to call when the session has ended. The function returns a
// promise of the next session. The failed call is then repeated, so no form input is lost.
export function onSignedOut(handler) {
  signIn = handler;
}

// call makes an API call and returns the response's JSON.
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
    throw new OfflineError("Can't reach the server. Nothing you entered is lost; try again.");
  }
  document.dispatchEvent(new CustomEvent("online-now"));
  if (response.status === 401 && !anonymous) {
    await signIn();
    return call(method, path, { body, headers, type });
  }
  let value = null;
  try {
    if (text) value = JSON.parse(text);
  } catch {
    value = {};
  }
  if (!response.ok) throw new ApiError(response.status, value ?? {});
  return value;
}

export const get = (path) => call("GET", path);
export const post = (path, body, headers) => call("POST", path, { body, headers });
// patch changes a key if it still has the given version. The version comes from the key
// itself, because intermediaries may change the ETag header.
export const patch = (path, body, version) =>
  call("PATCH", path, { body, type: "application/merge-patch+json", headers: { "If-Match": `"${version}"` } });
export const remove = (path) => call("DELETE", path);

// query returns a query string of all parameters that are set.
export function query(parameters) {
  const set = Object.entries(parameters).filter(([, value]) => value !== "" && value !== undefined && value !== null && value !== false);
  return set.length ? `?${new URLSearchParams(set)}` : "";
}
