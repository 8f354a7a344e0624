// @ts-check
// The page of all API keys or of all admin keys. Its filters, order and page are in the address.
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./vendor/preact.js";
import { askDisable, askExtend, askRevoke, askTags, can } from "./actions.js";
import { get, query as search } from "./api.js";
import { csv, save } from "./export.js";
import { FilterBar } from "./filterbar.js";
import {
  chooseFilter,
  clearFilters,
  columns,
  defaults,
  fit,
  request,
  setFilters,
  statuses,
} from "./filters.js";
import { openForm } from "./form.js";
import { count } from "./format.js";
import { Cards, Table } from "./keytable.js";
import { prefs, setPrefs, usePrefs } from "./prefs.js";
import { go, href, useRoute } from "./route.js";
import { pickFiles } from "./search.js";
import { text } from "./text.js";
import { Button, Empty, Icon, Loaded, Menu, note, useData } from "./ui.js";

/** @typedef {import("../types").Token} Token */
/** @typedef {Record<string, string>} Query */

const t = text.keys;
const pageSize = 50;
// Selections and exports hold at most this many keys.
const mostKeys = 10_000;
// In larger stores, counting the keys of each status would take seconds.
const mostCounted = 50_000;

const list = (/** @type {object} */ parameters) => get(`tokens${search({ ...parameters })}`);
const report = (/** @type {Error} */ error) => note(error.message, { bad: true });

/** Loads all keys with some filters, page after page.
 * @param {object} parameters */
async function loadAll(parameters) {
  /** @type {Token[]} */
  const all = [];
  for (let cursor = ""; cursor !== null && all.length < mostKeys;) {
    const page = await list({ ...parameters, limit: 200, cursor });
    all.push(...page.data);
    cursor = page.next_cursor;
    if (cursor && all.length >= mostKeys) note(t.cut(mostKeys), { bad: true });
  }
  return all;
}

/** @param {Token[]} tokens */
const download = (tokens) =>
  save(
    `keys-${new Date().toISOString().slice(0, 10)}.csv`,
    csv(tokens.map((token) => ({ ...token, owner: token.metadata?.owner, tags: token.metadata?.tags }))),
  );

/** What can be done with all selected keys.
 * @type {{label: string, icon: string, possible: (token: Token) => boolean,
 *   run: (tokens: Token[], after: (done: Token[]) => void) => void}[]} */
const bulk = [
  { label: text.actions.revoke.label, icon: "ban", possible: can.change, run: askRevoke },
  { label: text.actions.disable.label, icon: "pause", possible: can.disable, run: askDisable },
  { label: text.actions.extend.label, icon: "calendar", possible: can.change, run: askExtend },
  { label: text.actions.tags.label, icon: "tag", possible: can.change, run: askTags },
  { label: t.export, icon: "download", possible: () => true, run: download },
];

/** @param {{kind: "api"|"admin"}} props */
export function KeysPage({ kind }) {
  const { page: route, query } = useRoute();
  usePrefs();
  const [width, box] = useWidth();
  const phone = matchMedia("(max-width: 40rem)").matches;
  const filters = setFilters(query);
  const { tokens, page, more } = useRows(kind, query, box);
  const rows = /** @type {Token[]} */ (tokens.data ?? []);
  const { counts, all } = useCounts(kind, query);
  const total = counts?.get(query.status ?? "");
  const { selected, selection, toggle, clear } = useSelection(rows, filterKey(query));
  const { shown, menu } = useColumns(kind, width);
  const unselect = (/** @type {Token[]} */ done) => toggle(done, false);
  const turn = (/** @type {number} */ to) => {
    go(href(route, { ...query, page: to > 1 && to }));
    scrollTo(0, 0);
  };
  const selectAll = () => loadAll(request(kind, query)).then((found) => toggle(found, true), report);
  const exportAll = () => loadAll(request(kind, query)).then(download, report);
  const create = html`<${Button} icon="plus"
    label=${kind === "api" ? text.newKey : text.newAdminKey} onClick=${() => openForm({ kind })} />`;
  const first = (page - 1) * pageSize;
  const range = `${count(first + 1)}–${count(first + rows.length)}`;
  const parts = {
    rows,
    selected,
    toggle,
    shown,
    sort: query.sort ?? "-created_at",
    after: unselect,
    space: width > 1500 ? 3 : width > 1250 ? 2 : 1,
  };
  const title =
    filters.length && all !== undefined && total !== undefined
      ? t.of(total, all)
      : total !== undefined && count(total);
  return html`<div class="page-head">
      <h1>${text.pages[/** @type {"keys"} */ (route)]} <small>${title}</small></h1>
      ${!phone && menu}
      <${Button} icon="download" label=${t.export} hide=${phone} onClick=${exportAll} />
      ${kind === "api" && html`<${Button} icon="upload" label=${text.search.scan} hide=${phone} onClick=${pickFiles} />`}
      ${kind === "admin" && create}
    </div>
    <${FilterBar} ...${{ kind, query, phone, counts, filters }} />
    <div class="keys" ref=${box} tabindex="-1">
      <${Loaded} of=${tokens}>${() => {
        if (rows.length) return html`<${phone ? Cards : Table} ...${parts} />`;
        if (!filters.length)
          return html`<${Empty} title=${t.empty[kind]}><p>${t.emptyHint[kind]}</p>${create}</>`;
        return html`<${Empty} icon="search" title=${t.none}><${Button} label=${t.clear} onClick=${clearFilters} /></>`;
      }}</>
    </div>
    ${
      (page > 1 || more) &&
      html`<nav class="row pager" aria-label=${t.pages}>
      <span class="muted">${total === undefined ? range : t.of(range, total)}</span>
      <${Button} disabled=${page < 2} onClick=${() => turn(page - 1)} label=${t.previous} />
      <${Button} disabled=${!more} onClick=${() => turn(page + 1)} label=${t.next} />
    </nav>`
    }
    ${
      selection.length > 0 &&
      html`<div class="selection" role="group" aria-label=${t.selection}>
      <b role="status">${t.selected(selection.length)}</b>
      ${
        selection.length < Math.min(total ?? mostKeys, mostKeys) &&
        html`<${Button} class="link" label=${t.selectAll(total)} onClick=${selectAll} />`
      }
      ${bulk.map(
        ({ label, icon, possible, run }) => html`<${Button} class="button small" ...${{ label, icon }}
          disabled=${!selection.some(possible)} onClick=${() => run(selection, () => {})} />`,
      )}
      <${Button} class="icon-button" icon="close" hide label=${t.unselect} onClick=${clear} />
    </div>`
    }`;
}

/** Returns the width of the element that gets the reference.
 * @returns {[number, {current: any}]} */
function useWidth() {
  const box = useRef(null);
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(entry.contentRect.width));
    observer.observe(/** @type {any} */ (box.current));
    return () => observer.disconnect();
  }, []);
  return [width, box];
}

/** Returns a text that changes with the filters.
 * @param {Query} query */
const filterKey = (query) => JSON.stringify(setFilters(query).map((name) => [name, query[name]]));

/** Loads the rows of the page in the address.
 * @param {"api"|"admin"} kind
 * @param {Query} query
 * @param {{current: HTMLElement | null}} box the element with the rows */
function useRows(kind, query, box) {
  const page = Number(query.page) || 1;
  const filters = filterKey(query);
  const known = useMemo(
    () => ({ cursors: [""], rows: /** @type {Token[]} */ ([]), page: 0, focused: false }),
    [filters, query.sort],
  );
  const load = async () => {
    const { cursors } = known;
    const parameters = request(kind, query);
    // A link to a later page needs the cursors before it. Steps of four pages find it soon.
    let at = Math.min(page, cursors.length) - 1;
    while (cursors[at] === undefined) at--;
    while (at < page - 1) {
      const step = Math.min(4, page - 1 - at);
      const { next_cursor } = await list({ ...parameters, limit: step * pageSize, cursor: cursors[at] });
      if (!next_cursor) break;
      cursors[(at += step)] = next_cursor;
    }
    const { data, next_cursor } = await list({ ...parameters, limit: pageSize, cursor: cursors[at] });
    // The address may name a page that doesn't exist.
    if (at < page - 1 || (at && !data.length)) chooseFilter({ page: data.length ? at + 1 : at });
    cursors.splice(at + 1, Infinity, ...(next_cursor ? [next_cursor] : []));
    known.page = page;
    // The rows don't change places while one has the focus or an open menu.
    known.focused = !!box.current?.querySelector("tbody,ul")?.contains(document.activeElement);
    if (known.focused) keepOrder(data, known.rows);
    return (known.rows = data);
  };
  // Usage changes the rows that are shown, and the order if it is by usage.
  const tokens = useData(
    load,
    [filters, query.sort, page],
    ({ kind: event, ids }) =>
      event === "change" || /us/.test(query.sort) || known.rows.some(({ id }) => ids?.includes(id)),
  );
  // The row that had the focus may be gone.
  useLayoutEffect(() => {
    if (known.focused && document.activeElement === document.body) box.current?.focus();
  }, [tokens.data]);
  // While the next page loads, the button keeps the focus.
  const turning = known.page > 0 && known.page !== page;
  return { tokens, page, more: turning || known.cursors[page] !== undefined };
}

/** Sorts rows as they were, if they are the same.
 * @param {Token[]} rows
 * @param {Token[]} old */
function keepOrder(rows, old) {
  const at = new Map(old.map(({ id }, i) => [id, i]));
  if (rows.every(({ id }) => at.has(id))) rows.sort((a, b) => Number(at.get(a.id)) - Number(at.get(b.id)));
}

/** Counts the keys of each status that match the other filters. The status "" is any. In a large
 * store, only the counts without other filters are known, and counts has no others.
 * @param {"api"|"admin"} kind
 * @param {Query} query */
function useCounts(kind, query) {
  const filters = filterKey(query);
  const load = async () => {
    const { tokens } = await get("overview");
    if (!tokens) setTimeout(reload, 1000); // the first survey isn't finished
    /** @type {[string, number][]} */
    const found = Object.entries(tokens?.status ?? {});
    const api = found.reduce((sum, [, n]) => sum + n, 0);
    const all = kind === "api" ? api : (tokens?.admin ?? 0);
    if (tokens && api + tokens.admin <= mostCounted) {
      const number = async (/** @type {string} */ status) =>
        (await list({ ...request(kind, { ...query, status }), limit: 1, count: true })).total;
      const numbers = await Promise.all(statuses.map(number));
      return { counts: new Map(statuses.map((status, i) => [status, numbers[i]])), all };
    }
    if (!tokens || setFilters(query).some((name) => name !== "status"))
      return { counts: new Map(), all: undefined };
    return {
      counts: new Map(kind === "api" ? [["", all], ["expiring", tokens.expiring], ...found] : [["", all]]),
      all,
    };
  };
  const { data, reload } = useData(load, [filters], ({ kind: event }) => event === "change");
  return /** @type {{counts?: Map<string, number>, all?: number}} */ (data ?? {});
}

/** Keeps the selected keys until the filters change, with their newest state.
 * @param {Token[]} rows
 * @param {string} filters */
function useSelection(rows, filters) {
  const [selected, setSelected] = useState(/** @type {Map<string, Token>} */ (new Map()));
  const clear = () => setSelected(new Map());
  useEffect(clear, [filters]);
  const fresh = new Map(rows.map((token) => [token.id, token]));
  const selection = [...selected].map(([id, token]) => fresh.get(id) ?? token);
  const toggle = (/** @type {Token[]} */ some, on = !some.every(({ id }) => selected.has(id))) =>
    setSelected((old) => {
      const next = new Map(old);
      for (const token of some) on ? next.set(token.id, token) : next.delete(token.id);
      return next;
    });
  return { selected, selection, toggle, clear };
}

/** Returns the columns to show in a table of some width, and the menu to choose them.
 * @param {"api"|"admin"} kind
 * @param {number} width */
function useColumns(kind, width) {
  const possible = columns
    .map(({ name }) => name)
    .filter((name) => kind === "api" || !["account", "scopes", "resources"].includes(name));
  const chosen = prefs.columns ?? defaults;
  const wanted = possible.filter((name) => chosen.includes(name));
  const shown = fit(wanted, width);
  const items = possible.map((name) => {
    const [on, fits] = [wanted.includes(name), shown.some((column) => column.name === name)];
    return {
      label: t.columns[/** @type {"key"} */ (name)] + (on && !fits ? t.noRoom : ""),
      checked: on,
      run: () => setPrefs({ columns: on ? chosen.filter((other) => other !== name) : [...chosen, name] }),
    };
  });
  const content = html`<${Icon} name="columns" />${t.choose}`;
  return { shown, menu: html`<${Menu} label=${t.choose} class="button" ...${{ content, items }} />` };
}
