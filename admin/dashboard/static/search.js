// @ts-check
// The search box: it finds keys, pages and actions, and scans files for keys. A key's secret
// never gets into an address, a log or the page.
import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { get, post, query } from "./api.js";
import { askRevoke, openForm } from "./dialogs.js";
import { size } from "./format.js";
import { go, href, keyHref } from "./route.js";
import { publicPart, scan, wholeKey } from "./scan.js";
import { text } from "./text.js";
import { Dialog, Icon, Loaded, note, show, Status, useData, useId } from "./ui.js";

/** @typedef {import("../types").Token} Token */
/** @typedef {{label: string, icon: string, href?: string, run?: () => void, token?: Token}} Option */

const t = text.search;

/** @param {Token} token */
const ask = (token) => (token.revoked_at ? undefined : () => askRevoke([token], () => {}));

export function SearchBox() {
  const box = useRef(/** @type {any} */ (null));
  const [value, setValue] = useState("");
  const [asked, setAsked] = useState("");
  const [open, setOpen] = useState(false);
  const [at, setAt] = useState(-1);
  const id = useId();
  const words = publicPart(value);
  useEffect(() => {
    const timer = setTimeout(setAsked, 200, words);
    return () => clearTimeout(timer);
  }, [words]);
  const { data, error } = useData(
    async () => ({ asked, keys: asked ? (await get(`tokens${query({ q: asked, limit: 8 })}`)).data : [] }),
    [asked],
    () => false,
  );
  useEffect(() => document.getElementById(id + at)?.scrollIntoView({ block: "nearest" }), [at]);
  useEffect(() => {
    /** @param {any} event */
    const listen = (event) => {
      const { type, key, target, dataTransfer } = event;
      const shortcut =
        key === "/"
          ? !target.closest?.("input,select,textarea")
          : key === "k" && (event.ctrlKey || event.metaKey);
      if (!shortcut && !dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      if (document.querySelector("dialog:modal")) return;
      if (shortcut) box.current.focus();
      else if (type === "drop") scanFiles(dataTransfer.files);
    };
    for (const name of ["keydown", "dragover", "drop"]) addEventListener(name, listen);
  }, []);

  /** @type {Option[]} */
  const places = [
    { label: text.newKey, icon: "plus", run: () => openForm({ kind: "api" }) },
    { label: text.newAdminKey, icon: "plus", run: () => openForm({ kind: "admin" }) },
    { label: t.scan, icon: "upload", run: pickFiles },
    ...Object.entries(text.pages).map(([page, label]) => ({ label, icon: "right", href: href(page) })),
  ];
  // The keys found for an earlier text could be opened by mistake.
  const found = data?.asked === words ? data : undefined;
  /** @type {Token[]} */
  const keys = found?.keys ?? [];
  const matching = places.filter(({ label }) => label.toLowerCase().includes(words.toLowerCase()));
  // Enter without a choice takes the last one.
  /** @type {Option[]} */
  const options = [
    ...keys.map((token) => ({
      label: token.name || token.id,
      icon: token.kind === "admin" ? "shield" : "key",
      href: keyHref(token.id),
      token,
    })),
    ...matching,
    ...(words ? [{ label: t.all(words), icon: "search", href: href("keys", { q: words }) }] : []),
  ];
  const message = error
    ? error.message
    : /_\w{12}_\w/.test(value) || (value && !words)
      ? t.damaged
      : words && found && !keys.length && !matching.length && t.none;
  const leave = () => {
    setValue((box.current.value = ""));
    setAt(-1);
    box.current.blur();
  };
  /** @param {Option} option */
  const choose = (option) => {
    leave();
    option.run?.();
    if (option.href) go(option.href);
  };
  const type = () => {
    const key = wholeKey(box.current.value);
    setValue(box.current.value);
    setAt(-1);
    setOpen(true);
    if (!key) return;
    leave();
    post("lookup", { token: key }).then(
      (/** @type {Token} */ token) => {
        go(keyHref(token.id));
        note(t.identified(token.name, text.status[token.status]), { label: t.revoke, run: ask(token) });
      },
      (error) => note(error.status === 404 ? t.unknown : error.message, { bad: true }),
    );
  };
  /** @param {KeyboardEvent} event */
  const press = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) setAt((Math.max(at, step < 0 ? 0 : -1) + step + options.length) % options.length);
    else if (event.key === "Escape") leave();
    else if (event.key !== "Enter") return;
    else if (words || at >= 0) choose(/** @type {Option} */ (options.at(at)));
    event.preventDefault();
  };
  // What isn't sent in full may be a part of a secret.
  const blur = () => {
    setOpen(false);
    if (words !== value.trim()) setValue("");
  };
  return html`<div class="search"><${Icon} name="search" />
    <input ref=${box} role="combobox" aria-label=${t.label} placeholder=${t.label} aria-expanded=${String(open)} aria-controls=${open ? id : undefined}
      aria-activedescendant=${at < 0 ? undefined : id + at} autocomplete="off" spellcheck=${false} value=${value}
      onInput=${type} onKeyDown=${press} onFocus=${() => setOpen(true)} onBlur=${blur} /><kbd>/</kbd>
    ${
      open &&
      html`<div class="menu" onMouseDown=${(/** @type {Event} */ e) => e.preventDefault()}><p role="status">${message}</p>
      <div role="listbox" id=${id} aria-label=${t.label}>${options.map(
        ({ label, icon, href, run, token }, i) => html`<a key=${label + href} id=${id + i}
        role="option" tabindex="-1" href=${href} aria-selected=${String(i === at)} onClick=${() => {
          leave();
          run?.();
        }}><${Icon} name=${icon} />
        <span dir="auto">${label}</span>${
          token &&
          html`<small dir="auto">${token.token_hint ?? token.id} ${token.metadata?.owner}</small>
        <${Status} token=${token} />`
        }</a>`,
      )}</div></div>`
    }
  </div>`;
}

/** Lets the user choose files to scan. */
export function pickFiles() {
  const input = Object.assign(document.createElement("input"), { type: "file", multiple: true });
  input.addEventListener("change", () => scanFiles(input.files ?? []));
  input.click();
}

/** Scans files for keys and shows them.
 * @param {Iterable<File>} files */
function scanFiles(files) {
  const all = [...files];
  show((close) => html`<${Findings} files=${all} onClose=${close} />`);
}

/** Findings lists the keys in files, with the places where they are.
 * @param {{files: File[], onClose: () => void}} props */
function Findings({ files, onClose }) {
  const found = useData(
    async () => {
      /** @type {Map<string, string[]>} */
      const keys = new Map();
      for (const file of files) {
        await scan(file, (id, line) => {
          if (!keys.has(id)) keys.set(id, []);
          keys.get(id)?.push(`${file.name}:${line}`);
        });
      }
      const incomplete = keys.get("") ?? [];
      keys.delete("");
      return { keys: [...keys], incomplete };
    },
    [],
    () => false,
  );
  const bytes = files.reduce((sum, file) => sum + file.size, 0);
  return html`<${Dialog} title=${t.scan} onClose=${onClose}><${Loaded} of=${found}>${(
    /** @type {{keys: [string, string[]][], incomplete: string[]}} */ { keys, incomplete },
  ) => html`
    <p role="status">${t.found(keys.length, files.length, size(bytes))}</p>
    ${keys.map(([id, places]) => html`<${Finding} key=${id} ...${{ id, places, onClose }} />`)}
    ${incomplete.length > 0 && html`<p class="banner warn" dir="auto">${t.incomplete(incomplete)}</p>`}`}</><p class="hint">${t.privacy}</p></>`;
}

/** @param {{id: string, places: string[], onClose: () => void}} props */
function Finding({ id, places, onClose }) {
  const { data: token, error } = useData(
    () => get(`tokens/${id}`),
    [],
    ({ ids }) => !ids || ids.includes(id),
  );
  return html`<div class="row finding">${token ? html`<a href=${keyHref(id)} dir="auto" onClick=${onClose}>${token.name}</a><${Status} token=${token} />` : html`<code>${id}</code>`}
    ${token?.kind === "admin" && html`<span class="chip">${t.admin}</span>`}<span class="muted" dir="auto">${error ? (error.status === 404 ? t.foreign : error.message) : token?.metadata?.owner}</span>
    ${token && ask(token) && html`<button type="button" class="button small" onClick=${ask(token)}>${t.revoke}</button>`}
    <small dir="auto">${places.slice(0, 20).join(", ")}${places.length > 20 && " …"}</small></div>`;
}
