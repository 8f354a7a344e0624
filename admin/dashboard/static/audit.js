// @ts-check
// The audit log, as sentences grouped by day.
import { html, useState } from "./vendor/preact.js";
import { get, query } from "./api.js";
import { csv, save } from "./export.js";
import { clockSeconds, date, exact, zoneName } from "./format.js";
import { choose, keyHref, useRoute } from "./route.js";
import { actorName, dayStart, details, isKey, outcome } from "./sentences.js";
import { text } from "./text.js";
import { Empty, Field, Icon, Loaded, note, useData } from "./ui.js";

/** @typedef {import("../types").AuditEntry} AuditEntry */
/** @typedef {{name: string, deleted: boolean}} Named */
/** @typedef {{entries: AuditEntry[], more: boolean, names: Map<string | null, Named>, deleted: Set<string | null>}} Log */

const t = text.audit;
/** @type {Record<string, string>} */
const icons = {
  create: "plus",
  import: "plus",
  edit: "pencil",
  rotate: "rotate",
  revoke: "ban",
  disable: "pause",
  enable: "play",
  delete: "trash",
};

/** Loads entries, newest first.
 * @param {Record<string, string | null | undefined>} filter
 * @param {number} most */
async function load(filter, most) {
  /** @type {AuditEntry[]} */
  const entries = [];
  let cursor;
  do {
    const page = await get(
      `audit${query({ ...filter, cursor, limit: Math.min(200, most - entries.length) })}`,
    );
    entries.push(...page.data);
    cursor = page.next_cursor;
  } while (cursor && entries.length < most);
  return { entries, more: !!cursor };
}

/** Loads entries with the names of their actors. The last entry of a key has its name, and
 * is that of its deletion if it was deleted.
 * @param {Parameters<typeof load>[0]} filter
 * @param {number} most
 * @returns {Promise<Log>} */
async function loadNamed(filter, most) {
  const log = await load(filter, most);
  const oldest = log.entries.at(-1)?.time;
  const deletions = oldest ? (await load({ action: "delete", from: oldest }, 1000)).entries : [];
  /** @type {Log["names"]} */
  const names = new Map();
  for (const { actor } of log.entries) {
    if (names.has(actor)) continue;
    const own = isKey(actor) && (await load({ token_id: actor }, 1)).entries[0];
    names.set(actor, {
      name: (own && own.token_name) || actorName(actor),
      deleted: !own || own.action === "delete",
    });
  }
  return { ...log, names, deleted: new Set([null, ...deletions.map((entry) => entry.token_id)]) };
}

export function AuditPage() {
  const chosen = useRoute().query;
  const [most, setMost] = useState(50);
  const { action, actor, token_id, from, to } = chosen;
  const filter = { action, actor, token_id, from: dayStart(from), to: dayStart(to, 1) };
  const log = useData(
    () => loadNamed(filter, most),
    [JSON.stringify(filter), most],
    ({ kind }) => kind === "change",
  );
  const recent =
    useData(
      async () => (await get("tokens?limit=200")).data,
      [],
      () => false,
    ).data ?? [];

  /** @type {Record<string, Map<string | null, string | null>>} */
  const options = {
    action: new Map(Object.entries(t.actions)),
    actor: new Map(),
    token_id: new Map(),
  };
  for (const { id, name, kind } of recent) {
    options.token_id.set(id, name);
    if (kind === "admin") options.actor.set(id, name);
  }
  for (const entry of log.data?.entries ?? []) {
    if (entry.token_id) options.token_id.set(entry.token_id, entry.token_name);
    options.actor.set(entry.actor, log.data?.names.get(entry.actor)?.name ?? "");
  }

  /** @param {"csv" | "json"} format */
  const download = async (format) => {
    try {
      const { entries, more, names } = await loadNamed(filter, 10_000);
      const records = entries.map((entry) => ({ ...entry, actor_name: names.get(entry.actor)?.name }));
      save(`audit.${format}`, format === "csv" ? csv(records) : JSON.stringify(records, null, 2));
      note(t.exported(entries.length, more));
    } catch (/** @type {any} */ error) {
      note(error.message, { bad: true });
    }
  };

  /** @param {Log} log */
  const draw = ({ entries, more, names, deleted }) => {
    let last = "";
    return html`<div class="card">${entries.flatMap((entry) => {
      const { action, actor, time, token_id: id, token_name: name, address } = entry;
      const day = date(time ?? 0);
      const heading = day !== last && html`<h2 key=${day} class="day">${(last = day)}</h2>`;
      // The key keeps a focused link in its entry when newer entries appear above it.
      const row = html`<div key=${`${[time, action, id]}`} class="entry"><span class=${/revoke|delete/.test(action) && "error"}><${Icon} name=${icons[action] ?? "settings"} /></span>
        <p><${Key} id=${actor} ...${names.get(actor)} /> ${t.actions[action] ?? action} ${id && html`<${Key} id=${action === "delete" ? "" : id} name=${name || id} deleted=${deleted.has(id)} />`} ${outcome(entry)}</p>
        ${details(entry).map(
          ({ label, words, added, removed }) => html`<p class="chips"><span class="muted">${label}</span>
          ${removed?.map((item) => html`<code class="chip removed">− ${item}</code>`)}${added?.map((item) => html`<code class="chip added">+ ${item}</code>`)}
          <span dir="auto">${words}</span></p>`,
        )}<p class="row muted">${address && html`<span>${address}</span>`}<time datetime=${time} title=${exact(time ?? 0)}>${clockSeconds(time ?? 0)}</time></p></div>`;
      return [heading, row];
    })}</div>
    ${!entries[0] && html`<${Empty} icon="list" title=${t.empty} />`}
    ${more && html`<button type="button" class="button" disabled=${log.loading} onClick=${() => setMost(most + 100)}>${t.more}</button>`}`;
  };

  return html`<div class="page-head"><h1>${text.pages.audit}</h1><span class="muted">${t.zone(zoneName())}</span>
    ${
      /** @type {("csv" | "json")[]} */ (["csv", "json"]).map(
        (format) => html`<button type="button" class="button" onClick=${() => download(format)}>
      <${Icon} name="download" />${t.export(format)}</button>`,
      )
    }</div>
    <div class="filters">${Object.entries(t.filters).map(
      ([name, label]) =>
        html`<${Field} key=${name} label=${label} error=${name === "to" && from && to && to < from && t.order}>${(
          /** @type {object} */ attributes,
        ) => html`
      <${options[name] ? "select" : "input"} ...${attributes} type=${options[name] ? undefined : "date"} value=${chosen[name] ?? ""}
        onChange=${(/** @type {any} */ e) => choose({ [name]: e.target.value })}>${
          options[name] &&
          html`<option value="">${t.any}</option>
        ${[...options[name]].map(([value, words]) => html`<option key=${value} value=${value}>${words}</option>`)}`
        }</>`}</>`,
    )}
      ${Object.values(filter).some(Boolean) && html`<a class="button" href="#audit">${t.clear}</a>`}</div>
    <${Loaded} of=${log}>${draw}</>`;
}

/** Key is a link to a key. What was deleted has no page.
 * @param {Named & {id: string}} props */
const Key = ({ id, name, deleted }) =>
  deleted
    ? html`<b dir="auto">${name}</b>${isKey(id) && ` ${t.deleted}`}`
    : html`<a href=${keyHref(id)} dir="auto">${name}</a>`;
