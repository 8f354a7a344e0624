// @ts-check
// The filters above the table of keys.
import { html, useEffect, useState } from "./vendor/preact.js";
import { get } from "./api.js";
import { chooseFilter, clearFilters, statuses } from "./filters.js";
import * as format from "./format.js";
import { publicPart } from "./scan.js";
import { text } from "./text.js";
import { Button, Icon, Menu, useData } from "./ui.js";

const t = text.keys;

/** @param {{kind: string, query: Record<string, string>, phone: boolean, counts?: Map<string, number>, filters: string[]}} props */
export function FilterBar({ kind, query, phone, counts, filters }) {
  const { status = "", q = "" } = query;
  const [typed, setTyped] = useState(q);
  useEffect(() => setTyped(q), [q]);
  useEffect(() => {
    const timer = setTimeout(() => typed !== q && chooseFilter({ q: publicPart(typed) }), 250);
    return () => clearTimeout(timer);
  }, [typed]);
  const found = useData(loadOptions, [], (event) => event.kind === "change").data;
  /** @type {Record<string, [string, string][]>} */
  const options = {
    ...(kind === "api" && found),
    usage: Object.entries(t.usage),
    expires: Object.entries(t.expires),
    sort: phone ? Object.entries(t.sort) : [],
  };
  return html`<div class="key-filters">${statuses
    .filter((name) => !name || name === status || counts?.get(name) !== 0)
    .map(
      (
        name,
      ) => html`<button key=${name} class="filter" aria-pressed=${name === status ? "true" : "false"} onClick=${() => chooseFilter({ status: name })}
        ><span>${name ? text.status[/** @type {"active"} */ (name)] : t.all}</span> <small>${counts?.has(name) && format.count(counts.get(name) ?? 0)}</small></button>`,
    )}</div>
    <div class="key-filters"><input type="search" aria-label=${t.search} placeholder=${t.search} value=${typed} onInput=${(/** @type {any} */ e) => setTyped(e.target.value)} />
    ${Object.entries(t.filters).map(([name, label]) => {
      const [value, choices] = [query[name], options[name] ?? []];
      if (!choices.length && (!value || name === "sort")) return null;
      const words = value
        ? `${label}: ${choices.find(([choice]) => choice === value)?.[1].replace(/ · .*/, "") ?? value}`
        : label;
      const pick = (/** @type {string} */ choice) => chooseFilter({ [name]: choice === value ? "" : choice });
      return html`<span key=${name} class=${value ? "pill chosen" : "pill"}><${Menu} label=${words} class="filter" content=${html`<span dir="auto">${words}</span><${Icon} name="down" />`}
        items=${choices.map(([choice, label]) => ({ label, checked: choice === value, closes: true, run: () => pick(choice) }))} />
        ${value && html`<${Button} class="icon-button" icon="close" hide label=${t.remove(words)} onClick=${() => pick(value)} />`}</span>`;
    })}${filters.length > 0 && html`<${Button} class="link" label=${t.clear} onClick=${clearFilters} />`}</div>`;
}

/** Loads the accounts, owners, tags and scopes to choose from.
 * @returns {Promise<Record<string, [string, string][]>>} */
async function loadOptions() {
  const [{ tokens }, scopes] = await Promise.all([get("overview"), get("scopes")]);
  if (!tokens) return new Promise((resolve) => setTimeout(resolve, 1000)).then(loadOptions);
  const pairs = (/** @type {{name: string, count?: number}[]} */ names) =>
    names.map(
      ({ name, count }) =>
        /** @type {[string, string]} */ ([name, count ? `${name} · ${format.count(count)}` : name]),
    );
  return {
    account: pairs(tokens.accounts),
    owner: pairs(tokens.owners),
    tag: pairs(tokens.tags),
    scope: pairs(scopes.data),
  };
}
