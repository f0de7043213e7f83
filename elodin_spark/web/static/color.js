/** From a column to a color for each point: palettes, scales, and the legend that says which is which. */

import { el } from "./dom.js";

/** Okabe and Ito's colors, told apart with any color vision; yellow is darker, to show on light ground. */
const CATEGORIES = ["0072b2", "e69f00", "009e73", "cc79a7", "56b4e9", "d55e00", "c9b400"];
const OTHER = "9a9a98";
const MISSING = 255;
const LAST_LEVEL = 254;
/** Viridis at 17 even steps. */
const VIRIDIS = "44015448186a472d7b4240863b528b33638d2c728e26828e21918c1fa08828ae803fbc735ec96284d44baddc30d8e219fde725";

const rgb = (text, at = 0) => [0, 2, 4].map((i) => parseInt(text.slice(at + i, at + i + 2), 16));

export const plain = { light: "3d6a94", dark: "7fb0dc" };

/** Red, green and blue of a share (0 to 1) of viridis. */
export function viridis(share) {
  const at = Math.min(15.999, Math.max(0, share * 16));
  const [a, b] = [rgb(VIRIDIS, 6 * Math.floor(at)), rgb(VIRIDIS, 6 * Math.floor(at) + 6)];
  return a.map((each, i) => Math.round(each + (b[i] - each) * (at % 1)));
}

/** Where values lie between 0 and 1 on a scale; `back` says which value lies at a share. */
export function scaleOf(scale, { min, max, percentiles }) {
  if (!percentiles.length) return { forth: () => 0, back: () => NaN };
  if (scale === "percentile")
    return {
      forth(value) {
        let [low, high] = [0, percentiles.length - 1];
        if (value <= percentiles[0]) return 0;
        if (value >= percentiles[high]) return 1;
        while (high - low > 1) {
          const middle = (low + high) >> 1;
          if (percentiles[middle] <= value) low = middle;
          else high = middle;
        }
        const step = percentiles[high] - percentiles[low];
        return (low + (step > 0 ? (value - percentiles[low]) / step : 0)) / (percentiles.length - 1);
      },
      back: (share) => percentiles[Math.round(share * (percentiles.length - 1))],
    };
  if (scale === "log") {
    const least = min > 0 ? min : percentiles.find((each) => each > 0) || Math.max(max, 1) * 1e-6;
    const [a, b] = [Math.log(least), Math.log(Math.max(max, least * (1 + 1e-9)))];
    return { forth: (value) => (value <= least ? 0 : (Math.log(value) - a) / (b - a)), back: (share) => Math.exp(a + share * (b - a)) };
  }
  // A few outliers would leave all others one color.
  const last = percentiles.length - 1;
  const [a, b] = [percentiles[Math.round(0.01 * last)], percentiles[Math.round(0.99 * last)]];
  const wide = b > a ? [a, b] : [min, max];
  const span = wide[1] - wide[0] || 1;
  return { forth: (value) => Math.min(1, Math.max(0, (value - wide[0]) / span)), back: (share) => wide[0] + share * span };
}

/** Codes (uint8) of a number column, and the palette they point into. */
export function colorNumbers(values, meta, scale) {
  const { forth } = scaleOf(scale, meta);
  const codes = new Uint8Array(values.length);
  for (let i = 0; i < values.length; i++) codes[i] = Number.isNaN(values[i]) ? MISSING : Math.round(LAST_LEVEL * forth(values[i]));
  const palette = new Uint8Array(1024).fill(255);
  for (let code = 0; code <= LAST_LEVEL; code++) palette.set(viridis(code / LAST_LEVEL), 4 * code);
  palette.set(rgb(OTHER), 4 * MISSING);
  return { codes, palette };
}

/** Likewise of a category column. With `alone`, one category has its color, all else is gray. */
export function colorCategories(values, meta, alone = null) {
  const codes = new Uint8Array(values.length);
  const own = CATEGORIES.length;
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    codes[i] = alone === null ? Math.min(value, own) : value === alone ? Math.min(value, own - 1) : own;
  }
  const palette = new Uint8Array(1024).fill(255);
  for (let code = 0; code < 256; code++) palette.set(rgb(CATEGORIES[code] || OTHER), 4 * code);
  return { codes, palette };
}

/** One color for all. */
export function colorAlike(n, theme) {
  const palette = new Uint8Array(1024).fill(255);
  for (let code = 0; code < 256; code++) palette.set(rgb(plain[theme]), 4 * code);
  return { codes: new Uint8Array(n), palette };
}

/** A number, short. */
export function short(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(1).replace("e+", "e");
  return String(+value.toPrecision(3));
}

const TICKS = 5;

/** A bar of the colors of numbers. */
export function numberLegend(meta, scale, some) {
  const canvas = el("canvas", { class: "ex-bar", width: 256, height: 1, "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  const row = context.createImageData(256, 1);
  for (let i = 0; i < 256; i++) row.data.set([...viridis(i / 255), 255], 4 * i);
  context.putImageData(row, 0, 0);
  const { back } = scaleOf(scale, meta);
  const ticks = Array.from({ length: TICKS }, (_, i) => short(back(i / (TICKS - 1))));
  const missing = some ? el("div", { class: "ex-legend-row" }, swatch(OTHER), el("span", { text: "no value" })) : null;
  return el(
    "div",
    { role: "img", "aria-label": `colors from ${ticks[0]} to ${ticks[TICKS - 1]} ${meta.unit || ""}, ${scale}` },
    canvas,
    el("div", { class: "ex-ticks" }, ...ticks.map((text) => el("span", { text }))),
    meta.unit ? el("div", { class: "ex-note", text: meta.unit }) : null,
    missing,
  );
}

/** Rows of categories with their colors and counts; a click shows one alone. */
export function categoryLegend(meta, alone, onalone) {
  const { categories, counts } = meta;
  const rest = [["others", meta.other], ["no value", meta.none]].filter(([, count]) => count);
  const rows = categories.map((name, code) => {
    const own = alone === null ? code < CATEGORIES.length : code === alone;
    return el(
      "button",
      {
        type: "button",
        class: "ex-legend-row",
        "aria-pressed": String(alone === code),
        title: `${name}: ${alone === code ? "show all colors" : "color this one alone"}`,
        on: { click: () => onalone(alone === code ? null : code) },
      },
      swatch(own ? CATEGORIES[Math.min(code, CATEGORIES.length - 1)] : OTHER),
      el("span", { class: "ex-cut", text: name }),
      el("span", { class: "ex-count", text: counts[code].toLocaleString("en") }),
    );
  });
  const last = rest.map(([name, count]) => el("div", { class: "ex-legend-row" }, swatch(OTHER), el("span", { class: "ex-cut", text: name }), el("span", { class: "ex-count", text: count.toLocaleString("en") })));
  return el("div", { class: "ex-legend-list" }, ...rows, ...last);
}

function swatch(color) {
  return el("span", { class: "ex-swatch", style: { background: `#${color}` } });
}
