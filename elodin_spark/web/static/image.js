/** The source image with the windows of the query and its neighbors; a click asks again from the nearest window. */

import { choice, counted, el, fillChoice } from "./dom.js";

const PREVIEW_PX = 1200;
const QUERY = "#e8413c";
const NEIGHBOR = "#ffd23f";

export class ImageView {
  /** @param {{pixel, error}} calls - `pixel(image_id, x, y)`. */
  constructor(root, api, calls) {
    Object.assign(this, { root, api, calls });
    this.images = choice("Image", [], "", (id) => this.open(id));
    this.images.classList.add("ex-grow");
    this.note = el("div", { class: "ex-note" });
    this.canvas = el("canvas", {
      class: "ex-image",
      tabindex: "0",
      role: "application",
      "aria-label": "Source image with the windows of the query and its neighbors. Arrow keys move the cross, Enter asks from the window under it.",
      on: {
        click: (event) => this.click(event),
        keydown: (event) => this.key(event),
        focus: () => this.draw(),
        blur: () => this.draw(),
      },
    });
    this.holder = el("div", { class: "ex-image-holder" }, this.canvas);
    root.append(el("div", { class: "ex-row" }, this.images), this.holder, this.note);
    this.cross = [0.5, 0.5];
    this.resizer = new ResizeObserver(() => this.draw());
    this.resizer.observe(this.holder);
  }

  show(answer) {
    this.answer = answer;
    this.picture = null;
    const windows = answer ? [...answer.query.cutouts.slice(0, 1), ...answer.neighbors] : [];
    const counts = new Map();
    for (const { image_id: id, image } of windows) counts.set(id, { image, count: (counts.get(id)?.count || 0) + 1 });
    fillChoice(this.images, [...counts].map(([id, { image, count }]) => [id, `${image}  (${count})`]), "");
    this.images.disabled = !counts.size;
    this.note.textContent = windows.length ? "" : "Ask with a cutout to see it in its image.";
    if (windows.length) this.wanted = windows[0].image_id;
    this.canvas.hidden = !windows.length;
    if (this.visible && windows.length) this.open(this.wanted);
  }

  /** The tab is shown, or not. */
  setVisible(visible) {
    this.visible = visible;
    if (visible && this.answer && !this.picture && this.wanted) this.open(this.wanted);
    else this.draw();
  }

  async open(id) {
    this.wanted = id;
    this.images.value = id;
    try {
      const [info, url] = await Promise.all([this.api.image(id), this.api.picture(`/api/images/${id}/preview.jpg?size=${PREVIEW_PX}`, "image")]);
      const picture = new Image();
      picture.src = url;
      await picture.decode();
      if (this.wanted !== id) return;
      this.info = info;
      this.picture = picture;
      const scale = info.pixel_scale ? `, ${info.pixel_scale.toPrecision(3)}″/px` : "";
      const bands = info.bands?.length ? `, ${[].concat(info.bands).join(" ")}` : "";
      this.note.textContent = `${info.width} × ${info.height} px${scale}${bands}, ${counted(info.n_cutouts, "cutout")}. Click asks from the nearest window.`;
      this.draw();
    } catch (error) {
      if (error.name !== "AbortError") this.calls.error(error);
    }
  }

  draw() {
    const { picture, info, canvas } = this;
    if (!picture || !this.visible) return;
    const width = this.holder.clientWidth;
    const height = Math.max(80, this.holder.clientHeight);
    if (!width) return;
    const ratio = Math.min(2, globalThis.devicePixelRatio || 1);
    this.scale = Math.min(width / info.width, height / info.height);
    const [w, h] = [info.width * this.scale, info.height * this.scale];
    canvas.width = Math.round(w * ratio);
    canvas.height = Math.round(h * ratio);
    canvas.style.width = `${w}px`;
    canvas.style.height = `${h}px`;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.drawImage(picture, 0, 0, w, h);
    const here = this.wanted;
    for (const each of [...this.answer.neighbors].reverse()) if (each.image_id === here) this.frame(context, each, NEIGHBOR, String(each.rank));
    const [query] = this.answer.query.cutouts;
    if (query?.image_id === here) this.frame(context, query, QUERY, "");
    if (document.activeElement === canvas || canvas.matches(":focus")) {
      const [x, y] = [this.cross[0] * w, this.cross[1] * h];
      context.strokeStyle = "#fff";
      context.lineWidth = 1.5;
      context.strokeRect(x - 5, y - 5, 10, 10);
    }
  }

  frame(context, { x0, y0, x1, y1 }, color, text) {
    const s = this.scale;
    const top = this.info.upwards ? this.info.height - y1 : y0;
    const box = [x0 * s, top * s, (x1 - x0) * s, (y1 - y0) * s];
    context.lineWidth = 4;
    context.strokeStyle = "rgba(0,0,0,0.65)";
    context.strokeRect(...box);
    context.lineWidth = 2;
    context.strokeStyle = color;
    context.strokeRect(...box);
    if (!text) return;
    context.font = "600 12px system-ui, sans-serif";
    context.fillStyle = color;
    const wide = context.measureText(text).width + 6;
    context.fillRect(box[0], box[1], wide, 16);
    context.fillStyle = "#000";
    context.fillText(text, box[0] + 3, box[1] + 12);
  }

  click(event) {
    if (!this.picture) return;
    const box = this.canvas.getBoundingClientRect();
    this.ask((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  }

  ask(u, v) {
    this.cross = [u, v];
    const { width, height, upwards } = this.info;
    const x = Math.min(width - 1, Math.floor(u * width));
    const y = Math.min(height - 1, Math.floor(v * height));
    this.calls.pixel(this.wanted, x, upwards ? height - 1 - y : y);
  }

  key(event) {
    const steps = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
    const step = steps[event.key];
    if (step) {
      this.cross = this.cross.map((each, i) => Math.min(1, Math.max(0, each + 0.03 * step[i])));
      this.draw();
    } else if (event.key === "Enter" && this.picture) this.ask(...this.cross);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  close() {
    this.resizer.disconnect();
  }
}
