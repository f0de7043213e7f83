/**
 * The selection: IDs, whatever the map shows. How it came about is a short text, from which it comes about again:
 * steps joined by `~`, each `name:NAME`, `ids:ID,ID`, `flip:ID`, or `MODE|MAP|CONDITION|x,y,...` for a lasso.
 */

import { choice, el, saveFile } from "./dom.js";
import { HIDDEN, SELECTED } from "./pointset.js";

const LONGEST_TEXT = 6000;
const SHOWN = 12;
/** Of the names of selections that are labels. */
export const LABEL_PREFIX = "label-";
export const FORMATS = [
  ["csv", "CSV"],
  ["ecsv", "ECSV"],
  ["votable", "VOTable"],
  ["fits", "FITS table"],
  ["parquet", "Parquet"],
];
const EXTENSIONS = { csv: "csv", ecsv: "ecsv", votable: "vot", fits: "fits", parquet: "parquet" };

/** File name of a list. */
export const listName = (stem, format) => `${stem}.${EXTENSIONS[format]}`;

export class Selection {
  constructor() {
    this.ids = new BigInt64Array(0);
    this.text = "";
  }

  get count() {
    return this.ids.length;
  }

  /** Set the flags of the points that are selected; points may be few of the IDs. */
  mark(points) {
    const { flags } = points;
    for (let i = 0; i < flags.length; i++) flags[i] &= ~SELECTED;
    for (const i of points.indicesOf(this.ids)) flags[i] |= SELECTED;
  }

  has(points, id) {
    const at = points.indexOf(id);
    return at >= 0 ? Boolean(points.flags[at] & SELECTED) : this.ids.includes(BigInt(id));
  }

  /** Take, add or remove points; `step` is the text of it. */
  change(points, indices, mode, step) {
    if (mode === "new") {
      this.ids = new BigInt64Array(0);
      this.text = "";
    }
    this.mark(points);
    const { flags, id } = points;
    const before = this.ids.filter((each) => points.indexOf(each) < 0);
    for (const i of indices) {
      if (mode === "remove") flags[i] &= ~SELECTED;
      else if (mode === "flip") flags[i] ^= SELECTED;
      else flags[i] |= SELECTED;
    }
    let count = before.length;
    for (let i = 0; i < flags.length; i++) if (flags[i] & SELECTED) count++;
    const ids = new BigInt64Array(count);
    ids.set(before);
    let at = before.length;
    for (let i = 0; i < flags.length; i++) if (flags[i] & SELECTED) ids[at++] = id[i];
    this.ids = ids;
    this.text = !ids.length ? "" : this.text && this.text !== "?" ? `${this.text}~${step}` : this.text === "?" ? "?" : step;
    if (this.text.length > LONGEST_TEXT) this.text = "?";
  }

  take(ids, text) {
    this.ids = ids;
    this.text = ids.length ? text : "";
  }

  /**
   * Make the selection of its text again.
   * @param {{pointsOf, hiddenOf, kept}} sources - `pointsOf(map)`, `hiddenOf(map, condition)` (flags or undefined),
   *   `kept(name)` (BigInt64Array); all async.
   */
  async restore(text, { pointsOf, hiddenOf, kept }, map) {
    this.take(new BigInt64Array(0), "");
    for (const step of text.split("~").filter(Boolean)) {
      if (step.startsWith("name:")) this.take(await kept(step.slice(5)), step);
      else if (step.startsWith("ids:")) this.take(BigInt64Array.from(step.slice(4).split(",").map(BigInt)), step);
      else if (step.startsWith("flip:")) {
        const points = await pointsOf(map);
        const at = points.indexOf(step.slice(5));
        if (at >= 0) this.change(points, [at], "flip", step);
      } else {
        const [mode, itsMap, where, corners] = step.split("|");
        if (!corners) continue;
        const points = await pointsOf(itsMap);
        const hidden = await hiddenOf(itsMap, decodeURIComponent(where));
        const polygon = Float64Array.from(corners.split(",").map(Number));
        this.change(points, points.inPolygon(polygon, hidden), mode, step);
      }
    }
  }
}

/** The text of a lasso. */
export function lassoStep(mode, map, where, polygon) {
  return `${mode}|${map}|${encodeURIComponent(where)}|${[...polygon].join(",")}`;
}

/** Flags that hide what a mask of the API leaves out. */
export function hiddenByMask(bits, n) {
  const flags = new Uint8Array(n);
  for (let i = 0; i < n; i++) if (!((bits[i >> 3] >> (i & 7)) & 1)) flags[i] = HIDDEN;
  return flags;
}

/** The panel of the selection: how many, keep and take again, export. */
export class SelectionPanel {
  /** @param {{clear, take, goto, error, keep, drop}} calls */
  constructor(root, api, selection, calls) {
    this.api = api;
    this.selection = selection;
    this.calls = calls;
    this.root = root;
    this.count = el("output", { class: "ex-strong", "aria-live": "polite" });
    this.note = el("div", { class: "ex-note", hidden: true });
    this.name = el("input", { type: "text", placeholder: "name", "aria-label": "Name of the selection", maxlength: "64", spellcheck: "false" });
    this.kept = el("div", { class: "ex-kept" });
    this.strip = el("div", { class: "ex-strip" });
    this.clear = el("button", { type: "button", text: "Clear", on: { click: () => calls.clear() } });
    const keep = el(
      "form",
      { class: "ex-row", on: { submit: (event) => (event.preventDefault(), this.keep()) } },
      this.name,
      (this.keepButton = el("button", { type: "submit", text: "Keep" })),
    );
    this.exports = choice(
      "Download the selection",
      [["", "Download as…"], ...FORMATS, ["labels", "Labels CSV (with the name)"]],
      "",
      (format) => this.download(format),
    );
    root.append(
      el("div", { class: "ex-row" }, this.count, el("span", { class: "ex-grow" }), this.clear),
      this.strip,
      keep,
      el("div", { class: "ex-row" }, this.exports),
      this.note,
      this.kept,
    );
    this.changed();
  }

  changed() {
    const { count, text, ids } = this.selection;
    this.count.textContent = count ? `${count.toLocaleString("en")} selected` : "none selected";
    for (const node of [this.keepButton, this.exports, this.clear]) node.disabled = !count;
    this.note.hidden = text !== "?";
    this.note.textContent = text === "?" ? "Too many steps for the address: keep it under a name to find it again." : "";
    this.strip.replaceChildren(
      ...Array.from(ids.subarray(0, SHOWN), String).map((id) => {
        const image = el("img", { alt: "", width: 40, height: 40 });
        this.api.thumbnail(id).then((url) => url && (image.src = url), () => {});
        return el("button", { type: "button", class: "ex-mini", "aria-label": `Neighbors of cutout ${id}`, title: id, on: { click: () => this.calls.goto(id) } }, image);
      }),
    );
    this.strip.hidden = !count;
  }

  async keep() {
    const name = this.name.value.trim();
    if (!name) {
      this.name.focus();
      return;
    }
    try {
      await this.api.keepSelection(name, Array.from(this.selection.ids, String));
      this.calls.keep(name);
      await this.list();
    } catch (error) {
      this.calls.error(error);
    }
  }

  async list() {
    const { selections } = await this.api.selections();
    this.kept.replaceChildren(
      // Labels have a panel of their own.
      ...selections.filter(({ name }) => !name.startsWith(LABEL_PREFIX)).map(({ name, count }) =>
        el(
          "div",
          { class: "ex-row" },
          el(
            "button",
            { type: "button", class: "ex-link ex-grow ex-cut", title: `Take the selection ${name}`, on: { click: () => this.calls.take(name) } },
            el("span", { text: name }),
          ),
          el("span", { class: "ex-count", text: count.toLocaleString("en") }),
          el("button", { type: "button", class: "ex-quiet", text: "×", "aria-label": `Delete the selection ${name}`, title: "Delete", on: { click: () => this.calls.drop(name) } }),
        ),
      ),
    );
  }

  async download(format) {
    this.exports.value = "";
    if (!format) return;
    const stem = this.name.value.trim() || "selection";
    const ids = Array.from(this.selection.ids, String);
    if (format === "labels") {
      saveFile(this.root, labelsCsv([[stem, ids]]), `${stem}_labels.csv`, "text/csv");
      return;
    }
    try {
      const file = await this.api.list(format, { ids });
      saveFile(this.root, file.body, listName(stem, format), file.type);
    } catch (error) {
      this.calls.error(error);
    }
  }
}

/** A table of `cutout_id,label`, as elodin-spark weights compare reads it. */
export function labelsCsv(groups) {
  const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const rows = groups.flatMap(([label, ids]) => ids.map((id) => `${id},${quoted(label)}`));
  return `cutout_id,label\n${rows.join("\n")}\n`;
}
