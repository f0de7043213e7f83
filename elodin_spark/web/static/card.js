/** What a cutout is, in a card beside the pointer. */

import { el } from "./dom.js";

const WAIT_MS = 70;
const LABELS = 3;
const AWAY_PX = 16;

/** RA and Dec, deg, by default in the digits of a few hundredths of an arcsecond. */
export function positionText(cutout, digits = 5) {
  if (cutout.ra === null || cutout.ra === undefined) return "no position";
  return `${cutout.ra.toFixed(digits)} ${cutout.dec >= 0 ? "+" : "−"}${Math.abs(cutout.dec).toFixed(digits)}`;
}

export class Card {
  constructor(root, api) {
    this.root = root;
    this.api = api;
    this.picture = el("img", { alt: "", width: 112, height: 112 });
    this.text = el("div", { class: "ex-card-text" });
    this.node = el("div", { class: "ex-card", role: "tooltip", hidden: true }, this.picture, this.text);
    root.append(this.node);
  }

  /** Show the cutout at a place of the map, px; null hides. */
  show(id, place) {
    this.id = id;
    clearTimeout(this.timer);
    if (id === null) {
      this.node.hidden = true;
      return;
    }
    this.place = place;
    this.timer = setTimeout(() => this.fill(id), WAIT_MS);
  }

  async fill(id) {
    try {
      const [cutout, url] = await Promise.all([this.api.cutout(id), this.api.thumbnail(id)]);
      if (this.id !== id) return;
      this.picture.hidden = !url;
      if (url) this.picture.src = url;
      this.text.replaceChildren(
        el("div", { class: "ex-mono", text: id }),
        el("div", { class: "ex-cut", text: cutout.image, title: cutout.image }),
        el("div", { text: positionText(cutout) }),
        el("div", { class: "ex-strong", text: cutout.labels.slice(0, LABELS).join(", ") }),
      );
    } catch (error) {
      if (this.id !== id || error.name === "AbortError") return;
      this.picture.hidden = true;
      this.text.replaceChildren(el("div", { text: error.message }));
    }
    this.node.hidden = false;
    const [px, py] = this.place;
    const { clientWidth: width, clientHeight: height } = this.root;
    const { offsetWidth, offsetHeight } = this.node;
    const left = px + AWAY_PX + offsetWidth > width ? px - AWAY_PX - offsetWidth : px + AWAY_PX;
    this.node.style.left = `${Math.max(4, left)}px`;
    this.node.style.top = `${Math.max(4, Math.min(height - offsetHeight - 4, py + AWAY_PX))}px`;
  }
}
