// @ts-check
// The rows of the table of keys, which are cards on a phone.
import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { menuItems, tagsOf } from "./actions.js";
import { connection, get, query } from "./api.js";
import { fill, Spark } from "./chart.js";
import { chooseFilter } from "./filters.js";
import * as format from "./format.js";
import { keyHref } from "./route.js";
import { text } from "./text.js";
import { Copy, Icon, Menu, Scopes, Status, When } from "./ui.js";

/** @typedef {import("../types").Token} Token */

const t = text.keys;

/** @typedef {{rows: Token[], selected: Map<string, Token>, toggle: (tokens: Token[]) => void, after: After,
 *   shown: import("./filters.js").Column[], sort: string, space: number}} Parts
 * @typedef {(changed: Token[]) => void} After */

/** @param {{label: string, tokens: Token[]} & Parts} props */
function Check({ label, tokens, selected, toggle }) {
  const n = tokens.filter(({ id }) => selected.has(id)).length;
  return html`<label class="select"><input type="checkbox" aria-label=${label} checked=${n === tokens.length}
    indeterminate=${n > 0 && n < tokens.length} onChange=${() => toggle(tokens)} /></label>`;
}

/** @param {{token: Token, after: After}} props */
const Actions = ({ token, after }) =>
  html`<${Menu} label=${t.actions(token.name)} items=${menuItems(token, after)} />`;

/** @param {{token: Token}} props */
const Name = ({ token }) =>
  html`<a href=${keyHref(token.id)} dir="auto" title=${token.name}>${token.name}${
    token.id === connection.session?.actor && html` <span class="chip">${t.you}</span>`
  }</a>`;

/** @param {Token} token */
const hint = ({ token_hint: value }) =>
  value && html`<code>${value}</code><${Copy} small value=${value} label=${t.copyHint} />`;

/** @param {Token} token */
const usage = (token) => html`<span>${format.count(token.usage_count)}</span><${Trend} token=${token} />`;

const words = (/** @type {string | null | undefined} */ value) =>
  html`<span dir="auto" title=${value}>${value}</span>`;
const when = (/** @type {string | null} */ at) => html`<${When} short at=${at} />`;

/** The cells of the columns. space is how many scopes fit.
 * @type {Record<string, (token: Token, space: number) => any>} */
const cells = {
  status: (token) => html`<${Status} token=${token} />`,
  key: hint,
  account: (token) => words(token.account),
  owner: (token) => words(token.metadata?.owner),
  tags: (token) => words(token.metadata?.tags),
  scopes: ({ scopes }, space) =>
    html`<span title=${scopes?.join(", ")}><${Scopes} scopes=${scopes} limit=${space} /></span>`,
  resources: ({ resources }) =>
    resources
      ? html`<span title=${resources.join(", ")}><${Scopes} scopes=${resources} limit=${1} /></span>`
      : words(t.any),
  ips: (token) => words(token.allowed_ips?.join(", ") ?? t.any),
  usage,
  refused: (token) => format.count(token.denied_count),
  created: (token) => when(token.created_at),
  expires: ({ revoked_at: at, expires_at: end }) =>
    at ? pair(at, text.status.revoked, format.date(at)) : when(end),
  last: ({ last_used_at: at, last_used_ip: ip }) => pair(at, format.relative(at), ip),
};

/** Returns a time in two lines.
 * @param {string | null} at
 * @param {string} above
 * @param {string | null} below */
const pair = (at, above, below) =>
  html`<time class="when" datetime=${at} title=${at && format.exact(at)}><span>${above}</span><small>${below}</small></time>`;

/** @param {Parts} props */
export function Table(props) {
  const { rows, selected, shown, sort, after, space } = props;
  /** @type {import("./filters.js").Column[]} */
  const all = [{ name: "name", width: 0, rank: 0, sort: "name" }, ...shown];
  const hasAccount = shown.some(({ name }) => name === "account");
  const below = (/** @type {Token} */ token) =>
    [!hasAccount && token.account, token.metadata?.owner, ...tagsOf(token)].filter(Boolean).join(" · ");
  const widthOf = (/** @type {import("./filters.js").Column} */ { name, width }) =>
    name === "scopes" ? [width, 270, 400][space - 1] : width || undefined;
  return html`<table>
    <colgroup><col width="36" />${all.map((column) => html`<col key=${column.name} width=${widthOf(column)} />`)}<col width="40" /></colgroup>
    <thead><tr><th><${Check} label=${t.selectPage} tokens=${rows} ...${props} /></th>
      ${all.map((column) => html`<${Heading} key=${column.name} column=${column} sort=${sort} />`)}<th><span class="sr">${t.menu}</span></th></tr></thead>
    <tbody>${rows.map(
      (token) => html`<tr key=${token.id} class=${selected.has(token.id) ? "selected" : ""}>
        <td><${Check} label=${t.select(token.name)} tokens=${[token]} ...${props} /></td>
        <td class="k-name"><${Name} token=${token} /><small dir="auto" title=${below(token)}>${below(token)}</small></td>
        ${shown.map(({ name }) => html`<td key=${name} class=${`k-${name}`}>${cells[name](token, space)}</td>`)}
        <td><${Actions} ...${{ token, after }} /></td></tr>`,
    )}</tbody></table>`;
}

/** Heading is a column's heading. A click on it sorts, and another one reverses the order.
 * @param {{column: import("./filters.js").Column, sort: string}} props */
function Heading({ column, sort }) {
  const label = t.columns[/** @type {"key"} */ (column.name)];
  if (!column.sort) return html`<th>${label}</th>`;
  const key = column.sort.replace("-", "");
  const [here, down] = [sort.replace("-", "") === key, sort[0] === "-"];
  const next = here ? (down ? key : `-${key}`) : column.sort;
  return html`<th aria-sort=${here ? (down ? "descending" : "ascending") : undefined}>
    <button type="button" onClick=${() => chooseFilter({ sort: next })}>${label}${here && html`<${Icon} name=${down ? "down" : "up"} />`}</button></th>`;
}

/** Cards are the rows on a phone.
 * @param {Parts} props */
export const Cards = (props) =>
  html`<ul class="key-cards">${props.rows.map(
    (token) => html`<li key=${token.id} class=${props.selected.has(token.id) ? "selected" : ""}>
  <${Check} label=${t.select(token.name)} tokens=${[token]} ...${props} /><span class="k-name"><${Name} token=${token} /></span><span>${cells.status(token, 1)}</span><${Actions} token=${token} after=${props.after} />
  <span class="line"><span class="k-key">${hint(token)}</span><span class="k-usage">${usage(token)}</span></span>
  <small>${t.dates(token, format.date(token.revoked_at ?? token.expires_at ?? 0), format.relative(token.last_used_at))}</small></li>`,
  )}</ul>`;

// Histories are loaded four at a time, for the rows that are seen, again when a count changes.
/** @type {Map<string, {total: number, points: any[]}>} */
const histories = new Map();
const lanes = Array(4).fill(Promise.resolve());
let lane = 0;

/** @param {() => Promise<void>} load */
function queue(load) {
  lane = (lane + 1) % 4;
  lanes[lane] = lanes[lane].then(load).catch(() => {}); // the next change of the count tries again
}

/** Trend shows the requests of the last 30 days.
 * @param {{token: Token}} props */
function Trend({ token: { id, usage_count: allowed, denied_count: denied } }) {
  const box = useRef(/** @type {any} */ (null));
  const [, redraw] = useState(0);
  const total = allowed + denied;
  useEffect(() => {
    if (!total || histories.get(id)?.total === total) return;
    let gone = false;
    const load = async () => {
      if (gone) return;
      const from = new Date(Date.now() - 30 * format.day).toISOString();
      const { data } = await get(`tokens/${id}/usage${query({ step: "day", from })}`);
      histories.set(id, { total, points: fill(data, "day", 30) });
      redraw(total);
    };
    const observer = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      queue(load);
    });
    observer.observe(box.current);
    return () => {
      gone = true;
      observer.disconnect();
    };
  }, [id, total]);
  return html`<span ref=${box}><${Spark} points=${histories.get(id)?.points ?? fill([], "day", 30)} /></span>`;
}
