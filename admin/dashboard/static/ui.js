// @ts-check
// The parts that pages are made of. Text is only ever set as text, never parsed as HTML.
import { html, useEffect, useLayoutEffect, useMemo, useReducer, useRef, useState } from "./vendor/preact.js";
import { subscribe } from "./api.js";
import * as format from "./format.js";
import { guardDialog } from "./route.js";
import { text } from "./text.js";

/** @typedef {import("../types").Token} Token */
/** @typedef {any} Node */

/** Icon is an icon of icons.svg. Without a label, screen readers skip it.
 * @param {{name: string, label?: string}} props */
export const Icon = ({ name, label }) => html`
  <svg class="icon" role=${label ? "img" : undefined} aria-label=${label} aria-hidden=${label ? undefined : "true"}>
    <use href=${`icons.svg#${name}`} />
  </svg>
`;

/** Button is a button with a label. With hide, only its icon is seen.
 * @param {{label: string, icon?: string, hide?: boolean, class?: string, disabled?: boolean, onClick: () => void}} props */
export const Button = ({ label, icon, hide, class: style = "button", ...rest }) => html`
  <button type="button" class=${style} aria-label=${hide ? label : undefined} title=${hide ? label : undefined} ...${rest}>
    ${icon && html`<${Icon} name=${icon} />`}${!hide && label}
  </button>
`;

let ids = 0;

/** Returns an id that no other element has, for labels. */
export const useId = () => useMemo(() => `id-${++ids}`, []);

/** Status is a key's state as a badge.
 * @param {{token: Token}} props */
export function Status({ token }) {
  const state = token.status === "active" && token.expires_soon ? "expiring" : token.status;
  return html`<span class=${`badge ${state}`}>${text.status[state]}</span>${
    isRotating(token) && html` <span class="badge rotating">${text.status.rotating}</span>`
  }`;
}

/** Reports whether a key's old secret still works besides the new one.
 * @param {Token} token */
export const isRotating = (token) =>
  token.status === "active" &&
  !!token.previous_valid_until &&
  Date.parse(token.previous_valid_until) > Date.now();

/** When shows a date and time, with the distance from now below it. Short leaves out the time.
 * @param {{at: string | null | undefined, never?: string, short?: boolean}} props */
export function When({ at, never = text.never, short }) {
  if (!at) return html`<span class="muted">${never}</span>`;
  return html`<time class="when" datetime=${at} title=${format.exact(at)}
    ><span>${short ? format.date(at) : format.dateTime(at)}</span> <small>${format.relative(at)}</small></time
  >`;
}

/** Copy is a button that copies a text. It reports failure by selecting field, if given.
 * @param {{value: string, label?: string, small?: boolean, field?: {current: any}, onCopied?: () => void}} props */
export function Copy({ value, label = text.copy, small, field, onCopied }) {
  const [state, setState] = useState("");
  useEffect(() => {
    if (!state) return;
    const timer = setTimeout(() => setState(""), 2500);
    return () => clearTimeout(timer);
  }, [state]);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(value);
    } catch {
      if (!copySelected(value, field?.current)) return setState("failed");
    }
    setState("copied");
    onCopied?.();
  };
  return html`<span class="copy">
    <button type="button" class=${small ? "icon-button" : "button"} onClick=${copy} aria-label=${small ? label : undefined}
      title=${small ? label : undefined}>
      <${Icon} name=${state === "copied" ? "check" : "copy"} />${!small && (state === "copied" ? text.copied : label)}
    </button>
    <span role="status" class=${state === "failed" ? "error" : "hidden"}
      >${state === "failed" ? text.copyFailed : state === "copied" ? text.copied : ""}</span>
  </span>`;
}

// Without a secure connection there is no clipboard, but copying a selection works.
/** @param {string} value
 * @param {HTMLInputElement} [field] */
export function copySelected(value, field) {
  const area = field ?? document.createElement("textarea");
  if (!field) {
    area.value = value;
    (document.querySelector("dialog:modal") ?? document.body).append(area);
  }
  area.focus();
  area.select();
  const done = document.execCommand("copy");
  if (!field) area.remove();
  return done;
}

/** Menu is a button that opens a list of actions. An item without run is a link.
 * @param {{label: string, icon?: string, content?: Node, align?: string, class?: string,
 *   items: {label: string, icon?: string, danger?: boolean, href?: string, run?: () => void, checked?: boolean, closes?: boolean}[]}} props */
export function Menu({ label, icon = "more", content, items, class: style = "icon-button" }) {
  const button = useRef(/** @type {HTMLButtonElement | null} */ (null));
  const list = useRef(/** @type {HTMLElement | null} */ (null));
  const [open, setOpen] = useState(false);
  const id = useId();
  const close = (focus = true) => {
    setOpen(false);
    if (focus) button.current?.focus();
  };
  useLayoutEffect(() => {
    const [menu, anchor] = [list.current, button.current?.getBoundingClientRect()];
    if (!open || !menu || !anchor) return;
    menu.showPopover();
    const { offsetWidth: width, offsetHeight: height } = menu;
    menu.style.left = `${Math.max(8, Math.min(anchor.left, document.body.clientWidth - width - 8))}px`;
    menu.style.top = `${anchor.bottom + height + 8 > innerHeight ? Math.max(8, anchor.top - height - 4) : anchor.bottom + 4}px`;
    /** @type {HTMLElement | null} */ (menu.querySelector("[role^=menuitem]"))?.focus();
    // Opening can scroll the page a little later; only a button that moves takes the menu along.
    const away = () => {
      if (Math.abs((button.current?.getBoundingClientRect().top ?? 0) - anchor.top) > 4) close(false);
    };
    window.addEventListener("scroll", away);
    return () => window.removeEventListener("scroll", away);
  }, [open]);
  /** @param {KeyboardEvent} event */
  const keys = (event) => {
    const all = /** @type {HTMLElement[]} */ ([
      ...(list.current?.querySelectorAll("[role^=menuitem]") ?? []),
    ]);
    const at = all.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    const moves = { ArrowDown: at + 1, ArrowUp: at - 1 + all.length, Home: 0, End: all.length - 1 };
    const to = moves[/** @type {keyof typeof moves} */ (event.key)];
    if (event.key === "Escape") close();
    else if (event.key === "Tab") return close();
    else if (to === undefined) return;
    else all[to % all.length]?.focus();
    event.preventDefault();
    event.stopPropagation();
  };
  return html`<button ref=${button} type="button" class=${style} aria-haspopup="menu" aria-expanded=${open ? "true" : "false"}
      aria-controls=${open ? id : undefined} aria-label=${content ? undefined : label} title=${content ? undefined : label}
      onClick=${() => setOpen(!open)}>${content ?? html`<${Icon} name=${icon} />`}</button>
    ${
      open &&
      html`<div ref=${list} id=${id} class="menu" role="menu" aria-label=${label} popover="auto" onKeyDown=${keys}
      onToggle=${(/** @type {ToggleEvent} */ e) => e.newState === "closed" && setOpen(false)}>
      ${items.map(
        (
          item,
        ) => html`<${item.href ? "a" : "button"} type=${item.href ? undefined : "button"} href=${item.href}
          role=${item.checked === undefined ? "menuitem" : "menuitemcheckbox"} tabindex="-1" class=${item.danger ? "danger" : ""}
          aria-checked=${item.checked === undefined ? undefined : String(item.checked)}
          onClick=${() => {
            if (item.checked === undefined || item.closes) close();
            item.run?.();
          }}>
          <${Icon} name=${item.checked ? "check" : (item.icon ?? "none")} />${item.label}</>`,
      )}
    </div>`
    }`;
}

// Dialogs and notes are shown above the page, whatever page it is.
/** @type {{key: number, draw: () => Node}[]} */
let layers = [];
/** @type {{key: number, text: string, bad: boolean, label?: string, run?: () => void}[]} */
let notes = [];
let redrawLayers = () => {};

/** Shows a dialog until its function close is called. draw returns a Dialog.
 * @param {(close: () => void) => Node} draw */
export function show(draw) {
  const key = ++ids;
  const close = () => {
    layers = layers.filter((layer) => layer.key !== key);
    redrawLayers();
  };
  layers = [...layers, { key, draw: () => draw(close) }];
  redrawLayers();
  return close;
}

/** Shows a note for a while. Screen readers read it aloud. It may offer one action, such as Undo.
 * @param {string} words
 * @param {{bad?: boolean, label?: string, run?: () => void}} [options] */
export function note(words, { bad = false, label, run } = {}) {
  const key = ++ids;
  notes = [...notes.slice(-2), { key, text: words, bad, label, run }];
  redrawLayers();
  setTimeout(() => dismiss(key), run ? 15_000 : 8000);
}

/** @param {number} key */
function dismiss(key) {
  notes = notes.filter((note) => note.key !== key);
  redrawLayers();
}

/** Layers shows the open dialogs and notes. The notes are a popover, so they are above dialogs. */
export function Layers() {
  const [, redraw] = useReducer((/** @type {number} */ n) => n + 1, 0);
  redrawLayers = () => redraw(null);
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  useLayoutEffect(() => {
    box.current?.hidePopover();
    if (notes.length) box.current?.showPopover();
  });
  return html`${layers.map(({ key, draw }) => html`<${Layer} key=${key} draw=${draw} />`)}
    <div ref=${box} class="notes" role="status" popover="manual">
      ${notes.map(
        ({ key, text: words, bad, label, run }) => html`<p key=${key} class=${bad ? "note bad" : "note"}>
          <${Icon} name=${bad ? "alert" : "check"} /><span dir="auto">${words}</span>
          ${
            run &&
            html`<button type="button" class="link" onClick=${() => {
              dismiss(key);
              run();
            }}>${label}</button>`
          }
          <button type="button" class="icon-button" aria-label=${text.dismiss} onClick=${() => dismiss(key)}><${Icon} name="close" /></button>
        </p>`,
      )}
    </div>`;
}

/** @param {{draw: () => Node}} props */
const Layer = ({ draw }) => draw();

/** Dialog is a modal dialog, or with sheet one at the side. Its buttons stay visible while the
 * content scrolls. guard says what would be lost on closing, or is empty. A locked dialog can't
 * be closed by the user; an attempt calls onLocked.
 * @param {{title: string, onClose: () => void, children?: Node, footer?: Node, sheet?: boolean, guard?: string,
 *   onSubmit?: () => void, locked?: boolean, onLocked?: () => void}} props */
export function Dialog({ title, onClose, children, footer, sheet, guard = "", onSubmit, locked, onLocked }) {
  const box = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const id = useId();
  useLayoutEffect(() => {
    box.current?.showModal();
    return () => box.current?.close();
  }, []);
  const leave = () => {
    if (locked) return onLocked?.();
    if (!guard) return onClose();
    show(
      (close) => html`<${Dialog} title=${text.discard.title} onClose=${close}
      footer=${html`<button type="button" class="button" autofocus onClick=${close}>${text.discard.stay}</button>
        <button type="button" class="button danger" onClick=${() => {
          close();
          onClose();
        }}>${text.discard.leave}</button>`}>
      <p>${guard}</p></>`,
    );
  };
  const latest = useRef(leave);
  latest.current = leave;
  const losing = !!(locked ? onLocked : guard);
  useEffect(() => guardDialog(() => latest.current(), losing), [losing]);
  /** @param {Event} event */
  const cancel = (event) => {
    event.preventDefault();
    event.stopPropagation();
    leave();
  };
  // Chromium closes a dialog on the second Escape even if the first was prevented.
  /** @param {KeyboardEvent} event */
  const escape = (event) => event.key === "Escape" && cancel(event);
  return html`<dialog ref=${box} class=${sheet ? "sheet" : ""} aria-labelledby=${id} onCancel=${cancel} onKeyDown=${escape}>
    <form method="dialog" novalidate onSubmit=${(/** @type {Event} */ e) => {
      e.preventDefault();
      onSubmit?.();
    }}>
      <header><h2 id=${id} dir="auto">${title}</h2>
        ${!locked && html`<button type="button" class="icon-button" aria-label=${text.close} onClick=${cancel}><${Icon} name="close" /></button>`}</header>
      <div class="content">${children}</div>
      ${footer && html`<footer>${footer}</footer>`}
    </form>
  </dialog>`;
}

/** Asks before something is done. The dialog stays open with the error if it fails. Cancel has
 * the focus, so Enter doesn't confirm by accident.
 * @param {{title: string, body: Node, action: string, danger?: boolean, run: () => Promise<unknown>}} question */
export function confirm({ title, body, action, danger, run }) {
  show((close) => html`<${Confirm} ...${{ title, body, action, danger, run, close }} />`);
}

/** @param {Parameters<typeof confirm>[0] & {close: () => void}} props */
function Confirm({ title, body, action, danger, run, close }) {
  const [busy, error, submit] = useAction(async () => {
    await run();
    close();
  });
  return html`<${Dialog} title=${title} onClose=${close} onSubmit=${submit}
    footer=${html`<button type="button" class="button" autofocus onClick=${close}>${text.cancel}</button>
      <button type="submit" class=${`button ${danger ? "danger" : "primary"}`} disabled=${busy}>${action}</button>`}>
    ${typeof body === "string" ? html`<p dir="auto">${body}</p>` : body} ${error && html`<p class="error" role="alert">${error.message}</p>`}</>`;
}

/** Runs an action once at a time. Returns its state (true while it runs), its last error, and the function.
 * @template {any[]} A
 * @param {(...args: A) => Promise<unknown>} action
 * @returns {[boolean, any, (...args: A) => Promise<void>]} */
export function useAction(action) {
  const [state, setState] = useState({ busy: false, error: /** @type {any} */ (null) });
  const running = useRef(false);
  const run = async (/** @type {A} */ ...args) => {
    if (running.current) return;
    running.current = true;
    setState({ busy: true, error: null });
    let error = null;
    try {
      await action(...args);
    } catch (thrown) {
      error = thrown;
    }
    running.current = false;
    setState({ busy: false, error });
  };
  return [state.busy, state.error, run];
}

/** Loads data now, when deps change, and after each event that wanted accepts. The last call
 * wins. The old data stays until the new arrives, and while an error is shown.
 * @template T
 * @param {() => Promise<T>} load
 * @param {any[]} deps
 * @param {(event: import("./api.js").ServerEvent) => boolean} [wanted]
 * @returns {{data: T | undefined, error: any, loading: boolean, reload: () => void, setData: (data: T) => void}} */
export function useData(load, deps, wanted = () => true) {
  const [state, setState] = useState({
    data: /** @type {T | undefined} */ (undefined),
    error: /** @type {any} */ (null),
    loading: true,
  });
  const latest = useRef({ turn: 0, load, wanted, again: 0 });
  Object.assign(latest.current, { load, wanted });
  const reload = () => {
    const turn = ++latest.current.turn;
    const current = () => turn === latest.current.turn;
    setState((old) => ({ ...old, loading: true }));
    latest.current.load().then(
      (data) => current() && setState({ data, error: null, loading: false }),
      (error) => current() && setState((old) => ({ ...old, error, loading: false })),
    );
  };
  useEffect(() => {
    reload();
    return () => void latest.current.turn++;
  }, deps);
  // Many events in a row cause one call.
  useEffect(() => {
    const stop = subscribe((event) => {
      if (!latest.current.wanted(event) || latest.current.again) return;
      latest.current.again = window.setTimeout(() => {
        latest.current.again = 0;
        reload();
      }, 150);
    });
    return () => {
      stop();
      clearTimeout(latest.current.again);
      latest.current.again = 0;
    };
  }, []);
  return { ...state, reload, setData: (data) => setState({ data, error: null, loading: false }) };
}

/** Loaded shows children once there is data, and before that a placeholder or the error.
 * @param {{of: {data: any, error: any, reload: () => void}, children: (data: any) => Node}} props */
export function Loaded({ of: { data, error, reload }, children }) {
  const failed =
    error &&
    html`<div class="banner bad" role="alert"><${Icon} name="alert" /><span>${error.message}</span>
    <button type="button" class="button" onClick=${reload}>${text.retry}</button></div>`;
  if (data !== undefined) return html`${failed}${children(data)}`;
  return failed || html`<div class="loading" role="status" aria-label=${text.loading}><i /><i /><i /></div>`;
}

/** Waits for a part of the dashboard to load. After an update of the server, the parts that are
 * already loaded may not fit the others.
 * @template T
 * @param {Promise<T>} loading
 * @returns {Promise<T>} */
export const part = (loading) =>
  loading.catch(() => {
    throw new Error(text.outdated);
  });

/** Returns a component whose module is loaded when it is first shown.
 * @param {() => Promise<(props: any) => Node>} load */
export function lazy(load) {
  /** @type {((props: any) => Node) | null} */
  let component = null;
  return (/** @type {any} */ props) => {
    const loaded = useData(
      async () => (component ??= await part(load())),
      [],
      () => false,
    );
    return component ? html`<${component} ...${props} />` : html`<${Loaded} of=${loaded}>${() => null}</>`;
  };
}

/** Field is a label with a control, a hint and an error. The control is a function of the
 * attributes to set.
 * @param {{label: string, hint?: Node, error?: string, class?: string, children: (attributes: object) => Node}} props */
export function Field({ label, hint, error, class: style = "", children }) {
  const id = useId();
  const described = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ") || undefined;
  return html`<div class=${`field ${style}`}>
    <label for=${id}>${label}</label>
    ${children({ id, "aria-describedby": described, "aria-invalid": error ? "true" : undefined })}
    ${hint && html`<p class="hint" id=${`${id}-hint`}>${hint}</p>`}
    ${error && html`<p class="error" id=${`${id}-error`}>${error}</p>`}
  </div>`;
}

/** Choice is a row of buttons of which one is chosen.
 * @param {{label: string, options: [string, Node][], value: string, onChange: (value: string) => void}} props */
export function Choice({ label, options, value, onChange }) {
  const name = useId();
  return html`<fieldset class="choice" aria-label=${label}>
    ${options.map(
      ([
        option,
        words,
      ]) => html`<label key=${option}><input type="radio" name=${name} value=${option} checked=${option === value}
        onChange=${() => onChange(option)} /><span>${words}</span></label>`,
    )}
  </fieldset>`;
}

/** Tabs shows one of several contents.
 * @param {{label: string, first?: string, tabs: {id: string, label: string, content: Node}[]}} props */
export function Tabs({ label, first, tabs }) {
  const [chosen, setChosen] = useState(first);
  const at = Math.max(0, tabs.findIndex((tab) => tab.id === chosen)); // prettier-ignore
  const prefix = useId();
  /** @param {KeyboardEvent} event */
  const keys = (event) => {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (!step) return;
    const next = tabs[(at + step + tabs.length) % tabs.length].id;
    setChosen(next);
    document.getElementById(`${prefix}-${next}`)?.focus();
  };
  return html`<div class="tabs">
    <div role="tablist" aria-label=${label} onKeyDown=${keys}>
      ${tabs.map(
        (
          tab,
          i,
        ) => html`<button key=${tab.id} id=${`${prefix}-${tab.id}`} type="button" role="tab" aria-selected=${i === at ? "true" : "false"}
          aria-controls=${`${prefix}-panel`} tabindex=${i === at ? 0 : -1} onClick=${() => setChosen(tab.id)}>${tab.label}</button>`,
      )}
    </div>
    <div role="tabpanel" id=${`${prefix}-panel`} aria-labelledby=${`${prefix}-${tabs[at].id}`}>${tabs[at].content}</div>
  </div>`;
}

/** Empty says that there is nothing, and what to do about it.
 * @param {{icon?: string, title: string, children?: Node}} props */
export const Empty = ({ icon = "key", title, children }) => html`
  <div class="empty"><${Icon} name=${icon} /><h2>${title}</h2>${children}</div>
`;

/** Card is a part of a page with a heading.
 * @param {{title: string, aside?: Node, children?: Node, class?: string}} props */
export function Card({ title, aside, children, class: style = "" }) {
  const id = useId();
  return html`<section class=${`card ${style}`} aria-labelledby=${id}>
    <header><h2 id=${id}>${title}</h2>${aside}</header>
    ${children}
  </section>`;
}

/** Scopes shows scopes as chips.
 * @param {{scopes: string[] | null, limit?: number}} props */
export function Scopes({ scopes, limit = Infinity }) {
  if (!scopes?.length) return html`<span class="muted">–</span>`;
  const more = scopes.length - limit;
  return html`<span class="chips">${scopes.slice(0, limit).map((scope) => html`<code class="chip">${scope}</code>`)}
    ${more > 0 && html`<span class="chip" title=${scopes.slice(limit).join(", ")}>+${more}</span>`}</span>`;
}
