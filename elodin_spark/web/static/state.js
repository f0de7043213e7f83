/**
 * What the page shows, as one flat record: written into the address, and read from it again. What differs from the
 * default is in the address, so that it stays short.
 */

export const DEFAULTS = Object.freeze({
  map: "",
  color: "",
  scale: "linear",
  where: "",
  metric: "l2",
  k: 9,
  query: "",
  overlap: false,
  separation: "",
  repeats: "keep",
  within: false,
  doubtful: false,
  pictures: true,
  selection: "",
  camera: "",
  stretch: "",
  cut: "",
  colormap: "",
  tab: "neighbors",
  theme: "auto",
});

/** Changes of these alone make no step of the history. */
const PASSING = new Set(["camera", "theme", "selection"]);

/** The text after `#`, of a record. */
export function encodeState(values) {
  const parts = new URLSearchParams();
  for (const [name, initial] of Object.entries(DEFAULTS)) {
    const value = values[name];
    if (value !== initial) parts.set(name, typeof value === "boolean" ? (value ? "1" : "0") : String(value));
  }
  return parts.toString();
}

/** A record of the text after `#`; what it does not name, or what makes no sense, is the default. */
export function decodeState(text) {
  const parts = new URLSearchParams(text.replace(/^#/, ""));
  const values = { ...DEFAULTS };
  for (const [name, initial] of Object.entries(DEFAULTS)) {
    const value = parts.get(name);
    if (value === null) continue;
    if (typeof initial === "boolean") values[name] = value === "1";
    else if (typeof initial === "number") values[name] = Number.isFinite(+value) && +value >= 1 ? Math.round(+value) : initial;
    else values[name] = value;
  }
  return values;
}

/** History of a page: the address of a window. */
export function addressHistory(view) {
  return {
    read: () => view.location.hash,
    push: (text) => view.history.pushState(null, "", `#${text}`),
    replace: (text) => view.history.replaceState(null, "", `#${text}`),
    back: () => view.history.back(),
    forward: () => view.history.forward(),
    listen(callback) {
      view.addEventListener("popstate", callback);
      return () => view.removeEventListener("popstate", callback);
    },
  };
}

/** History in memory: for a page inside another. */
export function memoryHistory(text = "") {
  const entries = [text];
  let at = 0;
  let callback = () => {};
  const go = (step) => {
    if (entries[at + step] === undefined) return;
    at += step;
    callback();
  };
  return {
    read: () => entries[at],
    push(each) {
      entries.splice(++at, Infinity, each);
    },
    replace(each) {
      entries[at] = each;
    },
    back: () => go(-1),
    forward: () => go(1),
    listen(each) {
      callback = each;
      return () => (callback = () => {});
    },
  };
}

/** The record, who wants to know of its changes, and its history. */
export class State {
  constructor(history) {
    this.history = history;
    this.values = decodeState(history.read());
    this.listeners = [];
    this.unlisten = history.listen(() => this.assign(decodeState(history.read())));
  }

  get(name) {
    return this.values[name];
  }

  /** Call `run(changed names)` after a change of any of `names`. */
  on(names, run) {
    this.listeners.push({ names: new Set(names), run });
  }

  /** Take some values; one step of the history unless they only pass. */
  set(values, { replace = false } = {}) {
    const changed = Object.keys(values).filter((name) => values[name] !== this.values[name]);
    if (!changed.length) return;
    const next = { ...this.values, ...values };
    const passing = replace || changed.every((name) => PASSING.has(name));
    this.history[passing ? "replace" : "push"](encodeState(next));
    this.assign(next);
  }

  back() {
    this.history.back();
  }

  forward() {
    this.history.forward();
  }

  assign(next) {
    const changed = Object.keys(DEFAULTS).filter((name) => next[name] !== this.values[name]);
    this.values = next;
    for (const { names, run } of this.listeners) {
      const its = changed.filter((name) => names.has(name));
      if (its.length) run(its);
    }
  }

  close() {
    this.unlisten();
    this.listeners = [];
  }
}
