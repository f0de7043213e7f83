/**
 * The explorer, in a given element: makes the parts, and tells each what the others and the state say. Nothing outside
 * that element is touched but what the options hand over, so the same page runs inside a notebook.
 */

import { Api } from "./api.js";
import { Card } from "./card.js";
import { categoryLegend, colorAlike, colorCategories, colorNumbers, numberLegend } from "./color.js";
import { choice, counted, el, toggle } from "./dom.js";
import { DropBox } from "./drop.js";
import { FilterBox } from "./filter.js";
import { ImageView } from "./image.js";
import { helpDialog, listenForKeys } from "./keys.js";
import { ScatterMap } from "./map.js";
import { Marks } from "./marks.js";
import { NeighborsPanel, askedOf, optionsOf } from "./neighbors.js";
import { HIDDEN, PointSet } from "./pointset.js";
import { Selection, SelectionPanel, hiddenByMask, lassoStep } from "./selection.js";
import { SkyView } from "./sky.js";
import { State, memoryHistory } from "./state.js";

const BUSY_MS = 400;
const TABS = [["neighbors", "Neighbors"], ["image", "Image"], ["sky", "Sky"]];
const THEMES = [["auto", "Auto"], ["light", "Light"], ["dark", "Dark"]];

/**
 * Show the explorer.
 * @param {HTMLElement} root - Emptied and filled.
 * @param {object} options
 * @param {Function} options.transport - See api.js.
 * @param {object} [options.history] - See state.js; in memory by default.
 * @param {EventTarget} [options.keys] - Where keys are listened for; `root` by default.
 * @param {function(BigInt64Array)} [options.onselection] - Called with the IDs after each change of the selection.
 * @param {function(object)} [options.onanswer] - Called with each answer that is shown.
 * @returns {Promise<Explorer>}
 */
export async function mount(root, options) {
  const explorer = new Explorer(root, options);
  await explorer.start();
  return explorer;
}

export class Explorer {
  constructor(root, { transport, history = memoryHistory(), keys = root, onselection = () => {}, onanswer = () => {} }) {
    Object.assign(this, { root, onselection, onanswer, keys });
    this.api = new Api(transport, (loading) => this.showLoading(loading));
    this.state = new State(history);
    this.selection = new Selection();
    this.pointSets = new Map();
    this.columnsOf = new Map();
    this.alone = null;
    this.wideScheme = globalThis.matchMedia?.("(prefers-color-scheme: dark)");
  }

  async start() {
    const { root } = this;
    root.classList.add("ex");
    root.replaceChildren();
    this.frame();
    this.applyTheme();
    this.onscheme = () => this.applyTheme();
    this.wideScheme?.addEventListener("change", this.onscheme);
    try {
      this.catalog = await this.api.catalog();
      this.build();
      this.watchState();
      this.stopKeys = listenForKeys(this.keys, this.acts());
      await this.takeMap();
      await this.applyFilter();
      await this.restoreSelection();
      root.dataset.ready = "points";
      this.marks.load().catch((error) => this.showError(error));
      this.panel.list().catch((error) => this.showError(error));
      await this.takeColor();
      await this.ask();
    } catch (error) {
      this.showError(error);
    }
    root.dataset.ready = "all";
  }

  /** The empty page: header, three columns, what loads, what is wrong. */
  frame() {
    this.loading = el("div", { class: "ex-loading", role: "status", hidden: true });
    this.alert = el("div", { class: "ex-alert", role: "alert", hidden: true });
    this.header = el("header", { class: "ex-header" });
    this.left = el("aside", { class: "ex-left", "aria-label": "Map, filter and selection" });
    this.middle = el("main", { class: "ex-map" });
    this.right = el("section", { class: "ex-right", "aria-label": "Query and neighbors" });
    this.root.append(this.header, el("div", { class: "ex-columns" }, this.left, this.middle, this.right), this.alert);
    this.middle.append(this.loading);
  }

  section(title, ...nodes) {
    const body = el("div", { class: "ex-section-body" }, ...nodes);
    this.left.append(el("section", { class: "ex-section", "aria-label": title }, el("h2", { text: title }), body));
    return body;
  }

  build() {
    const { catalog, state, api } = this;
    const set = (name) => (value) => state.set({ [name]: value });
    const counts = `${counted(catalog.n_cutouts, "cutout")} of ${counted(catalog.n_images, "image")}`;
    this.theme = choice("Light or dark", THEMES, state.get("theme"), set("theme"));
    this.header.append(
      el("h1", { text: catalog.name, title: catalog.described || "" }),
      el("span", { class: "ex-note ex-cut", text: counts, title: catalog.described || "" }),
      el("span", { class: "ex-grow" }),
      this.theme,
      el("button", { type: "button", text: "Help", title: "Keys and mouse (?)", on: { click: () => this.help.showModal() } }),
    );
    this.help = helpDialog(this.root, catalog.described || counts);

    this.mapChoice = choice("Map", catalog.maps.map(({ name, title }) => [name, title]), this.mapName, set("map"));
    this.quality = el("div", { class: "ex-note" });
    this.doubtful = toggle("doubtful", state.get("doubtful"), set("doubtful"), { title: "Points whose neighbors on the map are not their true neighbors are drawn as rings (x)" });
    this.picturesToggle = toggle("pictures", state.get("pictures"), set("pictures"), { title: "Pictures at the points, where there is room: zoom in (p)" });
    this.section("Map", this.mapChoice, this.quality, el("div", { class: "ex-row ex-spread" }, this.picturesToggle, this.doubtful));

    const columns = [...catalog.columns];
    const offered = columns.map(({ name, unit }) => [name, unit && unit.length < 8 ? `${name}  (${unit})` : name]);
    const scores = catalog.labels.slice(0, 500).map((label) => [`score:${label}`, `score of ${label}`]);
    this.color = choice("Color by", [["", "one color"], ...offered, ...scores], state.get("color"), set("color"));
    this.scale = choice("Scale of the colors", [["linear", "linear"], ["log", "log"], ["percentile", "percentile"]], state.get("scale"), set("scale"));
    this.legend = el("div", { class: "ex-legend" });
    this.section("Color", el("div", { class: "ex-row" }, this.color, this.scale), this.legend);

    this.filter = new FilterBox(this.section("Filter"), catalog, (where) => this.sendFilter(where));
    this.filter.set(state.get("where"));

    this.panel = new SelectionPanel(this.section("Selection"), api, this.selection, {
      clear: () => this.clearSelection(),
      take: (name) => this.takeSelection(name),
      keep: (name) => this.selectionNamed(name),
      drop: (name) => this.dropSelection(name),
      goto: (id) => this.goto(id),
      error: (error) => this.showError(error),
    });
    this.marks = new Marks(this.section("Labels"), api, {
      error: (error) => this.showError(error),
      changed: () => this.neighbors?.redrawBadges(),
      mark: (number) => this.mark(number),
    });
    this.drop = new DropBox(this.section("Ask"), this.root, catalog.has_sky, {
      position: (ra, dec) => this.state.set({ query: `pos:${+ra.toFixed(7)},${+dec.toFixed(7)}`, tab: "neighbors" }),
      file: (file) => this.upload(file),
    });
    // Asking comes before what one does with the answers.
    this.left.prepend(this.left.lastElementChild);

    const head = el("div", { class: "ex-head" });
    this.tabs = el("div", { class: "ex-tabs", role: "tablist", "aria-label": "Neighbors, image or sky" });
    this.panes = {};
    for (const [name, title] of TABS) {
      this.tabs.append(el("button", { type: "button", role: "tab", id: `ex-tab-${name}`, "aria-controls": `ex-pane-${name}`, text: title, on: { click: () => state.set({ tab: name }) } }));
      this.panes[name] = el("div", { class: `ex-pane ex-pane-${name}`, role: "tabpanel", id: `ex-pane-${name}`, "aria-labelledby": `ex-tab-${name}` });
    }
    this.right.append(head, this.tabs, ...Object.values(this.panes));
    this.neighbors = new NeighborsPanel(head, this.panes.neighbors, api, catalog, state, this.marks, {
      goto: (id) => this.goto(id),
      focus: (id) => this.ringAround(id),
      back: () => state.back(),
      forward: () => state.forward(),
      random: () => this.random(),
      select: () => this.flipSelected(this.neighbors.focused),
      error: (error) => this.showError(error),
    });
    this.image = new ImageView(this.panes.image, api, {
      pixel: (image, x, y) => state.set({ query: `px:${image},${x},${y}` }),
      error: (error) => this.showError(error),
    });
    this.sky = new SkyView(this.panes.sky, catalog.has_sky, {
      position: (ra, dec) => state.set({ query: `pos:${+ra.toFixed(7)},${+dec.toFixed(7)}` }),
      id: (id) => this.goto(id),
      columns: () => this.positions(),
      dark: () => this.dark,
      error: (error) => this.showError(error),
    });
    this.map = new ScatterMap(this.middle, api, {
      hover: (index, place) => this.card.show(index < 0 ? null : String(this.points.id[index]), place),
      click: (index, add) => (add ? this.flipSelected(String(this.points.id[index])) : this.goto(String(this.points.id[index]))),
      lasso: (polygon, mode) => this.lasso(polygon, mode),
      camera: (text) => state.set({ camera: text }),
    });
    this.middle.append(
      el(
        "div",
        { class: "ex-tools", role: "toolbar", "aria-label": "Map" },
        el("button", { type: "button", text: "+", "aria-label": "Zoom in", title: "Zoom in (+)", on: { click: () => this.map.zoomBy(1.5) } }),
        el("button", { type: "button", text: "−", "aria-label": "Zoom out", title: "Zoom out (−)", on: { click: () => this.map.zoomBy(1 / 1.5) } }),
        el("button", { type: "button", text: "Fit", title: "Show all (f)", on: { click: () => this.map.fit() } }),
        (this.lassoButton = el("button", { type: "button", text: "Lasso", title: "Enclose points (l, or Shift + drag)", "aria-pressed": "false", on: { click: () => this.setLasso(!this.map.lassoing) } })),
        el("button", { type: "button", text: "Select view", title: "Select all that the map shows (v)", on: { click: () => this.selectView() } }),
      ),
    );
    this.card = new Card(this.middle, api);
    this.applyTheme();
    this.applyTab();
    this.map.setCameraText(state.get("camera"));
  }

  watchState() {
    const { state } = this;
    const guarded = (run) => () => Promise.resolve(run()).catch((error) => this.showError(error));
    state.on(["map"], guarded(() => this.takeMap().then(() => Promise.all([this.applyFilter(), this.takeColor()]))));
    state.on(["color"], guarded(() => ((this.alone = null), this.takeColor())));
    state.on(["scale"], guarded(() => this.takeColor()));
    state.on(["where"], guarded(() => this.applyFilter()));
    state.on(["query", "metric", "k", "overlap", "separation", "repeats", "within"], guarded(() => this.ask()));
    state.on(["where"], guarded(() => state.get("within") && this.ask()));
    state.on(["metric", "k", "overlap", "separation", "repeats", "within", "stretch", "cut", "colormap"], () => this.neighbors.sync());
    state.on(["stretch", "cut", "colormap"], () => this.neighbors.redrawPictures());
    state.on(["doubtful", "pictures"], () => this.applyLook());
    state.on(["tab"], () => this.applyTab());
    state.on(["theme"], () => this.applyTheme());
    state.on(["selection"], guarded(() => state.get("selection") !== this.selection.text && this.restoreSelection()));
    state.on(["camera"], () => state.get("camera") !== this.map.cameraText() && this.map.setCameraText(state.get("camera")));
  }

  /** What keys do, by letter or name. */
  acts() {
    const { state } = this;
    const tab = (name) => () => state.set({ tab: name });
    return {
      map: this.map,
      arrow: (key) => (state.set({ tab: "neighbors" }), this.neighbors.step(key)),
      enter: () => this.neighbors.at >= 0 && this.goto(this.neighbors.focused),
      enterMap: () => {
        if (this.map.hovered < 0) this.map.hoverCenter();
        if (this.map.hovered >= 0) this.goto(String(this.points.id[this.map.hovered]));
      },
      escape: () => {
        this.setLasso(false);
        this.alert.hidden = true;
        this.card.show(null);
      },
      mark: (number) => this.mark(number),
      markSelection: (number) => this.marks.mark(Array.from(this.selection.ids, String), number),
      filter: () => this.filter.input.focus(),
      help: () => this.help.showModal(),
      back: () => state.back(),
      forward: () => state.forward(),
      zoomIn: () => this.map.zoomBy(1.5),
      zoomOut: () => this.map.zoomBy(1 / 1.5),
      f: () => this.map.fit(),
      l: () => this.setLasso(!this.map.lassoing),
      v: () => this.selectView(),
      c: () => this.clearSelection(),
      x: () => state.set({ doubtful: !state.get("doubtful") }),
      p: () => state.set({ pictures: !state.get("pictures") }),
      m: () => (this.map.over.focus(), this.map.hoverCenter()),
      n: tab("neighbors"),
      i: tab("image"),
      y: tab("sky"),
      g: () => this.drop.position.focus(),
      o: () => this.drop.choose(),
      s: () => this.flipSelected(this.neighbors.focused),
      d: () => this.neighbors.downloadFits(),
      r: () => this.random(),
      t: () => state.set({ theme: this.dark ? "light" : "dark" }),
    };
  }

  // The map and its points.

  get mapName() {
    const { maps } = this.catalog;
    const asked = this.state.get("map");
    return maps.some(({ name }) => name === asked) ? asked : maps[0]?.name || "";
  }

  /** Points of a map, asked for once. */
  pointsOf(map) {
    if (!this.pointSets.has(map)) {
      const points = this.api.points(map).then((columns) => new PointSet(columns));
      this.pointSets.set(map, points);
      points.catch(() => this.pointSets.delete(map));
      if (this.pointSets.size > 3) this.pointSets.delete(this.pointSets.keys().next().value);
    }
    return this.pointSets.get(map);
  }

  column(name) {
    const key = `${this.mapName} ${name}`;
    if (!this.columnsOf.has(key)) {
      const column = this.api.column(this.mapName, name);
      this.columnsOf.set(key, column);
      column.catch(() => this.columnsOf.delete(key));
      if (this.columnsOf.size > 6) this.columnsOf.delete(this.columnsOf.keys().next().value);
    }
    return this.columnsOf.get(key);
  }

  async positions() {
    const [ra, dec] = await Promise.all([this.column("ra"), this.column("dec")]);
    return { ra: ra.values, dec: dec.values };
  }

  async takeMap() {
    const map = this.mapName;
    if (!map) throw new Error("This catalog has no cutouts to show yet: elodin-spark info says what it holds.");
    this.mapChoice.value = map;
    const points = await this.pointsOf(map);
    if (map !== this.mapName) return;
    const first = !this.points;
    this.points = points;
    this.map.setPoints(points);
    this.map.setColors(colorAlike(points.n, this.dark ? "dark" : "light"));
    if (!first) this.map.fit();
    this.selection.mark(points);
    this.map.flagsChanged(this.selection.count > 0);
    this.applyLook();
    this.showRings();
    this.sky.reset(points);
    const { quality } = this.catalog.maps.find(({ name }) => name === map);
    const parts = [counted(points.n, "point")];
    if (quality?.trustworthiness !== null && quality?.trustworthiness !== undefined) parts.push(`trustworthiness ${quality.trustworthiness.toFixed(2)}`);
    if (quality?.neighbors_kept !== null && quality?.neighbors_kept !== undefined) parts.push(`${Math.round(100 * quality.neighbors_kept)}% of neighbors kept`);
    if (points.doubtful) parts.push(`${points.doubtful.toLocaleString("en")} doubtful`);
    this.quality.textContent = parts.join(", ");
  }

  async takeColor() {
    const name = this.state.get("color");
    const scale = this.state.get("scale");
    this.color.value = name;
    if (name && this.color.value !== name) this.color.append(el("option", { value: name, text: name })), (this.color.value = name);
    this.scale.value = scale;
    const { points } = this;
    if (!name) {
      this.scale.hidden = true;
      this.legend.replaceChildren();
      this.map.setColors(colorAlike(points.n, this.dark ? "dark" : "light"));
      return;
    }
    const { values, codes, meta } = await this.column(name);
    if (name !== this.state.get("color") || points !== this.points) return;
    const numbers = meta.kind === "number";
    this.scale.hidden = !numbers;
    this.colorMeta = meta;
    if (numbers) {
      this.map.setColors(colorNumbers(values, meta, scale));
      this.legend.replaceChildren(numberLegend(meta, scale, values.some(Number.isNaN)));
    } else {
      this.map.setColors(colorCategories(codes, meta, this.alone));
      this.legend.replaceChildren(categoryLegend(meta, this.alone, (code) => ((this.alone = code), this.takeColor())));
    }
  }

  applyLook() {
    const [doubtful, pictures] = [this.state.get("doubtful"), this.state.get("pictures")];
    this.doubtful.box.checked = doubtful;
    this.picturesToggle.box.checked = pictures;
    this.map.setLook({ markDoubtful: doubtful, pictures, dark: this.dark });
  }

  setLasso(on) {
    this.map.setLasso(on);
    this.lassoButton.setAttribute("aria-pressed", String(on));
  }

  // The filter.

  /** Take a condition that was typed; what is wrong with it is shown under the box. */
  async sendFilter(where) {
    if (where === this.state.get("where")) return this.applyFilter();
    try {
      if (where) await this.maskOf(this.mapName, where);
      this.state.set({ where });
    } catch (error) {
      this.filter.show(error);
    }
  }

  maskOf(map, where) {
    const key = `${map} ${where}`;
    if (this.lastMask?.key !== key) this.lastMask = { key, mask: this.api.mask(map, where) };
    this.lastMask.mask.catch(() => this.lastMask?.key === key && (this.lastMask = null));
    return this.lastMask.mask;
  }

  /** Hide what the condition of the state leaves out. */
  async applyFilter() {
    const { points } = this;
    const where = this.state.get("where");
    this.filter.set(where);
    let count = points.n;
    try {
      if (where) {
        const { mask, meta } = await this.maskOf(this.mapName, where);
        if (where !== this.state.get("where") || points !== this.points) return;
        for (let i = 0; i < points.n; i++) points.flags[i] = (mask[i >> 3] >> (i & 7)) & 1 ? points.flags[i] & ~HIDDEN : points.flags[i] | HIDDEN;
        count = meta.count;
      } else for (let i = 0; i < points.n; i++) points.flags[i] &= ~HIDDEN;
      this.filter.show(null);
    } catch (error) {
      this.filter.show(error);
      return;
    }
    this.filter.count.textContent = where ? `${count.toLocaleString("en")} of ${points.n.toLocaleString("en")} shown` : "";
    this.map.flagsChanged(this.selection.count > 0);
  }

  // The selection.

  async restoreSelection() {
    const text = this.state.get("selection");
    await this.selection.restore(
      text === "?" ? "" : text,
      {
        pointsOf: (map) => this.pointsOf(map),
        hiddenOf: async (map, where) => {
          const { n } = await this.pointsOf(map);
          return where ? hiddenByMask((await this.maskOf(map, where)).mask, n) : new Uint8Array(n);
        },
        kept: async (name) => (await this.api.selection(name)).id.slice(),
      },
      this.mapName,
    );
    this.selectionChanged();
  }

  selectionChanged() {
    this.selection.mark(this.points);
    this.map.flagsChanged(this.selection.count > 0);
    this.panel.changed();
    this.state.set({ selection: this.selection.text });
    this.onselection(this.selection.ids);
  }

  lasso(polygon, mode) {
    this.selection.change(this.points, this.points.inPolygon(polygon), mode, lassoStep(mode, this.mapName, this.state.get("where"), polygon));
    this.selectionChanged();
  }

  selectView() {
    this.lasso(this.map.viewPolygon(), "new");
  }

  flipSelected(id) {
    const at = id ? this.points.indexOf(id) : -1;
    if (at < 0) return;
    this.selection.change(this.points, [at], "flip", `flip:${id}`);
    this.selectionChanged();
  }

  clearSelection() {
    this.selection.take(new BigInt64Array(0), "");
    this.selectionChanged();
  }

  selectionNamed(name) {
    this.selection.text = `name:${name}`;
    this.selectionChanged();
  }

  async takeSelection(name) {
    try {
      this.selection.take((await this.api.selection(name)).id.slice(), `name:${name}`);
      this.panel.name.value = name;
      this.selectionChanged();
    } catch (error) {
      this.showError(error);
    }
  }

  async dropSelection(name) {
    try {
      await this.api.dropSelection(name);
      if (this.selection.text === `name:${name}`) this.selection.text = "?";
      this.selectionChanged();
      await this.panel.list();
    } catch (error) {
      this.showError(error);
    }
  }

  mark(number) {
    const id = this.neighbors.focused;
    if (id) this.marks.mark([id], number);
  }

  // The query.

  goto(id) {
    this.state.set({ query: `id:${id}` });
  }

  random() {
    let at = -1;
    for (let tries = 0; tries < 1000 && at < 0; tries++) {
      const i = Math.floor(Math.random() * this.points.n);
      if (!(this.points.flags[i] & HIDDEN)) at = i;
    }
    if (at >= 0) this.goto(String(this.points.id[at]));
  }

  /** Ask what the state asks; an older answer that is still under way is dropped. */
  async ask() {
    if (this.answered) return;
    this.asking?.abort();
    const asked = askedOf(this.state.get("query"));
    if (!asked) {
      if (this.state.get("query") !== "upload:" || !this.file) return this.showAnswer(null);
      return this.upload(this.file);
    }
    const asking = (this.asking = new AbortController());
    this.neighbors.busy();
    try {
      const answer = await this.api.neighbors(asked, optionsOf(this.state.values), asking.signal);
      if (asking === this.asking) this.showAnswer(answer);
    } catch (error) {
      if (error.name === "AbortError" || asking !== this.asking) return;
      this.showAnswer(null);
      this.showError(error);
    }
  }

  async upload(file) {
    this.asking?.abort();
    const asking = (this.asking = new AbortController());
    const again = this.file === file && this.state.get("query") === "upload:";
    this.file = file;
    this.neighbors.busy();
    try {
      const answer = await this.api.upload(file, optionsOf(this.state.values));
      if (asking !== this.asking) return;
      answer.query.name = file.name; // The server does not keep it.
      if (!again) {
        this.answered = true;
        this.state.set({ query: "upload:", tab: "neighbors" });
        this.answered = false;
      }
      this.showAnswer(answer);
    } catch (error) {
      if (asking !== this.asking) return;
      this.neighbors.show(this.neighbors.answer);
      this.showError(error);
    }
  }

  showAnswer(answer) {
    this.alert.hidden = true;
    this.neighbors.show(answer);
    this.image.show(answer);
    this.sky.show(answer);
    this.showRings();
    const query = answer?.query.cutouts[0];
    // A camera of the address stays; later the query is brought into view.
    if (query && (this.root.dataset.ready === "all" || !this.state.get("camera"))) this.map.show(this.points.indexOf(query.id));
    if (answer) this.onanswer(answer);
    this.root.dataset.query = answer ? query?.id || "upload" : "";
  }

  /** Rings around the query and its neighbors, and around `focused`. */
  showRings(focused = null) {
    const answer = this.neighbors?.answer;
    const rings = [];
    for (const { id, rank } of [...(answer?.neighbors || [])].reverse()) rings.push({ index: this.points.indexOf(id), text: String(rank), kind: "neighbor", focused: id === focused });
    const query = answer?.query.cutouts[0];
    if (query) rings.push({ index: this.points.indexOf(query.id), text: "", kind: "query" });
    this.map.setRings(rings.filter(({ index }) => index >= 0));
  }

  ringAround(id) {
    this.showRings(id);
  }

  // The look.

  get dark() {
    const theme = this.state.get("theme");
    return theme === "dark" || (theme === "auto" && Boolean(this.wideScheme?.matches));
  }

  applyTheme() {
    this.root.dataset.theme = this.dark ? "dark" : "light";
    if (!this.map) return;
    this.theme.value = this.state.get("theme");
    this.map.setLook({ dark: this.dark });
    this.sky.draw();
    if (this.points && !this.state.get("color")) this.map.setColors(colorAlike(this.points.n, this.dark ? "dark" : "light"));
  }

  applyTab() {
    const chosen = this.panes[this.state.get("tab")] ? this.state.get("tab") : "neighbors";
    for (const [i, [name]] of TABS.entries()) {
      this.panes[name].hidden = name !== chosen;
      this.tabs.children[i].setAttribute("aria-selected", String(name === chosen));
    }
    this.image.setVisible(chosen === "image");
    this.sky.setVisible(chosen === "sky");
  }

  showLoading(loading) {
    const named = [...new Set(loading)];
    this.loadingText = named.length ? `Loading ${named.join(", ")}…` : "";
    if (!this.loadingText) {
      clearTimeout(this.busyTimer);
      this.busyTimer = 0;
      this.loading.hidden = true;
    } else if (this.loading.hidden) {
      this.busyTimer ||= setTimeout(() => {
        this.loading.textContent = this.loadingText;
        this.loading.hidden = !this.loadingText;
      }, BUSY_MS);
    } else this.loading.textContent = this.loadingText;
  }

  showError(error) {
    if (error.name === "AbortError") return;
    this.alert.replaceChildren(el("span", { class: "ex-grow", text: error.message }), el("button", { type: "button", text: "Close", on: { click: () => (this.alert.hidden = true) } }));
    this.alert.hidden = false;
  }

  /** Take everything down again. */
  close() {
    this.asking?.abort();
    this.stopKeys?.();
    this.state.close();
    this.map?.close();
    this.image?.close();
    this.sky?.close();
    this.wideScheme?.removeEventListener("change", this.onscheme);
    this.root.replaceChildren();
    this.root.classList.remove("ex");
  }
}
