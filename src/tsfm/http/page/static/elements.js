// Small helpers for the document.
export const find = (id) => document.getElementById(id);

/** A new element with properties, attributes (aria-*, data-*, scope, ...) and children. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export function fill(element, ...children) {
  element.replaceChildren(...children);
  element.hidden = !children.length;
}

/** Have the browser save a blob. */
export function save(name, blob) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** A coloured square before a name. */
export function swatch(color) {
  const square = make("span", { className: "swatch", "aria-hidden": "true" });
  square.style.background = color; // a property: the policy forbids style attributes only
  return square;
}

export function percent(share) {
  return `${Number((100 * share).toFixed(1))} %`;
}

/** A cell of a CSV file. */
export function quoted(text) {
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
