/** The filter box: a condition, with completion of names, and what is wrong with it right below. */

import { el } from "./dom.js";

const MOST = 9;
const WORDS = ["and", "or", "not", "between", "in", "is null", "like"];

export class FilterBox {
  /**
   * @param {HTMLElement} root
   * @param {{columns, labels}} names
   * @param {function(string)} apply - Called with the condition; an error it throws is shown.
   */
  constructor(root, { columns, labels }, apply) {
    this.apply = apply;
    this.names = [
      ...columns.map(({ name, unit, description, kind }) => ({ text: name, note: [unit, description].filter(Boolean).join(" · "), kind })),
      ...labels.map((label) => ({ text: `score('${label.replaceAll("'", "''")}')`, note: "score of a label", kind: "label", find: label })),
      ...WORDS.map((word) => ({ text: word, note: "", kind: "word" })),
    ];
    this.input = el("textarea", {
      rows: 2,
      class: "ex-filter",
      spellcheck: "false",
      autocomplete: "off",
      placeholder: "sky_sigma < 2 and dec > 0",
      "aria-label": "Filter: a condition on the columns of the catalog",
      role: "combobox",
      "aria-expanded": "false",
      "aria-autocomplete": "list",
      "aria-controls": "ex-completions",
      on: { input: () => this.complete(), keydown: (event) => this.key(event), blur: () => setTimeout(() => this.close(), 150) },
    });
    this.options = el("ul", { class: "ex-completions", id: "ex-completions", role: "listbox", hidden: true });
    this.error = el("div", { class: "ex-error", role: "alert", hidden: true });
    this.count = el("output", { class: "ex-note", "aria-live": "polite" });
    this.clear = el("button", { type: "button", text: "Clear", on: { click: () => this.send("") } });
    root.append(
      el("div", { class: "ex-holder" }, this.input, this.options),
      this.error,
      el("div", { class: "ex-row" }, this.count, el("span", { class: "ex-grow" }), this.clear, el("button", { type: "button", text: "Apply", on: { click: () => this.send(this.input.value) } })),
    );
  }

  set(where) {
    if (this.input.value.trim() !== where) this.input.value = where;
  }

  async send(where) {
    this.close();
    this.input.value = where;
    await this.apply(where.trim());
  }

  show(error) {
    this.error.hidden = !error;
    this.error.textContent = error ? error.message : "";
    this.input.setAttribute("aria-invalid", String(Boolean(error)));
  }

  /** The word before the caret. */
  word() {
    const before = this.input.value.slice(0, this.input.selectionStart);
    return /[A-Za-z_][\w]*$|score\(\s*'[^']*$/.exec(before)?.[0] || "";
  }

  complete() {
    const word = this.word();
    const find = word.replace(/^score\(\s*'/, "").toLowerCase();
    const starts = (each) => (each.find || each.text).toLowerCase().startsWith(find);
    const holds = (each) => (each.find || each.text).toLowerCase().includes(find);
    const only = word.startsWith("score(") ? this.names.filter(({ kind }) => kind === "label") : this.names;
    const found = word ? [...only.filter(starts), ...only.filter((each) => !starts(each) && holds(each))].slice(0, MOST) : [];
    this.found = found.filter(({ text }) => text !== word);
    this.at = 0;
    this.draw();
  }

  draw() {
    const open = Boolean(this.found?.length);
    this.options.hidden = !open;
    this.input.setAttribute("aria-expanded", String(open));
    this.options.replaceChildren(
      ...(this.found || []).map((each, i) =>
        el(
          "li",
          { role: "option", id: `ex-completion-${i}`, "aria-selected": String(i === this.at), on: { pointerdown: (event) => (event.preventDefault(), this.take(i)) } },
          el("span", { class: "ex-mono", text: each.text }),
          el("span", { class: "ex-note ex-cut", text: each.note }),
        ),
      ),
    );
    if (open) this.input.setAttribute("aria-activedescendant", `ex-completion-${this.at}`);
    else this.input.removeAttribute("aria-activedescendant");
  }

  close() {
    this.found = [];
    this.draw();
  }

  take(i) {
    const at = this.input.selectionStart;
    const start = at - this.word().length;
    const { text } = this.found[i];
    this.input.setRangeText(`${text} `, start, at, "end");
    this.close();
    this.input.focus();
  }

  key(event) {
    const open = this.found?.length;
    if (open && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      this.at = (this.at + (event.key === "ArrowDown" ? 1 : open - 1)) % open;
      this.draw();
    } else if (open && event.key === "Tab" && !event.shiftKey) this.take(this.at);
    else if (open && event.key === "Escape") this.close();
    else if (event.key === "Enter" && !event.shiftKey) this.send(this.input.value);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
