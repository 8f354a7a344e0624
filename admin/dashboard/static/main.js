// @ts-check
// The page's frame: navigation, search, the user's menu, and the page that the address names.
import { html, render, useEffect, useReducer, useState } from "./vendor/preact.js";
import { call, connection, get, listen, setConnection, watchConnection } from "./api.js";
import { openForm } from "./dialogs.js";
import { dateTime } from "./format.js";
import { applyTheme, setPrefs, usePrefs } from "./prefs.js";
import { go, href, startRouting, useRoute } from "./route.js";
import { SearchBox } from "./search.js";
import "./signin.js";
import { text } from "./text.js";
import { confirm, Icon, Layers, lazy, Menu, note } from "./ui.js";

/** @typedef {import("./route.js").Route} Route */

// Pages are loaded when they are first shown.
const OverviewPage = lazy(async () => (await import("./overview.js")).OverviewPage);
const KeysPage = lazy(async () => (await import("./keys.js")).KeysPage);
const KeyPage = lazy(async () => (await import("./key.js")).KeyPage);
const AuditPage = lazy(async () => (await import("./audit.js")).AuditPage);
const SettingsPage = lazy(async () => (await import("./settings.js")).SettingsPage);

// A Map has no inherited names, such as "constructor".
/** @type {Map<string, (route: Route) => any>} */
const pages = new Map([
  ["overview", () => html`<${OverviewPage} />`],
  ["keys", () => html`<${KeysPage} key="api" kind="api" />`],
  ["admin", () => html`<${KeysPage} key="admin" kind="admin" />`],
  ["key", (/** @type {Route} */ { id }) => html`<${KeyPage} key=${id} id=${id} />`],
  ["audit", () => html`<${AuditPage} />`],
  ["settings", () => html`<${SettingsPage} />`],
]);

const icons = { overview: "chart", keys: "key", admin: "shield", audit: "list", settings: "settings" };

function App() {
  const route = useRoute();
  const [, redraw] = useReducer((/** @type {number} */ n) => n + 1, 0);
  const { zone } = usePrefs();
  useEffect(() => watchConnection(() => redraw(null)), []);
  // Times such as "3 m ago" move on.
  useEffect(() => {
    const timer = setInterval(() => redraw(null), 60_000);
    return () => clearInterval(timer);
  }, []);
  // A link to the form opens it above the list, so closing it leaves the list. Anyone can make a
  // link, so it can't choose the kind of key.
  useEffect(() => {
    if (route.page !== "new") return;
    go(href("keys"), { replace: true });
    openForm({ kind: "api", prefill: route.query });
  }, [route.page, route.query]);
  const here = route.page === "key" ? "keys" : route.page;
  const title = text.pages[/** @type {keyof typeof text.pages} */ (here)] ?? text.brand;
  useEffect(() => {
    document.title = `${title} · ${text.brand}`;
  }, [title, route.id]);
  const draw = pages.get(route.page);
  return html`<a class="skip" href="#content" onClick=${skip}>${text.skip}</a>
    <nav class="pages" aria-label=${text.navigation}>
      <a class="brand" href="#overview" aria-label=${text.brand}><img src="icon.svg" alt="" width="24" height="24" /><span>${text.brand}</span></a>
      ${Object.entries(text.pages).map(
        ([
          page,
          label,
        ]) => html`<a key=${page} href=${href(page)} aria-current=${page === here ? "page" : undefined}>
          <${Icon} name=${icons[/** @type {keyof typeof icons} */ (page)]} /><span>${label}</span></a>`,
      )}
    </nav>
    <div class="frame">
      <header class="top">
        <${SearchBox} />
        <button type="button" class="button primary" aria-label=${text.newKey} onClick=${() => openForm({ kind: "api" })}>
          <${Icon} name="plus" /><span class="wide">${text.newKey}</span></button>
        <${UserMenu} />
      </header>
      ${connection.offline && html`<p class="banner bad" role="alert"><${Icon} name="alert" />${text.offline}</p>`}
      ${connection.behind && !connection.offline && html`<${Behind} />`}
      <main id="content" tabindex="-1" data-zone=${zone}>
        ${connection.session && (draw ? draw(route) : html`<${Missing} />`)}
      </main>
    </div>
    <${Layers} />`;
}

/** Behind warns while this gate's copy of a shared key store is old. It asks the server until the
 * copy is new again. */
function Behind() {
  const [warning, setWarning] = useState("");
  useEffect(() => {
    let fine = 0;
    const check = async () => {
      let detail = "";
      try {
        const { checks } = await get("healthz");
        detail = checks.replica?.detail ?? "";
      } catch (error) {
        if (/** @type {import("./api.js").ApiError} */ (error).status !== 503) return;
        detail = /** @type {Error} */ (error).message;
      }
      setWarning(detail);
      fine = detail ? 0 : fine + 1;
      // The copy may only have begun to age.
      if (fine > 2) setConnection({ behind: false });
    };
    check();
    const timer = setInterval(check, 3000);
    return () => clearInterval(timer);
  }, []);
  // Screen readers announce only the beginning, because the rest changes every few seconds.
  return (
    warning &&
    html`<section class="banner warn" aria-label=${text.behind}><${Icon} name="alert" /><span>${warning}</span><span class="sr" role="alert">${text.behind}</span></section>`
  );
}

/** @param {Event} event */
function skip(event) {
  event.preventDefault(); // the address names the page
  document.getElementById("content")?.focus();
}

const Missing = () => html`<div class="empty"><${Icon} name="search" />
  <h1>${text.notFound.title}</h1><p><a href="#overview">${text.notFound.back}</a></p></div>`;

function UserMenu() {
  const { session } = connection;
  const { theme, zone } = usePrefs();
  if (!session) return null;
  const t = text.user;
  const name = session.name ?? session.actor;
  const themes = /** @type {("system"|"light"|"dark")[]} */ (["system", "light", "dark"]);
  const zones = /** @type {("local"|"utc")[]} */ (["local", "utc"]);
  return html`<${Menu} label=${t.label} class="user"
    content=${html`<span class="sr">${t.label}</span><span class="avatar" aria-hidden="true">${name.slice(0, 1).toUpperCase()}</span><span class="wide" dir="auto">${name}</span>`}
    items=${[
      ...(session.expires_at
        ? [{ label: t.until(dateTime(session.expires_at)), icon: "clock", href: "#settings" }]
        : []),
      ...themes.map((value) => ({
        label: t.themes[value],
        checked: theme === value,
        run: () => setPrefs({ theme: value }),
      })),
      ...zones.map((value) => ({
        label: t.zones[value],
        checked: zone === value,
        run: () => setPrefs({ zone: value }),
      })),
      { label: t.docs, icon: "book", href: `${text.documentation}/admin.md` },
      ...(session.expires_at
        ? [
            { label: t.signOut, icon: "exit", run: () => signOut("session") },
            {
              label: t.everywhere,
              icon: "exit",
              run: () =>
                confirm({
                  title: t.everywhere,
                  body: t.everywhereBody,
                  action: t.everywhere,
                  danger: true,
                  run: () => signOut("session?everywhere=true"),
                }),
            },
          ]
        : []),
    ]} />`;
}

/** @param {string} path */
async function signOut(path) {
  try {
    await call("DELETE", path, { anonymous: true });
  } catch (error) {
    note(/** @type {Error} */ (error).message, { bad: true });
    return;
  }
  location.hash = "";
  location.reload();
}

applyTheme();
startRouting();
render(html`<${App} />`, /** @type {HTMLElement} */ (document.getElementById("app")));
get("session").then(
  (session) => {
    setConnection({ session });
    listen();
  },
  (error) => note(error.message, { bad: true }),
);
