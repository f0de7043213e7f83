/** The map: points to pan, zoom, point at and enclose, with pictures at the points when there is room. */

import { el } from "./dom.js";
import { PointLayer } from "./layer.js";

const NEAR_PX = 14;
const PICTURE_PX = 46;
const MOST_PICTURES = 150;
/** In view, at most, for pictures to be drawn. */
const MOST_CANDIDATES = 1500;
/** Drawn while moving; the rest follows when the map stands still. */
const MOVING_POINTS = 200000;
const STILL_MS = 160;
const MARGIN = 0.9;
const MOST_CORNERS = 120;

export class ScatterMap {
  /**
   * @param {HTMLElement} root - Filled with the canvases.
   * @param {Api} api
   * @param {{hover, click, lasso, camera, error}} calls - `hover(index, place)`, `click(index, add)`,
   *   `lasso(polygon, mode)` with mode "new", "add" or "remove", `camera(text)`.
   */
  constructor(root, api, calls) {
    this.root = root;
    this.api = api;
    this.calls = calls;
    this.points = null;
    this.camera = { x: 0, y: 0, zoom: 1 };
    this.look = { markDoubtful: false, pictures: true, someSelected: false, dark: false };
    this.rings = [];
    this.hovered = -1;
    this.lassoing = false;
    this.outline = null;
    this.images = new Map();
    this.canvas = el("canvas", { class: "ex-points" });
    this.over = el("canvas", {
      class: "ex-over",
      tabindex: "0",
      role: "application",
      "aria-label": "Map of cutouts. Arrow keys move it, plus and minus zoom, Enter asks for the neighbors of the point under the cross.",
    });
    root.append(this.canvas, this.over);
    this.layer = new PointLayer(this.canvas);
    this.layer.onrestored = () => this.redraw();
    this.watchPointer();
    this.resizer = new ResizeObserver(() => this.resize());
    this.resizer.observe(root);
    this.resize();
  }

  /** @param {PointSet} points */
  setPoints(points) {
    this.points = points;
    this.layer.setPoints(points);
    this.hovered = -1;
    this.redraw();
  }

  setColors({ codes, palette }) {
    this.codes = codes;
    this.palette = palette;
    this.layer.setCodes(codes);
    this.layer.setPalette(palette);
    this.redraw();
  }

  /** After a change of the flags of the points. */
  flagsChanged(someSelected) {
    this.look.someSelected = someSelected;
    this.layer.setFlags(this.points.flags);
    this.redraw();
  }

  setLook(look) {
    Object.assign(this.look, look);
    this.redraw();
  }

  /** Rings with numbers: `[{index, text, kind}]`, kind "query" or "neighbor". */
  setRings(rings) {
    this.rings = rings;
    this.redrawMarks();
  }

  setLasso(on) {
    this.lassoing = on;
    this.outline = null;
    this.root.classList.toggle("ex-lassoing", on);
    this.redrawMarks();
  }

  get scale() {
    return (Math.min(this.width, this.height) / 2) * MARGIN * this.camera.zoom;
  }

  /** Camera as text, in as many digits as a pixel needs. */
  cameraText() {
    const { x, y, zoom } = this.camera;
    if (zoom === 1 && x === 0 && y === 0) return "";
    const digits = 3 + Math.max(0, Math.ceil(Math.log10(zoom)));
    return [x.toFixed(digits), y.toFixed(digits), zoom.toPrecision(4)].map(Number).join(",");
  }

  setCameraText(text) {
    const [x, y, zoom] = text.split(",").map(Number);
    this.camera = [x, y, zoom].every(Number.isFinite) && zoom > 0 ? { x, y, zoom } : { x: 0, y: 0, zoom: 1 };
    this.redraw();
  }

  move(dx, dy) {
    this.camera.x += dx / this.scale;
    this.camera.y += dy / this.scale;
    this.moved();
  }

  /** Zoom by a factor; the place at (px, py) stays. */
  zoomBy(factor, px = this.width / 2, py = this.height / 2) {
    const [x, y] = this.toData(px, py);
    this.camera.zoom = Math.min(1e5, Math.max(0.3, this.camera.zoom * factor));
    const [x2, y2] = this.toData(px, py);
    this.camera.x += x - x2;
    this.camera.y += y - y2;
    this.moved();
  }

  fit() {
    this.camera = { x: 0, y: 0, zoom: 1 };
    this.moved();
  }

  /** Bring a point into view. */
  show(index) {
    if (index < 0) return;
    const [px, py] = this.toPixel(this.points.x[index], this.points.y[index]);
    if (px > 20 && py > 20 && px < this.width - 20 && py < this.height - 20) return;
    this.camera.x = this.points.x[index];
    this.camera.y = this.points.y[index];
    this.moved();
  }

  moved() {
    this.moving = true;
    clearTimeout(this.stillTimer);
    this.stillTimer = setTimeout(() => {
      this.moving = false;
      this.redraw();
      this.calls.camera(this.cameraText());
    }, STILL_MS);
    this.redraw();
  }

  toData(px, py) {
    return [this.camera.x + (px - this.width / 2) / this.scale, this.camera.y - (py - this.height / 2) / this.scale];
  }

  toPixel(x, y) {
    return [this.width / 2 + (x - this.camera.x) * this.scale, this.height / 2 - (y - this.camera.y) * this.scale];
  }

  /** The polygon that is in view. */
  viewPolygon() {
    const corners = [[0, 0], [this.width, 0], [this.width, this.height], [0, this.height]];
    return roundPolygon(Float64Array.from(corners.flatMap(([px, py]) => this.toData(px, py))), this.camera.zoom);
  }

  resize() {
    this.width = Math.max(50, this.root.clientWidth);
    this.height = Math.max(50, this.root.clientHeight);
    this.ratio = Math.min(2, globalThis.devicePixelRatio || 1);
    for (const canvas of [this.canvas, this.over]) {
      canvas.width = Math.round(this.width * this.ratio);
      canvas.height = Math.round(this.height * this.ratio);
    }
    this.draw();
  }

  /** Draw points and marks at the next frame. */
  redraw() {
    this.stale = true;
    this.redrawMarks();
  }

  /** Draw pictures, rings and the lasso at the next frame; a million points take a while, and stay. */
  redrawMarks() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      if (this.stale) this.draw();
      else if (this.points && !this.closed) this.drawOver();
    });
  }

  pointSize() {
    const n = Math.max(1, this.points?.n || 1);
    const base = n > 1e6 ? 1.3 : n > 1e5 ? 2 : n > 1e4 ? 3 : 6;
    return Math.min(12, base * Math.max(1, this.camera.zoom) ** 0.3);
  }

  draw() {
    if (!this.points || this.closed) return;
    this.stale = false;
    const { markDoubtful, someSelected } = this.look;
    const n = this.points.n;
    this.layer.draw(
      { x: this.camera.x, y: this.camera.y, scale: this.scale },
      {
        width: this.width,
        height: this.height,
        ratio: this.ratio,
        size: this.pointSize(),
        alpha: n > 3e5 ? 0.45 : n > 3e4 ? 0.7 : 0.9,
        faint: n > 3e5 ? 0.02 : 0.08,
        someSelected,
        markDoubtful,
        count: this.moving ? Math.min(n, MOVING_POINTS) : n,
      },
    );
    this.drawOver();
  }

  drawOver() {
    const context = this.over.getContext("2d");
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    if (this.look.pictures) this.drawPictures(context);
    this.written = [];
    for (const ring of this.rings) this.drawRing(context, ring);
    // The nearest are written first, where numbers would lie on each other.
    for (const ring of [...this.rings].reverse()) if (ring.text) this.writeNumber(context, ring);
    if (this.hovered >= 0) this.drawRing(context, { index: this.hovered, kind: "hover" });
    if (this.cross) {
      const [px, py] = [this.width / 2, this.height / 2];
      context.strokeStyle = this.look.dark ? "#fff" : "#000";
      context.lineWidth = 1;
      context.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(px + 4 * dx, py + 4 * dy);
        context.lineTo(px + 12 * dx, py + 12 * dy);
      }
      context.stroke();
    }
    if (this.outline && this.outline.length > 2) {
      context.beginPath();
      for (let i = 0; i < this.outline.length; i += 2) context.lineTo(this.outline[i], this.outline[i + 1]);
      context.closePath();
      context.fillStyle = this.look.dark ? "rgba(255,255,255,0.10)" : "rgba(0,0,0,0.07)";
      context.fill();
      context.strokeStyle = this.look.dark ? "#fff" : "#222";
      context.lineWidth = 1.25;
      context.stroke();
    }
  }

  drawRing(context, { index, kind, focused }) {
    const [px, py] = this.toPixel(this.points.x[index], this.points.y[index]);
    if (px < -20 || py < -20 || px > this.width + 20 || py > this.height + 20) return;
    const ink = this.look.dark ? "#fff" : "#000";
    const paper = this.look.dark ? "#000" : "#fff";
    const radius = kind === "query" ? 9 : 7;
    const color = kind === "query" ? "#d62f2f" : ink;
    for (const [width, style] of [[kind === "hover" ? 4 : 5, paper], [kind === "query" ? 3 : focused ? 3 : 1.75, color]]) {
      context.lineWidth = width;
      context.strokeStyle = style;
      context.beginPath();
      context.arc(px, py, radius, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  writeNumber(context, { index, text }) {
    const [px, py] = this.toPixel(this.points.x[index], this.points.y[index]);
    if (this.written.some(([x, y]) => Math.abs(x - px) < 13 && Math.abs(y - py) < 11)) return;
    this.written.push([px, py]);
    const [paper, color] = this.look.dark ? ["#000", "#fff"] : ["#fff", "#000"];
    const radius = 7;
    context.font = "600 11px system-ui, sans-serif";
    context.lineWidth = 3.5;
    context.strokeStyle = paper;
    context.strokeText(text, px + radius + 2, py - radius + 3);
    context.fillStyle = color;
    context.fillText(text, px + radius + 2, py - radius + 3);
  }

  /** Pictures at as many of the points in view as have room. */
  drawPictures(context) {
    if (this.moving) {
      for (const index of this.pictured || []) this.drawPicture(context, index);
      return;
    }
    const [left, top] = this.toData(0, 0);
    const [right, bottom] = this.toData(this.width, this.height);
    const visible = this.points.inBox(left, bottom, right, top, MOST_CANDIDATES);
    this.pictured = [];
    if (!visible) return;
    const room = new Map();
    const step = PICTURE_PX + 6;
    for (const index of [...this.rings.map((ring) => ring.index).reverse(), ...visible]) {
      if (this.pictured.length >= MOST_PICTURES) break;
      const [px, py] = this.toPixel(this.points.x[index], this.points.y[index]);
      if (px < 0 || py < 0 || px > this.width || py > this.height) continue;
      const [column, row] = [Math.floor(px / step), Math.floor(py / step)];
      // A cell is as large as a picture, so it holds one, and only those beside it can be in the way.
      let free = true;
      for (let cell = 0; cell < 9 && free; cell++) {
        const other = room.get(`${column + (cell % 3) - 1},${row + Math.floor(cell / 3) - 1}`);
        free = !other || Math.max(Math.abs(other[0] - px), Math.abs(other[1] - py)) >= step;
      }
      if (!free) continue;
      room.set(`${column},${row}`, [px, py]);
      this.pictured.push(index);
    }
    for (const index of this.pictured) this.drawPicture(context, index);
    for (const index of this.pictured) this.wantImage(index);
  }

  drawPicture(context, index) {
    const image = this.images.get(String(this.points.id[index]));
    if (!image?.complete || !image.naturalWidth) return;
    const [px, py] = this.toPixel(this.points.x[index], this.points.y[index]);
    const half = PICTURE_PX / 2;
    const code = 4 * (this.codes?.[index] || 0);
    context.fillStyle = this.palette ? `rgb(${this.palette[code]},${this.palette[code + 1]},${this.palette[code + 2]})` : "#888";
    context.fillRect(px - half - 2, py - half - 2, PICTURE_PX + 4, PICTURE_PX + 4);
    context.drawImage(image, px - half, py - half, PICTURE_PX, PICTURE_PX);
  }

  async wantImage(index) {
    const id = String(this.points.id[index]);
    if (this.images.has(id)) return;
    if (this.images.size > 3000) this.images.clear();
    const image = new Image();
    this.images.set(id, image);
    try {
      const url = await this.api.thumbnail(id);
      if (!url) return;
      image.onload = () => this.redrawMarks();
      image.src = url;
    } catch {
      this.images.delete(id);
    }
  }

  setHovered(index, place) {
    if (index === this.hovered) return;
    this.hovered = index;
    this.calls.hover(index, place);
    this.redrawMarks();
  }

  /** What keys ask: the point under the cross in the middle. */
  hoverCenter() {
    if (!this.points) return;
    this.cross = true;
    const index = this.points.nearest(this.camera.x, this.camera.y, 60 / this.scale);
    this.setHovered(index, this.placeOf(index));
  }

  placeOf(index) {
    return index < 0 ? null : this.toPixel(this.points.x[index], this.points.y[index]);
  }

  at(px, py) {
    if (!this.points) return -1;
    if (this.look.pictures && this.pictured)
      for (let i = this.pictured.length - 1; i >= 0; i--) {
        const index = this.pictured[i];
        const [x, y] = this.toPixel(this.points.x[index], this.points.y[index]);
        if (this.images.get(String(this.points.id[index]))?.naturalWidth && Math.max(Math.abs(x - px), Math.abs(y - py)) <= PICTURE_PX / 2)
          return index;
      }
    return this.points.nearest(...this.toData(px, py), NEAR_PX / this.scale);
  }

  watchPointer() {
    const { over } = this;
    const place = (event) => {
      const box = over.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    let last = null;
    let far = 0;
    over.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 && event.button !== 1) return;
      over.setPointerCapture(event.pointerId);
      over.focus({ preventScroll: true });
      last = place(event);
      far = 0;
      this.cross = false;
      if (event.button === 0 && (this.lassoing || event.shiftKey)) {
        this.outline = [...last];
        this.mode = event.altKey ? "remove" : event.shiftKey && this.lassoing ? "add" : "new";
      }
    });
    over.addEventListener("pointermove", (event) => {
      const [px, py] = place(event);
      if (!last) {
        this.cross = false;
        const index = this.at(px, py);
        this.setHovered(index, [px, py]);
        over.classList.toggle("ex-pointing", index >= 0);
        return;
      }
      const [dx, dy] = [px - last[0], py - last[1]];
      far += Math.hypot(dx, dy);
      if (this.outline) {
        if (Math.hypot(px - this.outline.at(-2), py - this.outline.at(-1)) > 3) {
          this.outline.push(px, py);
          this.redrawMarks();
        }
      } else {
        if (far > 3) this.setHovered(-1, null);
        this.move(-dx, dy);
      }
      last = [px, py];
    });
    const end = (event) => {
      if (!last) return;
      const [px, py] = place(event);
      last = null;
      if (this.outline) {
        const outline = this.outline;
        this.outline = null;
        this.redrawMarks();
        if (outline.length >= 6 && event.type === "pointerup") this.calls.lasso(this.polygonOf(outline), this.mode);
      } else if (far <= 3 && event.type === "pointerup" && event.button === 0) {
        const index = this.at(px, py);
        if (index >= 0) this.calls.click(index, event.ctrlKey || event.metaKey);
      }
    };
    over.addEventListener("pointerup", end);
    over.addEventListener("pointercancel", end);
    over.addEventListener("pointerleave", () => {
      if (!last) this.setHovered(-1, null);
    });
    over.addEventListener("blur", () => {
      this.cross = false;
      this.redrawMarks();
    });
    over.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        const step = event.deltaMode === 1 ? 20 * event.deltaY : event.deltaY;
        this.zoomBy(Math.exp(-0.0016 * step), ...place(event));
      },
      { passive: false },
    );
  }

  /** An outline in pixels as a polygon on the map, of few enough corners for an address. */
  polygonOf(outline) {
    const corners = outline.length / 2;
    const step = Math.max(1, corners / MOST_CORNERS);
    const polygon = [];
    for (let i = 0; i < corners; i += step) {
      const at = 2 * Math.floor(i);
      polygon.push(...this.toData(outline[at], outline[at + 1]));
    }
    return roundPolygon(Float64Array.from(polygon), this.camera.zoom);
  }

  close() {
    this.closed = true;
    this.resizer.disconnect();
    clearTimeout(this.stillTimer);
    this.layer.close();
  }
}

/** Rounded below a pixel, so that what the address says is what was taken. */
export function roundPolygon(polygon, zoom) {
  const tens = 10 ** (3 + Math.max(0, Math.ceil(Math.log10(zoom))));
  return polygon.map((each) => Math.round(each * tens) / tens);
}
