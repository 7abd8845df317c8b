// Pop-up below a button: choices, with a field where one may write something else.

import { button, element } from "./dom.js";
import { showError, tryAction } from "./forms.js";

/**
 * @typedef {object} Choice
 * @property {string} label
 * @property {string} value
 * @property {boolean} isCurrent
 *
 * @typedef {object} PopupOptions
 * @property {HTMLElement} place - It gets the button and the pop-up; what it has becomes the button's content.
 * @property {string} label - What is chosen.
 * @property {{ label: string, maxLength: number } | null} field
 * @property {() => void} onOpen
 * @property {() => Choice[] | Promise<Choice[]>} choices - Reads them. Rejects with Refused.
 * @property {(value: string) => Promise<unknown>} take - Rejects with Refused: the pop-up stays.
 * @property {(typed: string) => string} [hint] - What is said of what is written in the field; may be empty.
 * @property {boolean} [stays] - Also after a choice: for the next one.
 */

let made = 0;

export class Popup {
  /** What opens it. */
  press = button("", "change");
  #options;
  #panel = element("div", "", "popup");
  #list = element("ul", "", "choices");
  #problem = element("p");
  #hint = element("p", "", "note");
  /** @type {HTMLInputElement | null} */
  #field = null;
  /** @type {Choice[]} */
  #choices = [];
  #isBusy = false;

  /** @param {PopupOptions} options */
  constructor(options) {
    this.#options = options;
    const { place, label, field } = options;
    this.#panel.id = `popup-${(made += 1)}`;
    this.#panel.hidden = true;
    this.#panel.role = "group";
    this.#panel.ariaLabel = label;
    this.press.setAttribute("aria-controls", this.#panel.id);
    this.press.ariaExpanded = "false";
    this.press.append(element("span", `${label}: `, "unseen"), ...place.childNodes);
    this.#problem.role = "alert";
    this.#problem.hidden = true;
    if (field) this.#panel.append(this.#formOf(field));
    this.#hint.role = "status";
    this.#hint.hidden = true;
    this.#panel.append(this.#problem, this.#hint, this.#list);
    place.append(this.press, this.#panel);
    this.#listen();
  }

  /** @param {{ label: string, maxLength: number }} field */
  #formOf({ label, maxLength }) {
    const form = element("form");
    const row = element("label", label);
    this.#field = element("input");
    this.#field.maxLength = maxLength;
    this.#field.autocomplete = "off";
    row.append(this.#field);
    form.append(row);
    this.#field.addEventListener("input", () => this.#draw());
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const value = this.#field?.value.trim() ?? "";
      if (value) void this.#take(value);
    });
    return form;
  }

  get isOpen() {
    return !this.#panel.hidden;
  }

  #listen() {
    this.press.addEventListener("click", () => (this.isOpen ? this.close() : void this.open()));
    this.#panel.addEventListener("keydown", (event) => this.#onKey(event));
    document.addEventListener("pointerdown", ({ target }) => {
      if (target instanceof Node) this.#left(target);
    });
    this.#options.place.addEventListener("focusout", ({ relatedTarget }) => {
      if (relatedTarget instanceof Node) this.#left(relatedTarget); // else the window lost the focus
    });
  }

  /** @param {Node} target - What the reader turns to; while a choice is taken, a question about it. */
  #left(target) {
    if (this.isOpen && !this.#isBusy && !this.#options.place.contains(target)) this.close(false);
  }

  async open() {
    this.#options.onOpen();
    this.#panel.hidden = false;
    this.press.ariaExpanded = "true";
    if (this.#field) this.#field.value = "";
    this.#field?.focus();
    await this.#read();
    if (!this.#field && this.isOpen) (this.#current() ?? this.#presses()[0])?.focus();
  }

  /** @param {boolean} [takesFocus] */
  close(takesFocus = true) {
    this.#panel.hidden = true;
    this.press.ariaExpanded = "false";
    showError(this.#problem, "");
    if (takesFocus) this.press.focus();
  }

  async #read() {
    this.#list.ariaBusy = "true";
    await tryAction(this.#problem, async () => {
      this.#choices = await this.#options.choices();
    });
    this.#list.ariaBusy = null;
    this.#draw();
    // Near the window's edge it grows to the other side.
    this.#panel.classList.remove("at-end");
    if (this.#panel.getBoundingClientRect().right > document.documentElement.clientWidth)
      this.#panel.classList.add("at-end");
  }

  #draw() {
    const typed = this.#field?.value.trim().toLowerCase() ?? "";
    const found = this.#choices.filter(({ label }) => label.toLowerCase().includes(typed));
    this.#list.replaceChildren(...found.map((each) => this.#row(each)));
    this.#list.hidden = !found.length;
    const hint = this.#options.hint?.(this.#field?.value.trim() ?? "") ?? "";
    this.#hint.textContent = hint;
    this.#hint.hidden = !hint;
  }

  /** @param {Choice} choice */
  #row({ label, value, isCurrent }) {
    const row = element("li");
    const press = button(label, "choice");
    press.ariaPressed = String(isCurrent);
    press.addEventListener("click", () => void this.#take(value));
    row.append(press);
    return row;
  }

  /** @param {string} value */
  async #take(value) {
    if (this.#isBusy) return;
    this.#isBusy = true;
    this.#panel.ariaBusy = "true";
    const isDone = await tryAction(this.#problem, () => this.#options.take(value));
    this.#panel.ariaBusy = null;
    this.#isBusy = false;
    if (!isDone || !this.isOpen) return;
    if (!this.#options.stays) {
      this.close();
      return;
    }
    if (this.#field) this.#field.value = "";
    await this.#read();
    this.#field?.focus();
  }

  /** @returns {HTMLElement[]} */
  #presses() {
    return [...this.#list.querySelectorAll("button")];
  }

  #current() {
    return this.#presses().find(({ ariaPressed }) => ariaPressed === "true");
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (event.key === "Escape") {
      event.preventDefault();
      this.close();
    }
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const places = [...(this.#field ? [this.#field] : []), ...this.#presses()];
    const at = places.findIndex((place) => place === document.activeElement);
    places[(at + step + places.length) % places.length]?.focus();
  }
}
