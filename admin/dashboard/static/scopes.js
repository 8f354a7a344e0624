// @ts-check
// What keys can be allowed to do, and the control that chooses it.
import { html } from "./vendor/preact.js";
import { get, subscribe } from "./api.js";
import { allowed, covers, namesOf, presetsOf, resourceOf, toggle, wordsOf } from "./draft.js";
import { text } from "./text.js";
import { useId } from "./ui.js";

export { covers };

/** @typedef {import("./draft.js").Catalog} Catalog */

/** @type {Promise<Catalog> | null} */
let cached = null;

// The configuration may have changed while the stream was interrupted.
subscribe(({ ids }) => {
  if (!ids) cached = null;
});

// The more presets include a scope, the less harm it can do.
/** @param {import("../types").Scope} a
 * @param {import("../types").Scope} b */
const harmlessFirst = (a, b) => b.presets.length - a.presets.length || a.name.length - b.name.length;

/** Returns the scopes, accounts and types of resources. They are loaded once.
 * @returns {Promise<Catalog>} */
export function loadScopes() {
  cached ??= Promise.all([get("scopes"), get("settings")]).then(
    ([{ data }, { accounts, resource_types, max_lifetime }]) => ({
      scopes: data.sort(harmlessFirst),
      accounts,
      types: resource_types,
      max: max_lifetime,
    }),
    (error) => {
      cached = null;
      throw error;
    },
  );
  return cached;
}

/** @param {string} word */
const capital = (word) => word.charAt(0).toUpperCase() + word.slice(1);

/** Returns what a scope allows, in words.
 * @param {string} scope */
export const sentence = (scope) => text.scopes.sentences[scope] ?? capital(wordsOf(scope).join(" "));

/** ScopePicker chooses grants. Wildcards are kept until a scope that they include is removed.
 * @param {{catalog: Catalog, account: string, grants: string[], error?: string, onChange: (grants: string[]) => void}} props */
export function ScopePicker({ catalog, account, grants, error, onChange }) {
  const t = text.scopes;
  const id = useId();
  const { scopes } = catalog;
  const chosen = namesOf(grants, scopes);
  const order = Object.keys(t.nouns);
  const resources = [...new Set(scopes.map(({ name }) => resourceOf(name)))].sort(
    (a, b) => order.indexOf(a) - order.indexOf(b),
  );
  /** @param {string} grant
   * @param {any} words
   * @param {string} detail
   * @param {boolean} [some] */
  const box = (grant, words, detail, some) => {
    const checked = grants.some((other) => covers(other, grant));
    const refused = !allowed(grant, catalog, account);
    return html`<label key=${grant} class="check" title=${grant}>
      <input type="checkbox" value=${grant} checked=${checked} indeterminate=${some && !checked} disabled=${refused && !checked}
        onChange=${() => onChange(toggle(grants, grant, scopes))} /><span>${words}</span>
      <code>${refused ? t.refused(account) : detail}</code></label>`;
  };
  return html`<fieldset class="field scopes" aria-describedby=${error && id}>
    <legend>${text.form.labels.scopes} <small aria-live="polite">${t.count(chosen.length, scopes.length)}</small></legend>
    ${error && html`<p class="error" id=${id}>${error}</p>`}
    <div class="row">${[...presetsOf(scopes)].map(([preset, names]) => {
      const given = preset === "full" ? ["*"] : names;
      return html`<button key=${preset} type="button" class=${`filter ${preset}`} disabled=${!given.every((grant) => allowed(grant, catalog, account))}
        aria-pressed=${String(names.join() === chosen.join())} onClick=${() => onChange(given)}>${preset} <small>${t.presets[preset]}</small></button>`;
    })}</div>
    ${resources.map((resource) => {
      const own = scopes.filter(({ name }) => resourceOf(name) === resource);
      const noun = capital(t.nouns[resource] ?? resource);
      return html`<div key=${resource} role="group" aria-label=${noun}>
        ${box(
          `${resource}:*`,
          html`<b>${noun}</b> <small>${t.later}</small>`,
          `${resource}:*`,
          own.some(({ name }) => chosen.includes(name)),
        )}
        ${own.map(({ name, routes }) => box(name, sentence(name), routes.join(", ")))}</div>`;
    })}
  </fieldset>`;
}
