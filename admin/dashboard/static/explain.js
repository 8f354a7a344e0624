// @ts-check
// Explain asks the server what the gates would do with a request.
import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { post } from "./api.js";
import { split } from "./draft.js";
import { dateTime } from "./format.js";
import { Remedy } from "./refusals.js";
import { text } from "./text.js";
import { Card, Field, Icon } from "./ui.js";

/** @typedef {import("../types").Token} Token */
/** @typedef {import("../types").GateExplanation} GateExplanation */
/** @typedef {import("./refusals.js").Question} Question */

const t = text.key;
const methods = ["GET", "POST", "PUT", "PATCH", "DELETE"];
const empty = { method: "GET", path: "", ip: "", resources: "", body: "" };

// The refusal codes of checks that can be fixed.
/** @type {Record<string, string>} */
const codes = {
  client_ip: "ip_denied",
  rate_limit: "rate_limited",
  scope: "insufficient_scope",
  quota: "quota_exceeded",
  resource: "resource_not_allowed",
};

/** Explain is a form for a request. It is filled in and sent when asked changes.
 * @param {{token: Token, catalog: import("../types").Scope[], asked: Question | null, after: () => void}} props */
export function Explain({ token, catalog, asked, after }) {
  const [question, setQuestion] = useState(/** @type {Question} */ (empty));
  const [answer, setAnswer] = useState(
    /** @type {{to?: Question, gates?: GateExplanation[], error?: any}} */ ({}),
  );
  const form = useRef(/** @type {HTMLElement | null} */ (null));
  // An answer is shown until the question changes.
  const { gates, error } = answer.to === question ? answer : {};
  const { method, ip } = question;
  const path = question.path.trim();
  // What a request acts on matters only for keys that are limited to resources.
  const bound = !!token.resources;
  /** @param {Question} to */
  const ask = async (to) => {
    try {
      const path = to.path.trim();
      if (!path.startsWith("/")) throw { field: "path" };
      const named = bound ? split(to.resources ?? "") : [];
      const result = await post("explain", {
        method: to.method,
        path,
        ip: to.ip.trim() || undefined,
        resources: named.length ? named : undefined,
        body: (bound && !named.length && to.method !== "GET" && to.body) || undefined,
        token_id: token.id,
      });
      setAnswer({ to, gates: [result, ...result.other_gates] });
    } catch (error) {
      setAnswer({ to, error });
    }
  };
  useEffect(() => {
    if (!asked) return;
    const to = { ...empty, ...asked };
    setQuestion(to);
    ask(to);
    form.current?.scrollIntoView();
  }, [asked]);
  useEffect(() => {
    if (gates) ask(question); // the key has changed
  }, [token.version]);
  /** @param {keyof typeof empty} name
   * @param {(attributes: object) => any} control */
  const field = (name, control) => html`<${Field} label=${t[name]} class=${name} error=${error?.field === name && (t.errors[name] ?? error.message.replace(/^\w+: /, ""))}>${
    (/** @type {object} */ attributes) => control({ ...attributes, value: question[name], onInput: (/** @type {any} */ e) => setQuestion({ ...question, [name]: e.target.value }) })}</>`; // prettier-ignore
  const routes = catalog.flatMap((scope) => scope.routes.map((route) => ({ scope: scope.name, route })));
  const scope = routes.find(({ route }) => route === `${method} ${path.split("?")[0]}`)?.scope;
  return html`<${Card} title=${t.explainTitle} class="stack explain">
<form ref=${form} novalidate onSubmit=${(/** @type {Event} */ e) => {
    e.preventDefault();
    ask(question);
  }}>
${field("method", (a) => html`<select ...${a}>${[...new Set([...methods, method])].map((name) => html`<option value=${name}>${name}</option>`)}</select>`)}
${field("path", (a) => html`<input ...${a} class="mono" list="routes" placeholder="/api/unikernels" spellcheck=${false} autocomplete="off" />`)}
${field("ip", (a) => html`<input ...${a} class="mono" spellcheck=${false} autocomplete="off" />`)}
${bound && field("resources", (a) => html`<input ...${a} class="mono" placeholder="unikernel/web" spellcheck=${false} autocomplete="off" />`)}
${bound && method !== "GET" && field("body", (a) => html`<textarea ...${a} class="mono" rows="1" spellcheck=${false} />`)}
<button type="submit" class="button">${t.explain}</button>
<datalist id="routes">${[...new Set(routes.map(({ route }) => route.split(" ")[1]))].map((value) => html`<option value=${value} />`)}</datalist></form>
<div role="status" class="stack">${error?.message && !(error.field in question) && html`<p class="error">${error.message}</p>`}
${gates?.map(
  ({
    gate,
    allowed,
    status,
    code,
    checks,
  }) => html`<p class=${`banner ${allowed ? "good" : "bad"}`}>${gates.length > 1 && t.at(gate)}${
    allowed ? t.allowedRequest : t.refused(status, t.reason(code, scope))
  }</p>
<ul class="checks">${checks
    .sort((a, b) => +a.pass - +b.pass)
    .map(
      ({ name, pass, detail }) => html`<li class=${pass ? "" : "failed"}>
<${Icon} name=${pass ? "check" : "close"} label=${pass ? t.passed : t.failed} /><span>${detail.replace(/\d{4}-\S+Z/, dateTime)}</span>
${!pass && html`<${Remedy} token=${token} after=${after} cause=${{ code: name === "state" ? token.status : name === "resource" && code === "ambiguous_target" ? "" : (codes[name] ?? ""), scope, ip }} />`}</li>`,
    )}</ul>`,
)}</div></>`;
}
