// @ts-check
// What can be done with keys: the menu of a key, and the questions before one or many are changed.
import { html, useRef, useState } from "./vendor/preact.js";
import { connection, get, patch, post, remove } from "./api.js";
import { covers, endOf, inWords } from "./draft.js";
import { openForm } from "./form.js";
import * as format from "./format.js";
import { showSecret } from "./secret.js";
import { text } from "./text.js";
import { copySelected, Dialog, Field, Icon, isRotating, note, Scopes, show, useAction, useId } from "./ui.js";

/** @typedef {import("../types").Token} Token */
/** @typedef {(changed: Token[]) => void} After */

const t = text.actions;
const quoted = (/** @type {Token[]} */ tokens) =>
  tokens.length === 1 ? `"${tokens[0].name}"` : t.keys(tokens.length);
const path = (/** @type {Token} */ token, action = "") => `tokens/${token.id}${action && `/${action}`}`;

/** Reports whether an action is possible in a key's state.
 * @type {Record<string, (token: Token) => boolean>} */
export const can = {
  change: ({ status }) => ["active", "not_yet_valid", "disabled"].includes(status),
  disable: ({ status }) => status === "active" || status === "not_yet_valid",
  enable: ({ status }) => status === "disabled",
};

/** Returns a key's tags.
 * @param {Token} token */
export const tagsOf = (token) => split(token.metadata?.tags ?? "");
const split = (/** @type {string} */ tags) => [...new Set(tags.split(",").map((tag) => tag.trim()).filter(Boolean))]; // prettier-ignore

/** Returns the actions that a key's state allows, for a Menu.
 * @param {Token} token
 * @param {After} after */
export function menuItems(token, after) {
  const [kind, known] = [/** @type {"api"|"admin"} */ (token.kind), token.kind !== "unknown"];
  const all = [token];
  /** @type {[boolean, string, string, () => void, boolean?][]} */
  const items = [
    [can.change(token), t.edit, "pencil", () => openForm({ kind, edit: token })],
    [known, t.like, "plus", () => openForm({ kind, like: token })],
    [can.change(token), t.extend.label, "calendar", () => askExtend(all, after)],
    [can.change(token), t.tags.label, "tag", () => askTags(all, after)],
    [can.change(token), t.rotate.label, "rotate", () => askRotate(token, after)],
    [true, t.copyID, "copy", () => copyID(token)],
    [can.disable(token), t.disable.label, "pause", () => askDisable(all, after)],
    [can.enable(token), t.enable.label, "play", () => enable(all, after)],
    [can.change(token), t.revoke.label, "ban", () => askRevoke(all, after), true],
    [true, t.delete.label, "trash", () => askDelete(all, after), true],
  ];
  return items
    .filter(([possible]) => possible)
    .map(([, label, icon, run, danger]) => ({ label, icon, run, danger }));
}

/** @param {Token} token */
async function copyID({ id }) {
  const copied = await navigator.clipboard?.writeText(id).then(() => true, () => false); // prettier-ignore
  if (copied || copySelected(id)) note(t.copied(id));
  else note(text.copyFailed, { bad: true });
}

/** Changes a key's present version, so no newer change is lost.
 * @param {Token} token
 * @param {(fresh: Token) => object} body */
async function change(token, body) {
  const fresh = await get(path(token));
  return patch(fresh, body(fresh));
}

/** Does something with one key after another. An error doesn't keep it from the others.
 * @param {Token[]} tokens
 * @param {(token: Token) => Promise<unknown>} run
 * @param {(done: number) => boolean} [go] is told the progress, and reports whether to go on */
async function each(tokens, run, go = () => true) {
  /** @type {{done: Token[], failed: {token: Token, message: string}[]}} */
  const result = { done: [], failed: [] };
  for (const [i, token] of tokens.entries()) {
    if (!go(i)) break;
    try {
      await run(token);
      result.done.push(token);
    } catch (error) {
      result.failed.push({ token, message: /** @type {Error} */ (error).message });
    }
  }
  return result;
}

/** Does something without a question, and says what came of it.
 * @param {string} past
 * @param {Token[]} tokens
 * @param {(token: Token) => Promise<unknown>} run
 * @param {After} after */
async function doNow(past, tokens, run, after) {
  const { done, failed } = await each(tokens, run);
  if (failed.length) note(`${t.failed(failed.length, tokens.length)} ${failed[0].message}`, { bad: true });
  if (!done.length) return;
  note(t.done(past, quoted(done)));
  after(done);
}

/** Returns the keys that can be changed, and how many can't.
 * @param {Token[]} tokens
 * @param {(token: Token) => boolean} possible */
function only(tokens, possible) {
  const some = tokens.filter(possible);
  return { tokens: some, skipped: tokens.length - some.length };
}

/** Shows one of the dialogs below.
 * @param {(props: any) => any} part
 * @param {object} props */
const open = (part, props) => void show((close) => html`<${part} ...${props} close=${close} />`);

/** Task is a dialog that does something with each key. It shows the progress and keeps the keys
 * that failed, to try them again. Closing it stops before the next key.
 * @param {{name: "revoke"|"disable"|"delete"|"extend"|"tags"|"rotate"|"trim"|"trimResources", tokens: Token[], after: After, close: () => void, children?: any, ready?: any, skipped?: number,
 *   run: (token: Token) => Promise<unknown>, undo?: (token: Token) => Promise<unknown>, done?: () => void}} props */
function Task({ name, tokens, after, close, children, ready = true, skipped = 0, run, undo, done }) {
  const [progress, setProgress] = useState(0);
  const [failed, setFailed] = useState(/** @type {{token: Token, message: string}[]} */ ([]));
  const state = useRef({ changed: /** @type {Token[]} */ ([]), stopped: false }).current;
  const left = failed.length ? failed.map(({ token }) => token) : tokens;
  const { label, past } = t[name];
  const leave = () => {
    close();
    const { changed } = state;
    if (!changed.length) return;
    if (done) done();
    else
      note(
        t.done(past, quoted(changed)),
        undo && { label: t.undo, run: () => doNow(t.restored, changed, undo, after) },
      );
    after(changed);
  };
  const [busy, , submit] = useAction(async () => {
    setFailed([]);
    const result = await each(left, run, (n) => {
      setProgress(n);
      return !state.stopped;
    });
    state.changed.push(...result.done);
    setFailed(result.failed);
    if (state.stopped || !result.failed.length) leave();
  });
  const cancel = () => {
    state.stopped = true;
    if (!busy) leave();
  };
  const many = tokens.length > 1;
  return html`<${Dialog} title=${t.title(t[name], quoted(tokens))} onClose=${cancel} onSubmit=${submit}
    footer=${html`${busy && many && html`<span>${text.keys.of(progress, left.length)}</span>`}<button type="button" class="button" autofocus onClick=${cancel}>${text.cancel}</button>
      <button class=${`button ${/revoke|delete/.test(name) ? "danger" : "primary"}`} disabled=${busy || !ready || !left.length}>${failed.length ? text.retry : label}</button>`}>
    ${children}${skipped > 0 && html`<p class="hint">${t.skipped(skipped)}</p>`}${
      failed.length > 0 &&
      html`<div class="error" role="alert">${many && t.failed(failed.length, tokens.length)}${failed.map(
        ({ token, message }) => html`<p dir="auto">${many && `${token.name}: `}${message}</p>`,
      )}</div>`
    }</>`;
}

/** @param {{words: string}} props */
const Warning = ({ words }) => html`<p class="banner warn"><${Icon} name="alert" /><span>${words}</span></p>`;

/** Uses says when, from where and by what keys were last used, and warns if it was just now.
 * @param {{tokens: Token[]}} props */
function Uses({ tokens }) {
  const recent = tokens.filter(
    ({ last_used_at: at }) => at && Date.now() - Date.parse(at) < 3_600_000,
  ).length;
  /** @param {Token} token */
  const use = ({ last_used_at: at, last_used_ip: ip, last_used_user_agent: agent }) =>
    at ? t.lastUse(format.relative(at), format.dateTime(at), ip, agent) : t.neverUsed;
  return html`${recent > 0 && html`<${Warning} words=${t.recent(recent, tokens.length)} />`}
    ${
      tokens.length === 1
        ? html`<p class="muted">${use(tokens[0])}</p>`
        : html`<ul class="uses" tabindex="0">${tokens.map((token) => html`<li><span dir="auto">${token.name}</span> <small>${use(token)}</small></li>`)}</ul>`
    }`;
}

/** Stop asks before keys are revoked, disabled or deleted.
 * @param {any} props */
const Stop = (
  props,
) => html`<${Task} ...${props}><p>${t[/** @type {"revoke"} */ (props.name)].body(props.tokens.length)}</p>
  ${props.tokens.some((/** @type {Token} */ { id }) => id === connection.session?.actor) && html`<${Warning} words=${t.own} />`}<${Uses} tokens=${props.tokens} /></>`;

const act = (/** @type {string} */ action) => (/** @type {Token} */ token) => post(path(token, action));

/** @type {(tokens: Token[], after: After) => void} */
export const askRevoke = (tokens, after) =>
  open(Stop, { name: "revoke", ...only(tokens, can.change), run: act("revoke"), after });

/** @type {(tokens: Token[], after: After) => void} */
export const askDisable = (tokens, after) =>
  open(Stop, {
    name: "disable",
    ...only(tokens, can.disable),
    run: act("disable"),
    undo: act("enable"),
    after,
  });

/** @type {(tokens: Token[], after: After) => void} */
export const askDelete = (tokens, after) =>
  open(Stop, { name: "delete", tokens, run: (/** @type {Token} */ token) => remove(path(token)), after });

/** @type {(tokens: Token[], after: After) => void} */
export const enable = (tokens, after) =>
  void doNow(t.enable.past, tokens.filter(can.enable), act("enable"), after);

const expiry = (/** @type {Token} */ token) => (token.expires_at ? Date.parse(token.expires_at) : Infinity);
const ahead = (/** @type {string} */ term) => endOf(term, Date.now());

/** Terms offers durations, each with the date on which it ends. It can't end before first, nor
 * after last. none is the label of the duration "".
 * @param {{label: string, terms: string[], value: string, onChange: (value: string) => void, none?: string, last?: number, first?: number}} props */
function Terms({ label, terms, value, onChange, none, last = Infinity, first = 0 }) {
  const name = useId();
  return html`<fieldset class="terms"><legend>${label}</legend>${terms.map(
    (
      term,
    ) => html`<label key=${term} class="check"><input type="radio" name=${name} checked=${term === value} disabled=${ahead(term) < first}
      onChange=${() => onChange(term)} />${term ? html`${inWords(term)}<small>${format.dateTime(Math.min(ahead(term), last))}</small>` : none}</label>`,
  )}</fieldset>`;
}

/** @type {(tokens: Token[], after: After) => void} */
export const askExtend = (tokens, after) => open(Extend, { ...only(tokens, can.change), after });

/** @param {{tokens: Token[], after: After, close: () => void}} props */
function Extend(props) {
  const terms = ["1w", "1mo", "3mo", "6mo", "1y"];
  const first = Math.min(...props.tokens.map(expiry));
  const [term, setTerm] = useState(
    () => terms.find((term) => ahead(term) > Math.max(first, ahead("2mo"))) ?? "1y",
  );
  const tokens = props.tokens.filter((token) => expiry(token) < ahead(term));
  const later = props.tokens.length - tokens.length;
  return html`<${Task} name="extend" ...${props} tokens=${tokens} run=${(/** @type {Token} */ token) => change(token, () => ({ expires_in: term }))}
    undo=${(/** @type {Token} */ token) => change(token, () => ({ expires_at: token.expires_at }))}>
    <${Terms} label=${t.until} ...${{ terms, first }} value=${term} onChange=${setTerm} />${later > 0 && html`<p class="hint">${t.later(later)}</p>`}</>`;
}

/** @type {(tokens: Token[], after: After) => void} */
export const askTags = (tokens, after) => open(Tags, { ...only(tokens, can.change), after });

/** @param {{tokens: Token[], after: After, close: () => void}} props */
function Tags(props) {
  const [added, setAdded] = useState("");
  const [removed, setRemoved] = useState(/** @type {string[]} */ ([]));
  const present = [...new Set(props.tokens.flatMap(tagsOf))].sort();
  const without = (/** @type {string[]} */ tags, /** @type {string[]} */ gone) =>
    tags.filter((tag) => !gone.includes(tag));
  /** @param {Token} token
   * @param {(fresh: Token) => string | undefined} tags */
  const save = (token, tags) => change(token, (fresh) => ({ metadata: { tags: tags(fresh) || null } }));
  return html`<${Task} name="tags" ...${props} ready=${added.trim() || removed.length}
    run=${(/** @type {Token} */ token) => save(token, (fresh) => split([...without(tagsOf(fresh), removed), added].join()).join(", "))}
    undo=${(/** @type {Token} */ token) => save(token, () => token.metadata?.tags)}>
    <${Field} label=${t.add} hint=${t.addHint}>${(
      /** @type {object} */ attributes,
    ) => html`<input autofocus value=${added}
      onInput=${(/** @type {any} */ e) => setAdded(e.target.value)} ...${attributes} />`}</>
    ${
      present.length > 0 &&
      html`<fieldset class="terms"><legend>${t.present}</legend>${present.map(
        (tag) => html`<label key=${tag} class="check"><input type="checkbox" checked=${!removed.includes(tag)}
        onChange=${() => setRemoved(removed.includes(tag) ? without(removed, [tag]) : [...removed, tag])} /><span dir="auto">${tag}</span></label>`,
      )}</fieldset>`
    }</>`;
}

/** @type {(token: Token, after: After) => void} */
export const askRotate = (token, after) => open(Rotate, { token, after });

/** @param {{token: Token, after: After, close: () => void}} props */
function Rotate({ token, ...props }) {
  const [grace, setGrace] = useState("24h");
  const [term, setTerm] = useState(token.expires_soon ? "3mo" : "");
  const last = Math.min(expiry(token), term ? ahead(term) : Infinity);
  const created = useRef(/** @type {any} */ (null));
  const run = async () => {
    created.current = await post(
      path(token, "rotate"),
      { grace: grace || "0s", ...(term && { expires_in: term }) },
      { "If-Match": `"${token.version}"` },
    );
  };
  const done = () =>
    showSecret(created.current, {
      title: `${t.rotate.past} ${quoted([token])}`,
      until: created.current.previous_valid_until,
    });
  return html`<${Task} name="rotate" tokens=${[token]} ...${{ ...props, run, done }}><p>${t.rotate.body}</p>
    <${Terms} label=${t.overlap} terms=${["1h", "24h", "7d", "30d", ""]} value=${grace} none=${t.stop} last=${last} onChange=${setGrace} />
    <${Terms} label=${t.expires} terms=${["", "1mo", "3mo", "6mo", "1y"]} value=${term} none=${t.keep(token.expires_at ? format.date(token.expires_at) : "")} onChange=${setTerm} />
    ${isRotating(token) && html`<${Warning} words=${t.replaced} />`}<${Uses} tokens=${[token]} /></>`;
}

/** Returns the scopes that a key needs for those that it used.
 * @param {string[]} granted
 * @param {string[]} used */
export const needed = (granted, used) =>
  [...new Set(used)].filter((scope) => granted.some((grant) => covers(grant, scope))).sort();

/** Returns since when a key's unused scopes or resources are unused.
 * @param {Token} token */
export const unusedHint = (token) =>
  Date.parse(token.created_at ?? "") > Date.now() - 90 * format.day
    ? t.unusedSince(format.relative(token.created_at))
    : t.unused;

/** @param {Token} token
 * @param {string[]} used
 * @param {After} after */
export function askTrim(token, used, after) {
  const granted = token.scopes ?? [];
  const kept = needed(granted, used);
  const set = (/** @type {string[]} */ scopes) => () => change(token, () => ({ scopes }));
  if (!kept.length) return note(t.allUnused, { bad: true });
  open(Task, {
    name: "trim",
    tokens: [token],
    run: set(kept),
    undo: set(granted),
    after,
    children: html`
    <p>${unusedHint(token)}</p>
    <${Scopes} scopes=${granted.filter((scope) => !kept.includes(scope))} /><h3>${t.kept}</h3><${Scopes} scopes=${kept} />`,
  });
}

/** Asks whether to bind a key only to those of its resources that it used.
 * @param {Token} token
 * @param {string[]} used
 * @param {After} after */
export function askTrimResources(token, used, after) {
  const bound = token.resources ?? [];
  const kept = bound.filter((resource) => used.includes(resource));
  const set = (/** @type {string[]} */ resources) => () => change(token, () => ({ resources }));
  open(Task, {
    name: "trimResources",
    tokens: [token],
    run: set(kept),
    undo: set(bound),
    after,
    children: html`
    <p>${unusedHint(token)}</p>
    <${Scopes} scopes=${bound.filter((resource) => !kept.includes(resource))} /><h3>${t.keptResources}</h3><${Scopes} scopes=${kept} />`,
  });
}
