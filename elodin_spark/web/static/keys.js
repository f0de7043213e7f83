/** Keys: what each does, in one table that the help shows. */

import { el } from "./dom.js";

/** Groups of [keys, what they do], as the help lists them. */
export const KEYS = [
  ["Neighbors", [
    ["← → ↑ ↓", "go through the neighbors"],
    ["Enter", "ask from the neighbor in focus"],
    ["[  ]", "back, forward"],
    ["1 … 9", "label the neighbor in focus, or the query"],
    ["Shift + 1 … 9", "label the whole selection"],
    ["0", "take the label back"],
    ["s", "add to the selection, or take out"],
    ["d", "download as FITS"],
    ["r", "a random cutout"],
  ]],
  ["Map", [
    ["m", "go to the map; arrows move it, Enter asks under the cross"],
    ["+  −  f", "zoom in, zoom out, fit"],
    ["l", "lasso on or off; Shift adds, Alt removes"],
    ["v", "select all in view"],
    ["c", "clear the selection"],
    ["x", "mark doubtful points"],
    ["p", "pictures at the points"],
  ]],
  ["Page", [
    ["/", "filter"],
    ["n  i  y", "neighbors, image, sky"],
    ["g", "type a position"],
    ["o", "open an image"],
    ["t", "light or dark"],
    ["?", "this help"],
    ["Esc", "leave a field, end the lasso, close"],
  ]],
];

const ARROWS = new Set(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"]);
const PAN_PX = 60;

/**
 * Listen for keys on a node.
 * @param {EventTarget} target
 * @param {object} acts - Functions by name: those of the letters, `arrow(key)`, `enter()`, `escape()`, `mark(number)`,
 *   `markSelection(number)`; and `map`, the ScatterMap.
 * @returns {function()} Stops listening.
 */
export function listenForKeys(target, acts) {
  const listener = (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey) return;
    const node = event.target;
    if (event.key === "Escape") {
      if (node.matches?.("input, select, textarea")) node.blur();
      acts.escape();
      return;
    }
    if (node.matches?.("textarea, select, input:not([type=checkbox])") || node.closest?.("dialog[open]")) return;
    if (run(event, node, acts)) event.preventDefault();
  };
  target.addEventListener("keydown", listener);
  return () => target.removeEventListener("keydown", listener);
}

function run(event, node, acts) {
  const { key } = event;
  const onMap = node === acts.map.over;
  if (ARROWS.has(key)) {
    if (!onMap) return acts.arrow(key), true;
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[key];
    acts.map.move(PAN_PX * dx, PAN_PX * dy);
    acts.map.hoverCenter();
    return true;
  }
  if (key === "Enter") {
    if (onMap) return acts.enterMap(), true;
    return node.matches?.("button, a, summary") ? false : (acts.enter(), true);
  }
  const digit = /^Digit([0-9])$/.exec(event.code) || /^Numpad([0-9])$/.exec(event.code);
  if (digit && event.shiftKey && digit[1] !== "0") return acts.markSelection(+digit[1]), true;
  if (/^[0-9]$/.test(key)) return acts.mark(+key), true;
  const named = { "/": "filter", "?": "help", "[": "back", "]": "forward", "+": "zoomIn", "=": "zoomIn", "-": "zoomOut", "−": "zoomOut" }[key];
  const act = acts[named || (/^[a-z]$/.test(key) ? key : "")];
  if (!act) return false;
  act();
  return true;
}

/** The dialog that lists the keys. */
export function helpDialog(root, described) {
  const dialog = el(
    "dialog",
    { class: "ex-help", "aria-label": "Help" },
    el("div", { class: "ex-row" }, el("h2", { text: "Keys and mouse" }), el("span", { class: "ex-grow" }), el("button", { type: "button", text: "Close", on: { click: () => dialog.close() } })),
    el(
      "div",
      { class: "ex-help-columns" },
      ...KEYS.map(([title, keys]) =>
        el("section", {}, el("h3", { text: title }), el("dl", {}, ...keys.flatMap(([key, what]) => [el("dt", {}, el("kbd", { text: key })), el("dd", { text: what })]))),
      ),
    ),
    el("p", { text: "Mouse: drag moves the map, the wheel zooms, a click asks for neighbors, Ctrl + click adds to the selection, Shift + drag draws a lasso. A selection stays the same when you zoom or filter. The address holds all that is shown: send it to show the same." }),
    el("p", { class: "ex-note", text: described }),
  );
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  root.append(dialog);
  return dialog;
}
