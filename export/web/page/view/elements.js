// Elements made by hand; text is always set as text, never as HTML.

/**
 * Make an element.
 *
 * @param {string} name of the tag.
 * @param {object} properties to set on it; `class` and names with a dash as attributes.
 * @param {(Node | string)[]} children
 */
export function make(name, properties = {}, children = []) {
  const element = document.createElement(name);
  set(element, properties);
  element.append(...children);
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** Make an SVG element; its properties are attributes. */
export function draw(name, attributes = {}, children = []) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

function set(element, properties) {
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class" || key.includes("-")) element.setAttribute(key, value);
    else element[key] = value;
  }
}

/** Return a name as it is read. */
export function toWords(name) {
  return name.replaceAll("_", " ");
}

/** Return a fraction as a percentage; 0% and 100% are for what is exactly so. */
export function toPercent(fraction) {
  if (fraction > 0 && fraction < 0.005) return "<1%";
  if (fraction < 1 && fraction > 0.995) return ">99%";
  return `${Math.round(100 * fraction)}%`;
}
