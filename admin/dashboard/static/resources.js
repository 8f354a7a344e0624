// @ts-check
// The control that chooses the resources to which a key is bound.
import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { get, query } from "./api.js";
import { resourcesIn, sorted } from "./draft.js";
import { list } from "./format.js";
import { text } from "./text.js";
import { Icon, useId } from "./ui.js";

/** @typedef {import("./draft.js").ResourceType} ResourceType */

/** Returns the resources of the account and of the newest keys, to suggest them.
 * @param {string} account
 * @returns {Promise<string[]>} */
async function loadKnown(account) {
  const none = () => ({ data: [] });
  const [known, keys] = await Promise.all([
    get(`resources${query({ account })}`).catch(none),
    get("tokens?limit=200").catch(none),
  ]);
  const bound = keys.data.flatMap((/** @type {import("../types").Token} */ token) => token.resources ?? []);
  return sorted([...known.data, ...bound]);
}

/** ResourcePicker shows resources as chips, and an input that adds some. When asked changes, the
 * input gets the focus, and its type is the one in asked. attributes are those of the input.
 * @param {{account: string, types: ResourceType[], resources: string[], asked: {type: string} | null, attributes: object,
 *   onChange: (resources: string[]) => void}} props */
export function ResourcePicker({ account, types, resources, asked, attributes, onChange }) {
  const t = text.form;
  const [type, setType] = useState((types.find(({ container }) => !container) ?? types[0]).name);
  const [typed, setTyped] = useState("");
  const [known, setKnown] = useState(/** @type {string[] | null} */ (null));
  const [said, say] = useState("");
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  const id = useId();
  useEffect(() => setKnown(null), [account]);
  useEffect(() => {
    if (!asked) return;
    setType(asked.type);
    input.current?.focus();
  }, [asked]);
  const add = (words = typed) => {
    const added = resourcesIn(words, type, types).filter((resource) => !resources.includes(resource));
    setTyped("");
    if (!added.length) return;
    onChange([...resources, ...added]);
    say(t.added(list(added)));
  };
  /** @param {string} resource */
  const remove = (resource) => {
    onChange(resources.filter((other) => other !== resource));
    say(t.removed(resource));
    input.current?.focus();
  };
  /** @param {KeyboardEvent} event */
  const keys = (event) => {
    if (event.isComposing) return;
    if (event.key === "Backspace" && !typed && resources.length)
      return remove(resources[resources.length - 1]);
    if (event.key !== "Enter") return;
    event.preventDefault(); // so that a second Enter doesn't create the key
    add();
  };
  // Phones report no key for a comma.
  const change = (/** @type {any} */ { target }) => {
    if (!/[,\s]/.test(target.value)) return setTyped(target.value);
    add(target.value);
    target.value = ""; // also if it was empty before
  };
  // Without this, the browser joins the lines of what is pasted.
  const paste = (/** @type {ClipboardEvent} */ event) => {
    const words = event.clipboardData?.getData("text").trim() ?? "";
    if (!/[,\s]/.test(words)) return;
    event.preventDefault();
    add(`${typed} ${words}`);
  };
  // A typed name is added when the focus leaves, because without it the key could do more than the
  // user wants. If the whole window loses the focus, the user may go on typing.
  const leave = (/** @type {FocusEvent} */ { target, relatedTarget }) =>
    box.current?.contains(/** @type {Node | null} */ (relatedTarget)) ||
    document.activeElement === target ||
    add();
  const suggested = (known ?? [])
    .filter((resource) => resource.startsWith(`${type}/`) && !resources.includes(resource))
    .map((resource) => resource.slice(type.length + 1));
  return html`<div ref=${box} class="picker" onBlurCapture=${leave} onFocusCapture=${() => known ?? (setKnown([]), loadKnown(account).then(setKnown))}>
    ${
      resources.length > 0 &&
      html`<ul class="chips" aria-label=${t.labels.resources}>${resources.map(
        (
          resource,
        ) => html`<li key=${resource} class="chip"><code>${resource}</code><button type="button" class="icon-button"
        aria-label=${t.remove(resource)} title=${t.remove(resource)} onClick=${() => remove(resource)}><${Icon} name="close" /></button></li>`,
      )}</ul>`
    }
    <div class="row"><select aria-label=${t.type} value=${type} onInput=${(/** @type {any} */ e) => setType(e.target.value)}>
      ${types.map(({ name }) => html`<option value=${name}>${t.types[name] ?? name}</option>`)}</select>
    <input ref=${input} name="resource" class="mono" value=${typed} list=${id} placeholder=${t.resource} autocomplete="off" spellcheck=${false}
      onInput=${change} onKeyDown=${keys} onPaste=${paste} ...${attributes} />
    <datalist id=${id}>${suggested.map((name) => html`<option value=${name} />`)}</datalist></div>
    <span class="sr" role="status">${said}</span></div>`;
}
