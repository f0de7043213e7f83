/** The sky: all cutouts on a Mollweide plot, and a tangent plane around the query; both drawn here. */

import { viridis } from "./color.js";
import { el } from "./dom.js";

const RADIANS = Math.PI / 180;
const NEAR_PX = 12;
const NEAREST_IN_VIEW = 200;
const WIDEST_DEG = 40;

/** Mollweide's x (-2 to 2) and y (-1 to 1) of RA and Dec, deg; RA grows to the left and is 0 in the middle. */
export function mollweide(ra, dec) {
  const aim = Math.PI * Math.sin(dec * RADIANS);
  let theta = dec * RADIANS;
  if (Math.abs(dec) < 89.99)
    for (let i = 0; i < 8; i++) theta -= (2 * theta + Math.sin(2 * theta) - aim) / (2 + 2 * Math.cos(2 * theta));
  const turn = ((((ra + 180) % 360) + 360) % 360) - 180;
  return [(-turn / 90) * Math.cos(theta), Math.sin(theta)];
}

/** RA and Dec, deg, of a place of the Mollweide plot, or null outside. */
export function fromMollweide(x, y) {
  if (Math.abs(y) > 1) return null;
  const theta = Math.asin(y);
  const turn = (-90 * x) / Math.cos(theta);
  if (Math.abs(turn) > 180) return null;
  const dec = Math.asin((2 * theta + Math.sin(2 * theta)) / Math.PI) / RADIANS;
  return { ra: (turn + 360) % 360, dec };
}

/** Offsets east and north on the tangent plane, deg, and the cosine of the distance. */
export function tangent(ra, dec, center) {
  const [a, d, d0] = [(ra - center.ra) * RADIANS, dec * RADIANS, center.dec * RADIANS];
  const cosine = Math.sin(d0) * Math.sin(d) + Math.cos(d0) * Math.cos(d) * Math.cos(a);
  const x = (Math.cos(d) * Math.sin(a)) / cosine;
  const y = (Math.cos(d0) * Math.sin(d) - Math.sin(d0) * Math.cos(d) * Math.cos(a)) / cosine;
  return [x / RADIANS, y / RADIANS, cosine];
}

/** RA and Dec, deg, of offsets on the tangent plane. */
export function fromTangent(x, y, center) {
  const [u, v, d0] = [x * RADIANS, y * RADIANS, center.dec * RADIANS];
  const below = Math.cos(d0) - v * Math.sin(d0);
  const ra = center.ra + Math.atan2(u, below) / RADIANS;
  const dec = Math.atan2((Math.sin(d0) + v * Math.cos(d0)) * Math.cos(Math.atan2(u, below)), below) / RADIANS;
  return { ra: ((ra % 360) + 360) % 360, dec };
}

/** A length that is 1, 2 or 5 times a power of ten, no longer than `most` deg, and its name. */
export function scaleBar(most) {
  for (const [unit, name] of [[1, "°"], [1 / 60, "′"], [1 / 3600, "″"]]) {
    const most1 = most / unit;
    if (most1 < 1 && unit > 1 / 3600) continue;
    const ten = 10 ** Math.floor(Math.log10(most1));
    const length = [5, 2, 1].find((each) => each * ten <= most1 * (1 + 1e-12)) * ten;
    return [length * unit, `${+length.toPrecision(1)}${name}`];
  }
  return [most, ""];
}

export class SkyView {
  /** @param {{position, id, error, columns, dark}} calls - `columns()` gives `{ra, dec}` in the order of the points. */
  constructor(root, hasSky, calls) {
    Object.assign(this, { root, calls, hasSky });
    this.links = el("div", { class: "ex-links" });
    this.note = el("div", { class: "ex-note" });
    this.whole = el("canvas", { class: "ex-mollweide", role: "img", "aria-label": "All cutouts on the sky, Mollweide projection, RA 0 in the middle, east to the left", title: "All cutouts; a click asks at that position", on: { click: (event) => this.clickWhole(event) } });
    this.local = el("canvas", {
      class: "ex-local", tabindex: "0", role: "application", "aria-label": "The sky around the query, tangent plane, north up, east left. Plus and minus zoom.",
      on: {
        click: (event) => this.clickLocal(event),
        wheel: (event) => (event.preventDefault(), this.zoom(Math.exp(0.0016 * event.deltaY))),
        keydown: (event) => this.key(event),
      },
    });
    this.holder = el("div", { class: "ex-local-holder" }, this.local);
    root.append(this.whole, this.holder, this.note, this.links);
    if (!hasSky) this.note.textContent = "The images of this catalog have no positions.";
    this.resizer = new ResizeObserver(() => this.draw());
    this.resizer.observe(this.holder);
  }

  /** After the points changed: positions are asked for again. */
  reset(points) {
    this.points = points;
    this.ra = null;
    if (this.visible) this.load();
  }

  setVisible(visible) {
    this.visible = visible;
    if (visible) this.load();
  }

  async load() {
    if (!this.hasSky || !this.points) return;
    const { points } = this;
    if (!this.ra) {
      try {
        const { ra, dec } = await this.calls.columns();
        if (points !== this.points) return;
        this.ra = ra;
        this.dec = dec;
      } catch (error) {
        this.calls.error(error);
        return;
      }
    }
    this.aim();
    this.draw();
  }

  show(answer) {
    this.answer = answer;
    const query = answer?.query.cutouts[0];
    this.links.replaceChildren(...(query?.links || []).map(({ title, url }) => el("a", { href: url, target: "_blank", rel: "noopener noreferrer", text: title })));
    this.aim();
    this.draw();
  }

  /** Center and radius of the local view: the query, and as far as its next cutouts. */
  aim() {
    if (!this.ra) return;
    const query = this.answer?.query.cutouts[0];
    let center = query && query.ra !== null ? { ra: query.ra, dec: query.dec } : null;
    if (!center) {
      const i = this.ra.findIndex((each) => !Number.isNaN(each));
      if (i < 0) return;
      center = { ra: this.ra[i], dec: this.dec[i] };
    }
    this.center = center;
    const away = new Float32Array(this.ra.length).fill(Infinity);
    for (let i = 0; i < away.length; i++) {
      const [x, y, cosine] = tangent(this.ra[i], this.dec[i], center);
      if (cosine > 0) away[i] = Math.hypot(x, y);
    }
    away.sort();
    const last = away[Math.min(away.length - 1, NEAREST_IN_VIEW)];
    this.radius = Math.min(WIDEST_DEG, Math.max(5 / 3600, Number.isFinite(last) ? 1.15 * last : 1));
  }

  zoom(factor) {
    this.radius = Math.min(WIDEST_DEG, Math.max(1 / 3600, this.radius * factor));
    this.draw();
  }

  draw() {
    if (!this.visible || !this.ra || !this.holder.clientWidth) return;
    this.drawWhole();
    this.drawLocal();
  }

  size(canvas, width, height) {
    const ratio = Math.min(2, globalThis.devicePixelRatio || 1);
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    return ratio;
  }

  drawWhole() {
    const width = this.holder.clientWidth;
    const half = width / 2;
    const ratio = this.size(this.whole, width, half);
    const context = this.whole.getContext("2d");
    const [w, h] = [this.whole.width, this.whole.height];
    const ink = this.calls.dark() ? "255,255,255" : "0,0,0";
    const counts = new Uint32Array(w * h);
    let most = 0;
    const grow = this.ra.length < 20000 ? 1 : 0;
    for (let i = 0; i < this.ra.length; i++) {
      if (Number.isNaN(this.ra[i])) continue;
      const [x, y] = mollweide(this.ra[i], this.dec[i]);
      const [px, py] = [Math.round((0.5 + (0.49 * x) / 2) * w), Math.round((0.5 - 0.49 * y) * h)];
      for (let dx = -grow; dx <= grow; dx++)
        for (let dy = -grow; dy <= grow; dy++) {
          const at = Math.min(h - 1, Math.max(0, py + dy)) * w + Math.min(w - 1, Math.max(0, px + dx));
          most = Math.max(most, ++counts[at]);
        }
    }
    const pixels = context.createImageData(w, h);
    for (let at = 0; at < counts.length; at++) {
      if (!counts[at]) continue;
      const color = viridis(0.35 + (0.65 * Math.log1p(counts[at])) / Math.log1p(most));
      pixels.data.set([...color, 255], 4 * at);
    }
    context.putImageData(pixels, 0, 0);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const place = (ra, dec) => {
      const [x, y] = mollweide(ra, dec);
      return [(0.5 + (0.49 * x) / 2) * width, (0.5 - 0.49 * y) * half];
    };
    context.lineWidth = 1;
    const line = (points, strength) => {
      context.strokeStyle = `rgba(${ink},${strength})`;
      context.beginPath();
      for (const [ra, dec] of points) context.lineTo(...place(ra, dec));
      context.stroke();
    };
    const steps = Array.from({ length: 91 }, (_, i) => i / 90);
    for (let ra = -120; ra <= 120; ra += 60) line(steps.map((s) => [ra, 180 * s - 90]), 0.14);
    for (let dec = -60; dec <= 60; dec += 30) line(steps.map((s) => [359.98 * s - 179.99, dec]), 0.14);
    for (const edge of [-179.999, 179.999]) line(steps.map((s) => [edge, 180 * s - 90]), 0.5);
    context.font = "10px system-ui, sans-serif";
    context.fillStyle = `rgba(${ink},0.6)`;
    context.textAlign = "center";
    for (const ra of [120, 60, 0, 300, 240]) context.fillText(`${ra}°`, place(ra, 0)[0], place(ra, 0)[1] + 11);
    if (this.center) {
      const [px, py] = place(this.center.ra, this.center.dec);
      circle(context, px, py, 7, "#d62f2f", 2);
    }
  }

  drawLocal() {
    const width = this.holder.clientWidth;
    const height = Math.max(140, this.holder.clientHeight);
    const ratio = this.size(this.local, width, height);
    const context = this.local.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const ink = this.calls.dark() ? "#fff" : "#000";
    const scale = Math.min(width, height) / 2 / this.radius;
    this.localScale = scale;
    const place = (ra, dec) => {
      const [x, y, cosine] = tangent(ra, dec, this.center);
      return cosine > 0 ? [width / 2 - x * scale, height / 2 - y * scale] : [-99, -99];
    };
    context.fillStyle = this.calls.dark() ? "#7fb0dc" : "#3d6a94";
    context.globalAlpha = 0.75;
    const cosineOfCorner = Math.cos(Math.min(1.5, 2 * this.radius * RADIANS * Math.max(1, width / height)));
    for (let i = 0; i < this.ra.length; i++) {
      const [x, y, cosine] = tangent(this.ra[i], this.dec[i], this.center);
      if (!(cosine > Math.max(1e-3, cosineOfCorner))) continue;
      context.fillRect(width / 2 - x * scale - 1.5, height / 2 - y * scale - 1.5, 3, 3);
    }
    context.globalAlpha = 1;
    context.font = "600 11px system-ui, sans-serif";
    for (const { ra, dec, rank } of this.answer?.neighbors || []) {
      if (ra === null) continue;
      const [px, py] = place(ra, dec);
      circle(context, px, py, 6, ink, 1.5);
      context.fillStyle = ink;
      context.fillText(String(rank), px + 8, py - 4);
    }
    const query = this.answer?.query.cutouts[0];
    if (query && query.ra !== null) circle(context, ...place(query.ra, query.dec), 8, "#d62f2f", 3);
    const [length, name] = scaleBar((0.3 * width) / scale);
    context.strokeStyle = context.fillStyle = ink;
    context.lineWidth = 2;
    context.beginPath();
    context.moveTo(10, height - 12);
    context.lineTo(10 + length * scale, height - 12);
    context.stroke();
    context.fillText(name, 10, height - 18);
    context.beginPath();
    context.lineWidth = 1.25;
    context.moveTo(width - 40, height - 14);
    context.lineTo(width - 16, height - 14);
    context.lineTo(width - 16, height - 38);
    context.stroke();
    context.fillText("N", width - 20, height - 42);
    context.fillText("E", width - 50, height - 10);
    const { ra, dec } = this.center;
    this.note.textContent = `Around ${ra.toFixed(4)} ${dec >= 0 ? "+" : "−"}${Math.abs(dec).toFixed(4)}. Wheel zooms; a click asks from the nearest cutout.`;
  }

  clickWhole(event) {
    const box = this.whole.getBoundingClientRect();
    const x = (((event.clientX - box.left) / box.width - 0.5) * 2) / 0.49;
    const y = (0.5 - (event.clientY - box.top) / box.height) / 0.49;
    const position = fromMollweide(x, y);
    if (position) this.calls.position(position.ra, position.dec);
  }

  clickLocal(event) {
    if (!this.ra) return;
    const box = this.local.getBoundingClientRect();
    const [east, north] = [-(event.clientX - box.left - box.width / 2) / this.localScale, -(event.clientY - box.top - box.height / 2) / this.localScale];
    let best = (NEAR_PX / this.localScale) ** 2;
    let found = -1;
    for (let i = 0; i < this.ra.length; i++) {
      const [x, y, cosine] = tangent(this.ra[i], this.dec[i], this.center);
      const away = (x - east) ** 2 + (y - north) ** 2;
      if (cosine > 0 && away < best) {
        best = away;
        found = i;
      }
    }
    if (found >= 0) this.calls.id(String(this.points.id[found]));
  }

  key(event) {
    if (event.key === "+" || event.key === "=") this.zoom(0.7);
    else if (event.key === "-") this.zoom(1 / 0.7);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  close() {
    this.resizer.disconnect();
  }
}

function circle(context, x, y, radius, color, width) {
  context.lineWidth = width;
  context.strokeStyle = color;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.stroke();
}
