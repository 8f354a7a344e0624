// All elements are created one by one, and text is set as text. External data is never
// parsed as HTML.

// el creates an element. Properties that start with "on" are listeners. Properties with a
// hyphen, as well as role and for, are attributes.
export function el(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key.includes("-") || key === "role" || key === "for") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const svgNamespace = "http://www.w3.org/2000/svg";

// svg creates an SVG element.
export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(svgNamespace, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// say shows a message for 20 seconds. Screen readers read it aloud.
export function say(text, kind = "good") {
  const note = el("p", { className: `note ${kind}` }, text);
  document.getElementById("messages").append(note);
  setTimeout(() => note.remove(), 20000);
}

let ids = 0;

// field returns a labeled input, with a place for an error below it.
export function field(label, input, hint) {
  const id = `field-${++ids}`;
  input.id = id;
  const error = el("p", { className: "wrong", id: `${id}-wrong`, hidden: true });
  const described = [`${id}-wrong`];
  if (hint) described.push(`${id}-hint`);
  input.setAttribute("aria-describedby", described.join(" "));
  const box = el("div", { className: "field" },
    el("label", { for: id }, label), input,
    hint ? el("p", { className: "hint", id: `${id}-hint` }, hint) : null, error);
  box.wrong = (text) => {
    error.textContent = text ?? "";
    error.hidden = !text;
    input.setAttribute("aria-invalid", text ? "true" : "false");
    if (text) input.focus();
  };
  return box;
}

// dialog shows a modal dialog and returns it. Closing it removes it from the page.
export function dialog(title, ...children) {
  const heading = el("h2", { id: `dialog-${++ids}` }, title);
  const box = el("dialog", { "aria-labelledby": heading.id }, heading, ...children);
  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
  return box;
}
