// @ts-check
// The gates that share a key store.
import { html, useEffect } from "./vendor/preact.js";
import { get } from "./api.js";
import { exact, relative, span } from "./format.js";
import { text } from "./text.js";
import { Card, useData } from "./ui.js";

/** @typedef {import("../types").GateNode} Node */

// How often the list is read again, in milliseconds. Gates report without events.
const interval = 5000;

/** Nodes lists the gates, if several can share the key store. */
export function Nodes() {
  const { data, error, reload } = useData(
    () => get("nodes"),
    [],
    () => false,
  );
  const nodes = /** @type {Node[]} */ (data?.nodes ?? []);
  useEffect(() => {
    const timer = nodes.length ? setTimeout(reload, interval) : 0;
    return () => clearTimeout(timer);
  }, [data, error]);
  const t = text.nodes;
  if (!nodes.length) return null;
  return html`<${Card} title=${t.title} class="nodes"><p class="hint">${t.hint}</p>
<div class="table"><table><thead><tr>${t.head.map((name) => html`<th scope="col">${name}</th>`)}</tr></thead>
<tbody>${nodes.map(
    (node) => html`<tr key=${node.id}><td><b dir="auto">${node.name}</b> ${node.self && html`<span class="chip">${t.self}</span>`}
<p class="hint" dir="auto">${node.version}</p></td>
<td><${State} ...${node} /></td>
<td>${node.last_seen_at ? html`<time datetime=${node.last_seen_at} title=${exact(node.last_seen_at)}>${relative(node.last_seen_at)}</time>` : text.never}</td>
<td>${node.age_seconds === null ? "–" : t.age(span(node.age_seconds * 1000))}</td></tr>`,
  )}</tbody></table></div></>`; // prettier-ignore
}

/** @param {Node} node */
function State({ live, self }) {
  const state = live ? "live" : self ? "alone" : "gone";
  const style = { live: "active", alone: "revoked", gone: "disabled" }[state];
  return html`<span class=${`badge ${style}`}>${text.nodes.states[state]}</span>`;
}
