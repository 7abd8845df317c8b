// Search in the lines of a log that are on the page, also in those that come.

export class LogSearch {
  /** `onFound(row)`: a line that is about to be shown. */
  constructor({ log, form, field, previous, found, onFound }) {
    Object.assign(this, { log, field, found, onFound });
    this.current = null;
    field.addEventListener("input", () => this.#mark());
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#step(1);
    });
    previous.addEventListener("click", () => this.#step(-1));
    new MutationObserver((changes) => this.#come(changes)).observe(log, { childList: true });
  }

  get #words() {
    return this.field.value.toLowerCase();
  }

  #fits(row) {
    return row.querySelector(".text").textContent.toLowerCase().includes(this.#words);
  }

  #mark() {
    this.#choose(null);
    for (const row of this.log.children) row.classList.toggle("found", this.#words !== "" && this.#fits(row));
    this.#tell();
  }

  #come(changes) {
    if (!this.#words) return;
    for (const { addedNodes } of changes) for (const row of addedNodes) row.classList.toggle("found", this.#fits(row));
    if (!this.current?.isConnected) this.current = null;
    this.#tell();
  }

  /** To the next line, or to the one before; from the end on from the start. */
  #step(by) {
    const rows = [...this.log.querySelectorAll(".found")];
    if (!rows.length) return;
    const at = rows.indexOf(this.current);
    const next = at < 0 && by < 0 ? rows.length - 1 : (at + by + rows.length) % rows.length;
    this.#choose(rows[next]);
    this.onFound(rows[next]);
    rows[next].scrollIntoView({ block: "center" });
    this.#tell();
  }

  #choose(row) {
    this.current?.classList.remove("current");
    this.current = row;
    row?.classList.add("current");
  }

  #tell() {
    const rows = [...this.log.querySelectorAll(".found")];
    const at = rows.indexOf(this.current);
    const total = rows.length.toLocaleString("en");
    this.found.value = !this.#words ? "" : at < 0 ? `${total} found` : `${(at + 1).toLocaleString("en")} of ${total}`;
  }
}
