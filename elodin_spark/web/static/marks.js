/** Labels that people give with the keys 1 to 9; kept on the server as selections `label-NAME`. */

import { debounce, el, saveFile } from "./dom.js";
import { LABEL_PREFIX as PREFIX, labelsCsv } from "./selection.js";

const SLOTS = 9;
const FIRST_SHOWN = 3;

export class Marks {
  /** @param {{error, changed, mark}} calls */
  constructor(root, api, calls) {
    this.root = root;
    this.api = api;
    this.calls = calls;
    this.slots = Array.from({ length: SLOTS }, (_, i) => ({ name: `class ${i + 1}`, ids: new Set(), keptAs: null }));
    this.slotOf = new Map();
    this.save = this.slots.map((slot) => debounce(600, () => this.send(slot)));
    this.rows = el("div");
    this.download = el("button", {
      type: "button",
      text: "Labels CSV",
      title: "Download cutout_id,label",
      on: { click: () => saveFile(root, labelsCsv(this.groups()), "labels.csv", "text/csv") },
    });
    root.append(this.rows, el("div", { class: "ex-row" }, el("span", { class: "ex-note ex-grow", text: "Keys 1–9 label, 0 takes back" }), this.download));
    this.draw();
  }

  groups() {
    return this.slots.filter(({ ids }) => ids.size).map(({ name, ids }) => [name, [...ids]]);
  }

  /** Number of the label of a cutout, or 0. */
  of(id) {
    return this.slotOf.get(id) || 0;
  }

  /** Give cutouts label `number`, or none with 0. */
  mark(ids, number) {
    for (const id of ids) {
      const before = this.of(id);
      if (before) {
        this.slots[before - 1].ids.delete(id);
        this.slotOf.delete(id);
        this.save[before - 1]();
      }
      if (number) {
        this.slots[number - 1].ids.add(id);
        this.slotOf.set(id, number);
        this.save[number - 1]();
      }
    }
    this.draw();
    this.calls.changed();
  }

  rename(number, name) {
    const slot = this.slots[number - 1];
    slot.name = keepable(name) || `class ${number}`;
    if (slot.ids.size) this.send(slot);
    this.draw();
  }

  async send(slot) {
    const [before, now] = [slot.keptAs, slot.ids.size ? PREFIX + slot.name : null];
    slot.keptAs = now;
    try {
      if (now) await this.api.keepSelection(now, [...slot.ids]);
      if (before && before !== now) await this.api.dropSelection(before);
    } catch (error) {
      this.calls.error(error);
    }
  }

  /** Take the labels that the server keeps. */
  async load() {
    const { selections } = await this.api.selections();
    const kept = selections.filter(({ name }) => name.startsWith(PREFIX)).slice(0, SLOTS);
    const taken = new Set();
    for (const { name } of kept) {
      const label = name.slice(PREFIX.length);
      let at = this.slots.findIndex((slot) => slot.name === label);
      if (at < 0) at = this.slots.findIndex((slot, i) => !slot.ids.size && !taken.has(i) && !kept.some((each) => each.name === PREFIX + slot.name));
      if (at < 0) continue;
      taken.add(at);
      this.slots[at].name = label;
      this.slots[at].keptAs = name;
      for (const id of (await this.api.selection(name)).id) {
        this.slots[at].ids.add(String(id));
        this.slotOf.set(String(id), at + 1);
      }
    }
    this.draw();
    this.calls.changed();
  }

  draw() {
    const last = Math.max(FIRST_SHOWN, ...this.slots.map(({ ids }, i) => (ids.size ? i + 2 : 0)));
    this.rows.replaceChildren(
      ...this.slots.slice(0, Math.min(SLOTS, last)).map(({ name, ids }, i) =>
        el(
          "div",
          { class: "ex-row" },
          el("button", { type: "button", class: "ex-key", text: String(i + 1), title: "Label the query or the neighbor in focus", "aria-label": `Label with ${name}`, on: { click: () => this.calls.mark(i + 1) } }),
          el("input", { type: "text", class: "ex-grow", value: name, maxlength: "48", spellcheck: "false", "aria-label": `Name of label ${i + 1}`, on: { change: (event) => this.rename(i + 1, event.target.value) } }),
          el("span", { class: "ex-count", text: ids.size.toLocaleString("en") }),
        ),
      ),
    );
    this.download.disabled = !this.slotOf.size;
  }
}

/** A name of the letters that the server keeps. */
function keepable(name) {
  return name.trim().replace(/[^A-Za-z0-9 _.-]/g, "_").replace(/[ .]+$/, "");
}
