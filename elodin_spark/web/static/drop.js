/** Ask with what is not in the catalog: an image, dropped or chosen, or a position, typed. */

import { el } from "./dom.js";

/**
 * Degrees of "RA Dec", each in decimal degrees or sexagesimal (RA then in hours); null where it is none.
 * @param {string} text
 * @returns {{ra: number, dec: number} | null}
 */
export function parsePosition(text) {
  const tidy = text.trim().replace(/[−–]/g, "-").replace(/[,;]/g, " ");
  const decimal = /^([+-]?\d+(?:\.\d*)?)\s+([+-]?\d+(?:\.\d*)?)$/.exec(tidy);
  if (decimal) return checked(+decimal[1], +decimal[2]);
  const parts = tidy.replace(/[hms:d°'"′″]/gi, " ").trim().split(/\s+/);
  if (parts.length !== 6 || parts.some((part) => !/^[+-]?\d+(\.\d*)?$/.test(part))) return null;
  const [h, m, s, d, dm, ds] = parts.map((part) => Math.abs(+part));
  if (m >= 60 || s >= 60 || dm >= 60 || ds >= 60) return null;
  const dec = d + dm / 60 + ds / 3600;
  return checked(15 * (h + m / 60 + s / 3600), parts[3].startsWith("-") ? -dec : dec);
}

function checked(ra, dec) {
  return ra >= 0 && ra < 360 && Math.abs(dec) <= 90 ? { ra, dec } : null;
}

const ACCEPTED = ".jpg,.jpeg,.png,.tif,.tiff,.fits,.fit,.fts";

export class DropBox {
  /** @param {{position, file}} calls - `position(ra, dec)`, `file(File)`. */
  constructor(root, whole, hasSky, calls) {
    this.calls = calls;
    this.error = el("div", { class: "ex-error", role: "alert", hidden: true });
    this.position = el("input", {
      type: "text",
      class: "ex-grow",
      placeholder: hasSky ? "RA Dec" : "no positions here",
      "aria-label": "Position to ask at: RA and Dec",
      disabled: !hasSky,
      title: "In degrees, 150.1 2.2, or sexagesimal, 10:00:24 +02:12:00 (g)",
      spellcheck: "false",
      on: { input: () => (this.error.hidden = true) },
    });
    this.chooser = el("input", { type: "file", accept: ACCEPTED, hidden: true, on: { change: () => this.take(this.chooser.files) } });
    root.append(
      el("form", { class: "ex-row", on: { submit: (event) => (event.preventDefault(), this.ask()) } }, this.position, el("button", { type: "submit", text: "Go", disabled: !hasSky })),
      this.error,
      el(
        "div",
        { class: "ex-row" },
        el("button", { type: "button", class: "ex-wide", text: "Open an image, or drop one", title: "JPEG, PNG, TIFF or FITS (o)", on: { click: () => this.choose() } }),
        this.chooser,
      ),
    );
    this.veil = el("div", { class: "ex-veil", hidden: true }, el("div", { text: "Drop an image (JPEG, PNG, TIFF or FITS) to find what looks like it" }));
    whole.append(this.veil);
    this.watch(whole);
  }

  choose() {
    this.chooser.click();
  }

  ask() {
    const position = parsePosition(this.position.value);
    this.error.hidden = Boolean(position);
    if (position) this.calls.position(position.ra, position.dec);
    else this.error.textContent = "No position: type RA and Dec, in degrees (150.1 2.2) or sexagesimal (10:00:24 +02:12:00)";
  }

  take(files) {
    if (files.length) this.calls.file(files[0]);
    this.chooser.value = "";
  }

  watch(whole) {
    let depth = 0;
    const files = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
    const on = (name, run) =>
      whole.addEventListener(name, (event) => {
        if (!files(event)) return;
        event.preventDefault();
        run(event);
        this.veil.hidden = depth === 0;
      });
    on("dragenter", () => depth++);
    on("dragleave", () => (depth = Math.max(0, depth - 1)));
    on("dragover", () => {});
    on("drop", (event) => {
      depth = 0;
      this.take(event.dataTransfer.files);
    });
  }
}
