// Elements without markup: what people or other services have written only ever becomes text.

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/** Makes an element: `h("p", { class: "quiet" }, "text", otherElement)`. Properties whose name begins with "on" are listeners. */
export function h(name, properties, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties ?? {})) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== undefined && value !== null) element.setAttribute(key, String(value));
  }
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

/** The same in SVG. */
export function svg(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes ?? {})) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
}
