/** The query and its neighbors: pictures, distances, labels, places; one click goes on from any of them. */

import { positionText } from "./card.js";
import { choice, el, saveFile, toggle } from "./dom.js";
import { FORMATS, listName } from "./selection.js";

const LABELS = 6;
const PICTURE_PX = 256;
/** Height of a window from which all options are shown at first. */
const ROOMY_PX = 950;

/** What `query` of the state asks the API, or null. */
export function askedOf(text) {
  const at = text.indexOf(":");
  const [kind, value] = [text.slice(0, at), text.slice(at + 1)];
  if (kind === "id") return { ids: value.split(",") };
  if (kind === "pos") {
    const [ra, dec] = value.split(",").map(Number);
    return { position: { ra, dec, radius_arcsec: null } };
  }
  if (kind === "px") {
    const [image, x, y] = value.split(",");
    return { pixel: { image_id: image, x: +x, y: +y } };
  }
  return null;
}

/** Search options of the state, as the API takes them. */
export function optionsOf(values) {
  const options = { k: values.k, metric: values.metric, allow_overlap: values.overlap, repeats: values.repeats };
  if (+values.separation > 0) options.min_separation_arcsec = +values.separation;
  if (values.within && values.where) options.where = values.where;
  return options;
}

export class NeighborsPanel {
  /** @param {{goto, focus, back, forward, error, select, random}} calls */
  constructor(head, body, api, catalog, state, marks, calls) {
    Object.assign(this, { head, body, api, catalog, state, marks, calls });
    this.answer = null;
    this.at = -1;
    this.build();
  }

  build() {
    const { state, catalog } = this;
    const set = (name) => (value) => state.set({ [name]: value });
    this.metric = choice(
      "Metric",
      catalog.metrics.map(({ name, title, available }) => [name, title, !available]),
      state.get("metric"),
      set("metric"),
    );
    for (const [i, { why_not: why }] of catalog.metrics.entries()) if (why) this.metric.options[i].title = why;
    this.k = el("input", {
      type: "number", min: 1, max: 1000, value: state.get("k"), class: "ex-number", "aria-label": "Number of neighbors", title: "Number of neighbors",
      on: { change: () => state.set({ k: Math.max(1, Math.round(+this.k.value) || 9) }) },
    });
    this.overlap = toggle("overlaps", state.get("overlap"), set("overlap"), { title: "Keep windows that share pixels with the query or a nearer neighbor" });
    this.within = toggle("in filter", state.get("within"), set("within"), { title: "Only neighbors that meet the filter" });
    this.separation = el("input", {
      type: "number", min: 0, step: "any", class: "ex-number ex-wider", placeholder: "apart ″", "aria-label": "Least separation on the sky, arcsec", title: "Leave out cutouts nearer on the sky than this, arcsec, to the query or a nearer neighbor",
      value: state.get("separation"), disabled: !catalog.has_sky, on: { change: () => state.set({ separation: this.separation.value }) },
    });
    this.repeats = choice("Known repeats", [["keep", "repeats kept"], ["leave-out", "repeats left out"], ["group", "repeats grouped"]], state.get("repeats"), set("repeats"));
    this.stretch = choice("Stretch of the pictures", [["", "as stored"], ...catalog.stretches.map((name) => [name, name])], state.get("stretch"), set("stretch"));
    this.cut = el("input", {
      type: "number", min: 50, max: 100, step: "any", class: "ex-number ex-wider", placeholder: "cut %", "aria-label": "Cut of the pictures, percent", title: "Percent of the pixels between black and white",
      value: state.get("cut"), on: { change: () => state.set({ cut: this.cut.value }) },
    });
    this.colormap = choice("Colors of the pictures", [["", "colors"], ...catalog.colormaps.map((name) => [name, name])], state.get("colormap"), set("colormap"));
    this.back = el("button", { type: "button", text: "←", "aria-label": "Back", title: "Back ([)", on: { click: () => this.calls.back() } });
    this.forward = el("button", { type: "button", text: "→", "aria-label": "Forward", title: "Forward (])", on: { click: () => this.calls.forward() } });
    this.fits = el("button", { type: "button", text: "FITS", title: "Download the query as FITS with WCS (d)", on: { click: () => this.downloadFits() } });
    this.listed = choice("Download the neighbors", [["", "List…"], ...FORMATS], "", (format) => this.downloadList(format));
    this.select = el("button", { type: "button", text: "± select", title: "Add the query to the selection, or take it out (s)", on: { click: () => this.calls.select() } });
    this.who = el("div", { class: "ex-query", "aria-live": "polite" });
    this.head.append(
      this.who,
      el("div", { class: "ex-row" }, this.back, this.forward, el("button", { type: "button", text: "Random", title: "A random cutout (r)", on: { click: () => this.calls.random() } }), el("span", { class: "ex-grow" }), this.select, this.fits, this.listed),
    );
    this.more = el(
      "details",
      { class: "ex-more", open: globalThis.innerHeight >= ROOMY_PX },
      el("summary", { text: "Options and pictures" }),
      el("div", { class: "ex-row ex-wrap" }, this.overlap, this.within, this.separation, this.repeats),
      el("div", { class: "ex-row ex-wrap" }, el("span", { class: "ex-note", text: "Pictures" }), this.stretch, this.cut, this.colormap),
    );
    this.list = el("ol", { class: "ex-neighbors", "aria-label": "Neighbors, nearest first" });
    this.status = el("div", { class: "ex-note", "aria-live": "polite" });
    this.body.append(
      el("div", { class: "ex-row" }, this.metric, el("label", { class: "ex-toggle" }, el("span", { text: "k" }), this.k), el("span", { class: "ex-grow" }), this.status),
      this.more,
      this.list,
    );
    this.list.addEventListener("keydown", (event) => this.key(event));
    this.show(null);
  }

  /** Controls as the state is. */
  sync() {
    const { state } = this;
    for (const name of ["metric", "repeats", "stretch", "colormap"]) this[name].value = state.get(name);
    for (const name of ["k", "separation", "cut"]) this[name].value = state.get(name);
    this.overlap.box.checked = state.get("overlap");
    this.within.box.checked = state.get("within");
  }

  get query() {
    return this.answer?.query.cutouts[0] || null;
  }

  /** ID of the neighbor in focus, or of the query. */
  get focused() {
    return this.answer?.neighbors[this.at]?.id || this.query?.id || null;
  }

  busy() {
    this.status.textContent = "asking…";
  }

  /** Show an answer of the API; null for none. */
  show(answer) {
    this.answer = answer;
    this.at = -1;
    const { query } = this;
    for (const node of [this.fits, this.select]) node.disabled = !query;
    this.listed.disabled = !answer?.neighbors.length;
    if (!answer) {
      this.who.replaceChildren(el("p", { class: "ex-note", text: "Click a point of the map, open an image or type a position: what looks most like it is shown here." }));
      this.list.replaceChildren();
      this.status.textContent = "";
      return;
    }
    this.status.textContent = answer.seconds === undefined ? "" : `${answer.neighbors.length} in ${answer.seconds.toFixed(2)} s`;
    this.showQuery();
    this.list.replaceChildren(...answer.neighbors.map((each, i) => this.tile(each, i)));
    if (!answer.neighbors.length) this.list.append(el("li", { class: "ex-note", text: "No neighbors: the filter and the switches leave none." }));
    this.list.scrollTop = 0;
  }

  showQuery() {
    const { query } = this;
    const asked = this.answer.query;
    const image = el("img", { class: "ex-picture", alt: query ? `cutout ${query.id}` : asked.name, width: 104, height: 104 });
    if (asked.picture && !query) image.src = asked.picture;
    else if (query) this.fillPicture(image, query.id);
    const scores = asked.scores ? Object.entries(asked.scores).sort((a, b) => b[1] - a[1]).slice(0, LABELS) : null;
    const labels = scores ? scores.map(([name, score]) => `${name} ${score.toFixed(2)}`) : (query?.labels || asked.labels || []).slice(0, LABELS);
    const many = asked.cutouts.length > 1 ? `, nearest of ${asked.cutouts.length}` : "";
    const badge = this.badge(query?.id);
    this.who.replaceChildren(
      image,
      el(
        "div",
        { class: "ex-grow ex-what" },
        el("div", { class: "ex-mono ex-cut", text: query ? query.id : asked.name, title: query ? `Cutout ${query.id}${many}` : asked.name }),
        query ? el("div", { class: "ex-cut", text: `${query.image}  [${query.x0}:${query.x1}, ${query.y0}:${query.y1}]`, title: `${query.image}, HDU ${query.hdu}, x ${query.x0}:${query.x1}, y ${query.y0}:${query.y1} px` }) : null,
        query ? el("div", { text: positionText(query) + (query.ra === null ? "" : "  ICRS") }) : el("div", { class: "ex-note", text: "not in the catalog" }),
        el("div", { class: "ex-labels" }, ...labels.map((label) => el("span", { class: "ex-chip", text: label }))),
        query?.links?.length ? el("div", { class: "ex-links" }, ...query.links.map(({ title, url }) => el("a", { href: url, target: "_blank", rel: "noopener noreferrer", text: title }))) : null,
      ),
      ...(badge ? [badge] : []),
    );
  }

  badge(id) {
    const number = id ? this.marks.of(id) : 0;
    return number ? el("span", { class: "ex-badge", text: String(number), title: this.marks.slots[number - 1].name }) : null;
  }

  tile(each, i) {
    const image = el("img", { class: "ex-picture", alt: "" });
    this.fillPicture(image, each.id);
    const notes = [
      `cutout ${each.id}`,
      `${each.image}, x ${each.x0}:${each.x1}, y ${each.y0}:${each.y1} px`,
      each.distance_percentile === undefined || each.distance_percentile === null ? "" : `distance percentile ${each.distance_percentile.toPrecision(3)}`,
      each.distance_over_repeat_median ? `${each.distance_over_repeat_median.toPrecision(3)} × the median distance of repeats` : "",
      each.labels.length ? `labels: ${each.labels.join(", ")}` : "",
    ].filter(Boolean);
    const more = (each.repeats?.length || 0) + (each.duplicates?.length || 0);
    const button = el(
      "button",
      {
        type: "button",
        class: "ex-tile",
        tabindex: i === 0 ? "0" : "-1",
        title: notes.join("\n"),
        "aria-label": `Neighbor ${each.rank}, distance ${each.distance.toPrecision(3)}, ${each.labels[0] || ""}, ${each.image}: show its neighbors`,
        on: {
          click: () => this.calls.goto(each.id),
          focus: () => this.focus(i),
          pointerenter: () => this.calls.focus(each.id),
          pointerleave: () => this.calls.focus(this.at >= 0 ? this.answer.neighbors[this.at].id : null),
        },
      },
      image,
      el("span", { class: "ex-tile-row" }, el("b", { text: String(each.rank) }), el("span", { class: "ex-mono", text: each.distance.toPrecision(3) }), el("span", { class: "ex-cut ex-strong", text: (each.labels[0] || "").replace(/^prototype /, "prot. ") }), more ? el("span", { class: "ex-note", text: `+${more}` }) : null),
      el("span", { class: "ex-cut", text: each.image.split("/").at(-1) }),
      el("span", { class: "ex-cut ex-note", text: positionText(each, 4) }),
    );
    return el("li", {}, button, this.badge(each.id));
  }

  /** Pictures again, after the stretch, the cut or the colors changed. */
  redrawPictures() {
    if (!this.answer) return;
    this.showQuery();
    this.answer.neighbors.forEach(({ id }, i) => this.fillPicture(this.list.children[i].querySelector("img"), id));
  }

  redrawBadges() {
    if (!this.answer) return;
    this.showQuery();
    this.answer.neighbors.forEach(({ id }, i) => {
      const item = this.list.children[i];
      item.querySelector(".ex-badge")?.remove();
      const badge = this.badge(id);
      if (badge) item.append(badge);
    });
  }

  async fillPicture(image, id) {
    const [stretch, cut, colormap] = ["stretch", "cut", "colormap"].map((name) => this.state.get(name));
    const asked = `${id} ${stretch} ${cut} ${colormap}`;
    image.dataset.asked = asked;
    try {
      const url = stretch || cut || colormap ? await this.api.cutoutPicture(id, { stretch, cut, colormap, size: PICTURE_PX }) : await this.api.thumbnail(id);
      if (image.dataset.asked === asked && url) image.src = url;
    } catch (error) {
      image.removeAttribute("src");
      image.alt = error.message;
      if (image.dataset.asked === asked) this.calls.error(error);
    }
  }

  /** Put neighbor `i` in focus; -1 is the query. */
  focus(i) {
    if (!this.answer?.neighbors.length) return;
    const before = this.at;
    this.at = Math.max(-1, Math.min(this.answer.neighbors.length - 1, i));
    if (before === this.at) return;
    for (const [n, item] of [...this.list.children].entries()) {
      const button = item.querySelector("button");
      button.tabIndex = n === Math.max(0, this.at) ? 0 : -1;
      if (n === this.at && document.activeElement !== button) button.focus();
    }
    this.calls.focus(this.at >= 0 ? this.answer.neighbors[this.at].id : null);
  }

  /** Tiles in a row, as laid out. */
  get aside() {
    return Math.max(1, getComputedStyle(this.list).gridTemplateColumns.split(" ").length);
  }

  step(key) {
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.aside, ArrowUp: -this.aside };
    const next = this.at < 0 ? 0 : this.at + steps[key];
    this.focus(Math.max(0, next));
  }

  key(event) {
    if (event.key === "Home") this.focus(0);
    else if (event.key === "End") this.focus(this.answer.neighbors.length - 1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  async downloadFits() {
    const id = this.focused;
    if (!id) return;
    try {
      const file = await this.api.fits(id);
      saveFile(this.body, file.body, file.name || `${id}.fits`, file.type);
    } catch (error) {
      this.calls.error(error);
    }
  }

  async downloadList(format) {
    this.listed.value = "";
    if (!format || !this.answer) return;
    const asked = askedOf(this.state.get("query"));
    try {
      const value = asked ? { query: asked, options: optionsOf(this.state.values) } : { ids: this.answer.neighbors.map(({ id }) => id) };
      const file = await this.api.list(format, value);
      saveFile(this.body, file.body, listName("neighbors", format), file.type);
    } catch (error) {
      this.calls.error(error);
    }
  }
}

