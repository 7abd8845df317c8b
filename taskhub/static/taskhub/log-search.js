// Search in the lines of a log that are on the page, including those that arrive later.

/**
 * @typedef {object} SearchOptions
 * @property {HTMLElement} log - The lines.
 * @property {HTMLElement} form
 * @property {HTMLInputElement} field
 * @property {HTMLElement} previous - Its button.
 * @property {HTMLOutputElement} found - How many lines were found.
 * @property {() => void} onFound - A line is about to be scrolled to.
 */

export class LogSearch {
  #options;
  /** @type {Element | null} */
  #current = null;

  /** @param {SearchOptions} options */
  constructor(options) {
    this.#options = options;
    const { log, form, field, previous } = options;
    field.addEventListener("input", () => this.#mark());
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#step(1);
    });
    previous.addEventListener("click", () => this.#step(-1));
    new MutationObserver((changes) => this.#onLines(changes)).observe(log, { childList: true });
  }

  get #words() {
    return this.#options.field.value.toLowerCase();
  }

  get #rows() {
    return [...this.#options.log.querySelectorAll(".found")];
  }

  /** @param {Element} row */
  #matches(row) {
    return row.querySelector(".text")?.textContent.toLowerCase().includes(this.#words) ?? false;
  }

  #mark() {
    this.#select(null);
    for (const row of this.#options.log.children)
      row.classList.toggle("found", this.#words !== "" && this.#matches(row));
    this.#showCount();
  }

  /** @param {MutationRecord[]} changes */
  #onLines(changes) {
    if (!this.#words) return;
    for (const { addedNodes } of changes)
      for (const row of addedNodes) if (row instanceof Element) row.classList.toggle("found", this.#matches(row));
    if (!this.#current?.isConnected) this.#current = null;
    this.#showCount();
  }

  /** @param {1 | -1} by - To the next line or the previous one; it wraps around. */
  #step(by) {
    const rows = this.#rows;
    const at = this.#current ? rows.indexOf(this.#current) : -1;
    const to = at < 0 && by < 0 ? rows.length - 1 : (at + by + rows.length) % rows.length;
    const row = rows[to];
    if (!row) return;
    this.#select(row);
    this.#options.onFound();
    row.scrollIntoView({ block: "center" });
    this.#showCount();
  }

  /** @param {Element | null} row */
  #select(row) {
    this.#current?.classList.remove("current");
    this.#current = row;
    row?.classList.add("current");
  }

  #showCount() {
    const rows = this.#rows;
    const at = this.#current ? rows.indexOf(this.#current) : -1;
    const total = rows.length.toLocaleString("en");
    const text = at < 0 ? `${total} found` : `${(at + 1).toLocaleString("en")} of ${total}`;
    this.#options.found.value = this.#words ? text : "";
  }
}
