// @ts-check
// The form for a key, in a sheet at the side.
import { html, useEffect, useState } from "./vendor/preact.js";
import { get, patch, post } from "./api.js";
import {
  bodyOf,
  boundsOf,
  changesOf,
  check,
  covers,
  draftOf,
  endOf,
  fits,
  fromLink,
  inWords,
  merge,
  namesOf,
  startOf,
  summary,
  toLink,
  within,
} from "./draft.js";
import { date, duration, list, zoneName } from "./format.js";
import { ResourcePicker } from "./resources.js";
import { href } from "./route.js";
import { loadScopes, ScopePicker } from "./scopes.js";
import { showSecret } from "./secret.js";
import { text } from "./text.js";
import { Copy, Dialog, Field, note, show, useAction } from "./ui.js";

/** @typedef {import("../types").Token} Token */
/** @typedef {import("./draft.js").Draft} Draft */
/** @typedef {import("./draft.js").Catalog} Catalog */

/** Opens the form for a new key, for one like another, or to edit one. prefill has the
 * parameters of a link to the form.
 * @param {{kind?: Token["kind"], edit?: Token, like?: Token, prefill?: Record<string, string>}} options */
export async function openForm({ edit, like, prefill, kind = (edit ?? like)?.kind ?? "api" }) {
  try {
    const catalog = await loadScopes();
    const { draft, unknown } = fromLink(prefill ?? {}, catalog, Date.now());
    const start = edit
      ? draftOf(edit)
      : like
        ? draftOf({ ...like, id: "", name: text.form.copyOf(like.name), not_before: null })
        : draft;
    if (!edit && !fits(start.expires_in, catalog, Date.now())) start.expires_in = catalog.max;
    const bounds = edit || start.resources.length ? [] : boundsOf(catalog, start.account);
    if (kind === "api") start.resources = [...start.resources, ...bounds];
    const props = {
      kind,
      edit,
      start,
      bounds,
      catalog,
      templates: kind === "api" && !(edit || like || prefill),
      unknown: prefill && unknown,
    };
    show((close) => html`<${KeyForm} ...${props} close=${close} />`);
  } catch (error) {
    note(/** @type {Error} */ (error).message, { bad: true });
  }
}

/** Returns the value of a member of a draft as text.
 * @param {string} key
 * @param {any} value */
const words = (key, value) =>
  key === "end" && value
    ? date(value)
    : (typeof value === "object" ? Object.values(value).join(", ") : value) || text.form.empty;

// The dialog asks before it drops what was entered.
const cancel = (/** @type {any} */ { target }) => target.closest("dialog").dispatchEvent(new Event("cancel"));

/** @param {{kind: Token["kind"], edit?: Token, start: Draft, bounds: string[], catalog: Catalog, templates: boolean,
 *   unknown?: [string, string][], close: () => void}} props */
function KeyForm({ kind, edit, start, bounds, catalog, templates, unknown, close }) {
  const t = text.form;
  const [draft, setDraft] = useState(start);
  const [base, setBase] = useState({
    token: edit,
    start,
    theirs: /** @type {Record<string, any> | null} */ (null),
  });
  const [tries, setTries] = useState(0);
  const [refused, setRefused] = useState(/** @type {Record<string, string>} */ ({}));
  // The tab of the snippets that fits the chosen template.
  const [tab, setTab] = useState("");
  const [dropped, setDropped] = useState(/** @type {string[]} */ ([]));
  // The resources that the form filled in for the account.
  const [filled, setFilled] = useState(bounds);
  // The type of the resource that the chosen template asks for.
  const [asked, setAsked] = useState(/** @type {{type: string} | null} */ (null));
  const [once] = useState(() => crypto.randomUUID?.() ?? `${Math.random()}`);
  const now = Date.now();
  const wrong = check(draft, kind, catalog, now);
  // The template, or a part of the link that couldn't be used, asks for a limit.
  const limited = asked || unknown?.some(([what]) => what === "resources");
  if (limited && catalog.types.length && !draft.resources.length) wrong.resources ??= t.wrong.unnamed;
  const errors = tries ? { ...refused, ...wrong } : {};
  /** @param {Partial<Draft>} change */
  const set = (change) => {
    setDraft({ ...draft, ...change });
    setRefused({});
  };
  // Scopes that the account doesn't allow couldn't be removed by hand.
  /** @param {string} account */
  const setAccount = (account) => {
    const scopes = within(draft.scopes, catalog, account);
    setDropped(
      namesOf(draft.scopes, catalog.scopes).filter((name) => !scopes.some((grant) => covers(grant, name))),
    );
    const own = boundsOf(catalog, account);
    const resources = draft.resources.join() === filled.join() ? own : draft.resources;
    setFilled(own);
    set({ account, scopes, resources });
  };
  useEffect(() => {
    const field = document.querySelector("dialog.sheet .field:has(> .error)");
    document.querySelector(".more:has(.error)")?.setAttribute("open", "");
    /** @type {HTMLElement | null | undefined} */ (
      field?.querySelector("input, textarea") ?? field?.querySelector("select")
    )?.focus();
  }, [tries]);
  const [busy, failure, submit] = useAction(async () => {
    setTries(tries + 1);
    if (Object.keys(wrong).length) return;
    try {
      if (base.token) await save(base.token);
      else await create();
    } catch (thrown) {
      const error = /** @type {import("./api.js").ApiError} */ (thrown);
      const field = error.field === "metadata" ? "owner" : error.field; // the others are called as in the API
      if (error.status === 412 && edit) return await clash(edit.id);
      if (error.status === 404 && edit) throw new Error(t.deleted);
      if (!t.labels[field]) throw error;
      // The server's sentences begin with the API's name of the field.
      setRefused({
        [field]: field.startsWith("expires")
          ? t.wrong.lifetime(duration(catalog.max))
          : error.message.replace(/^\w+: /, ""),
      });
      setTries(tries + 2);
    }
  });
  const create = async () => {
    // Repeating the request after a lost response doesn't create a second key.
    const created = await post("tokens", { ...bodyOf(draft, kind), kind }, { "Idempotency-Key": once });
    close();
    if (created.token) showSecret(created, { title: t.created, tab });
    else note(t.lost, { bad: true });
  };
  /** @param {Token} before */
  const save = async (before) => {
    const changes = changesOf(base.start, draft, kind);
    if (Object.keys(changes).length) note(t.updated((await patch(before, changes)).name));
    close();
  };
  /** @param {string} id */
  const clash = async (id) => {
    const token = await get(`tokens/${id}`);
    const { draft: merged, theirs } = merge(base.start, draft, draftOf(token));
    setDraft(merged);
    setBase({ token, start: draftOf(token), theirs });
  };

  /** Returns a control for a member of the draft, as a function of attributes.
   * @param {keyof Draft} key
   * @param {object} [more] */
  const control =
    (key, more, tag = "input") =>
    (/** @type {object} */ attributes) => html`<${tag} name=${key} value=${draft[key]} autocomplete="off"
    spellcheck=${false} dir="auto" onInput=${(/** @type {any} */ e) => set({ [key]: e.target.value })} ...${more} ...${attributes} />`;
  /** @param {keyof Draft} key
   * @param {string[][]} options
   * @param {object} [more] */
  const select = (key, options, more) =>
    control(
      key,
      { ...more, children: options.map(([value, words]) => html`<option value=${value}>${words}</option>`) },
      "select",
    );
  /** @param {keyof Draft} key
   * @param {(attributes: object) => any} [inner] */
  const field = (key, inner = control(key), hint = t.hints[key]) =>
    html`<${Field} label=${t.labels[key]} hint=${hint} error=${errors[key]}>${inner}</>`;
  /** @param {"rate_limit"|"quota"} key
   * @param {"window"|"period"} unit
   * @param {Record<string, string>} units */
  const limit = (key, unit, units) =>
    field(
      key,
      (attributes) => html`<span class="row">
    ${control(key, { inputmode: "numeric", placeholder: t.unlimited })(attributes)}${t.per[key]}
    ${select(unit, Object.entries({ [draft[unit]]: duration(draft[unit]), ...units }), { "aria-label": t.labels[unit] })({})}</span>`,
    );
  const time = { type: "datetime-local" };
  const own = boundsOf(catalog, draft.account);
  const lifetimes = [...new Set(["1mo", "3mo", "6mo", "1y", "2y", start.expires_in])].filter(
    (value) => endOf(value, now) && fits(value, catalog, now),
  );
  const can = summary(draft, kind, catalog, now);
  const theirs = Object.entries(base.theirs ?? {});
  const kept = Object.entries(draft.metadata).map((entry) => entry.join("=")).join(", "); // prettier-ignore

  return html`<${Dialog} sheet title=${edit ? t.edit : t.titles[kind]} onClose=${close} onSubmit=${submit}
    guard=${JSON.stringify(draft) === JSON.stringify(start) ? "" : t.unsaved}
    footer=${html`${can && html`<p class="summary" dir="auto">${can}</p>`}
      ${failure && html`<p class="error summary" role="alert">${failure.message}</p>`}
      ${!edit && kind === "api" && html`<${Copy} label=${t.link} value=${location.origin + location.pathname + href("new", toLink(draft, catalog))} />`}
      <button type="button" class="button" onClick=${cancel}>${text.cancel}</button>
      <button type="submit" class="button primary" disabled=${busy}>${edit ? t.save : t.create}</button>`}>
    ${unknown && html`<div class="banner" role="note">${[t.linked, ...unknown.map((asked) => t.unknown(...asked))].map((line) => html`<p>${line}</p>`)}</div>`}
    ${
      base.theirs &&
      html`<div class="banner warn" role="alert">${t.clash}<details><summary>${t.theirs}</summary>
      ${theirs.length ? theirs.map(([key, value]) => html`<p dir="auto">${t.labels[key]}: ${words(key, value)}</p>`) : t.unlisted}</details></div>`
    }
    ${
      templates &&
      html`<fieldset class="templates"><legend>${t.start}</legend>
      ${t.templates.map(([name, about, query, tabs]) => {
        const { scopes, expires_in } = fromLink(query, catalog, now).draft;
        const type = query.resources?.replace("/", "");
        const named = draft.name && !t.templates.some(([other]) => other === draft.name);
        return (
          scopes.length > 0 &&
          (!type || catalog.types.some(({ name }) => name === type)) &&
          html`<button type="button" class="filter" aria-pressed=${String(draft.name === name)}
          onClick=${() => {
            setTab(tabs ?? "");
            setAsked(type ? { type } : null);
            set({
              scopes: within(scopes, catalog, draft.account),
              expires_in,
              name: named ? draft.name : name,
            });
          }}><b>${name}</b><small>${about}</small></button>`
        );
      })}</fieldset>`
    }
    ${field("name", control("name", { autofocus: true }))}
    <div class="pair">${field("owner")}${field("tags")}</div>
    ${
      kind === "api" &&
      html`${field(
        "account",
        select(
          "account",
          [...new Set([start.account, ...catalog.accounts.map(({ name }) => name)])].map((name) => [
            name,
            name,
          ]),
          { onInput: (/** @type {any} */ e) => setAccount(e.target.value) },
        ),
        dropped.length > 0 ? t.dropped(draft.account, list(dropped)) : undefined,
      )}
      <${ScopePicker} catalog=${catalog} account=${draft.account} grants=${draft.scopes} error=${errors.scopes} onChange=${(/** @type {string[]} */ scopes) => set({ scopes })} />
      ${
        catalog.types.length > 0 &&
        field(
          "resources",
          (
            attributes,
          ) => html`<${ResourcePicker} account=${draft.account} types=${catalog.types} resources=${draft.resources} asked=${asked}
          attributes=${attributes} onChange=${(/** @type {string[]} */ resources) => set({ resources })} />`,
          own.length > 0 ? t.within(draft.account, list(own)) : undefined,
        )
      }`
    }
    <div class="pair">${field(
      "expires_in",
      select("expires_in", [
        ...(edit ? [["", t.keep(draft.end && date(draft.end))]] : []),
        ...lifetimes.map((value) => [
          value,
          `${inWords(value)} — ${date(endOf(value, startOf(draft, now)))}`,
        ]),
        ["date", t.date],
        ...(fits("never", catalog, now) ? [["never", text.never]] : []),
      ]),
    )}
      ${draft.expires_in === "date" && field("expires_at", control("expires_at", time), zoneName())}</div>
    <details class="more" open=${!!(start.allowed_ips || start.rate_limit || start.quota || start.not_before || start.note)}><summary>${t.more}</summary>
      ${field("allowed_ips", control("allowed_ips", { rows: 2 }, "textarea"))}
      ${kind === "api" && html`${limit("rate_limit", "window", t.windows)}${limit("quota", "period", t.periods)}`}
      ${field("not_before", control("not_before", time), zoneName())}
      ${field("note", control("note", { rows: 2 }, "textarea"))}
      ${kept && html`<p class="hint">${t.kept(kept)}</p>`}
    </details></>`;
}
