/** Elements made in one call. Styles go through the CSSOM, which the page's policy allows. */

/**
 * An element with properties and children.
 * @param {string} tag
 * @param {object} [props] - `class`, `text`, `on: {event: listener}`, `style: {name: value}`; all else is an attribute,
 *   left out where null or false.
 * @param {...(Node|string|null)} children
 */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") node.className = value;
    else if (name === "text") node.textContent = value;
    else if (name === "on") for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else if (name === "style") Object.assign(node.style, value);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** A `<select>` of [value, text] pairs. */
export function choice(label, pairs, value, onchange, props = {}) {
  const node = el("select", { "aria-label": label, title: label, ...props, on: { change: () => onchange(node.value) } });
  fillChoice(node, pairs, value);
  return node;
}

export function fillChoice(node, pairs, value) {
  node.replaceChildren(...pairs.map(([each, text, disabled]) => el("option", { value: each, text, disabled })));
  node.value = value;
}

/** A checkbox with its text. */
export function toggle(text, checked, onchange, props = {}) {
  const box = el("input", { type: "checkbox", on: { change: () => onchange(box.checked) } });
  box.checked = checked;
  const node = el("label", { class: "ex-toggle", ...props }, box, el("span", { text }));
  node.box = box;
  return node;
}

/** A number with its noun: `1 cutout`, `2,000 cutouts`. */
export function counted(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

/** A function that runs once, `wait` ms after its last call. */
export function debounce(wait, run) {
  let timer = 0;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => run(...args), wait);
  };
}

/** Hand bytes to the browser as a file. */
export function saveFile(root, bytes, name, type) {
  const url = URL.createObjectURL(new Blob([bytes], { type }));
  const link = el("a", { href: url, download: name, hidden: true });
  root.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}
