// Search in a whole log, by the service: how many lines match, and the next one, the previous one, the first error.

import { tryAction } from "./forms.js";

/**
 * @import { LogFound } from "schemas"
 *
 * @typedef {object} LogSearchOptions
 * @property {HTMLElement} log - Where `/` and Ctrl+F lead to the field.
 * @property {HTMLElement} form
 * @property {HTMLInputElement} field - What is sought.
 * @property {HTMLButtonElement} previous - Its button.
 * @property {HTMLButtonElement} next - Likewise.
 * @property {HTMLElement} firstError - Its button.
 * @property {HTMLOutputElement} found - How many lines were found, and which one is looked at.
 * @property {HTMLElement} problem
 * @property {(query: Record<string, string>) => Promise<LogFound>} search - Asks the service. Rejects with Refused.
 * @property {() => number} from - The line from which the first match is looked for: the first one in view.
 * @property {(found: Set<number>, current: number, words: string) => void} mark
 * @property {(n: number) => void} goTo
 */

const TYPING_MS = 300;
const GROWING_MS = 2000; // new lines of a running log are searched so often
const NUMBERS = 10_000; // that one answer has

export class LogSearch {
  #options;
  /** The lines that match and are known, in order. @type {number[]} */
  #matches = [];
  #count = 0; // of all that match
  #current = 0; // the line that is looked at
  /** Where to search on. @type {number | null} */
  #next = 1;
  #isEnd = true; // of what there is
  #search = 0; // counts them: an answer that comes late is dropped
  #note = "";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #typing;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #growing;
  /** @type {Promise<void> | null} */
  #reading = null;

  /** @param {LogSearchOptions} options */
  constructor(options) {
    this.#options = options;
    const { log, form, field, previous, next, firstError, problem } = options;
    log.addEventListener("keydown", (event) => this.#onLogKey(event));
    field.addEventListener("keydown", (event) => this.#onFieldKey(event));
    field.addEventListener("input", () => {
      for (const press of [previous, next]) press.disabled = !this.#words;
      this.#soon();
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void tryAction(problem, () => this.#step(1));
    });
    previous.addEventListener("click", () => void tryAction(problem, () => this.#step(-1)));
    firstError.addEventListener("click", () => void tryAction(problem, () => this.#toFirstError()));
  }

  /**
   * The browser's own search sees no more than the lines in view; pressed once more, it opens.
   *
   * @param {KeyboardEvent} event
   */
  #onLogKey(event) {
    const isCtrlF = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "f";
    if (event.key !== "/" && !isCtrlF) return;
    event.preventDefault();
    this.#options.field.focus();
    this.#options.field.select();
  }

  /** @param {KeyboardEvent} event */
  #onFieldKey(event) {
    if (event.key === "Escape") {
      event.preventDefault(); // some browsers would empty the field
      this.#options.log.focus();
    } else if (event.key === "Enter" && event.shiftKey) {
      event.preventDefault();
      void tryAction(this.#options.problem, () => this.#step(-1));
    }
  }

  get #words() {
    return this.#options.field.value;
  }

  /** Another log is shown: what is sought is sought there. */
  reset() {
    this.#forget();
    if (this.#words) this.#soon();
  }

  /** The log has more lines. */
  grow() {
    if (!this.#words || this.#growing !== undefined) return;
    this.#growing = setTimeout(() => {
      this.#growing = undefined;
      if (this.#words && this.#isEnd && this.#next !== null) void this.#readMore().catch(() => {}); // or the next time
    }, GROWING_MS);
  }

  #forget() {
    this.#search += 1;
    this.#matches = [];
    this.#count = this.#current = 0;
    this.#next = 1;
    this.#isEnd = false;
    this.#reading = null;
    this.#note = "";
    this.#show();
  }

  #soon() {
    this.#forget();
    clearTimeout(this.#typing);
    if (this.#words)
      this.#typing = setTimeout(() => void tryAction(this.#options.problem, () => this.#begin()), TYPING_MS);
  }

  /** Find the first match from what is in view on, else the first of all. */
  async #begin() {
    clearTimeout(this.#typing);
    const search = this.#search;
    const from = this.#options.from();
    await this.#readMore();
    await this.#readUntil(() => this.#matches.some((n) => n >= from));
    if (search !== this.#search || this.#current) return;
    this.#goTo(this.#matches.find((n) => n >= from) ?? this.#matches[0]);
  }

  /** @param {1 | -1} by - To the next match or the previous one; it wraps around. */
  async #step(by) {
    if (!this.#words) return;
    if (!this.#matches.length && !this.#isEnd) return this.#begin();
    const search = this.#search;
    let at = this.#matches.indexOf(this.#current);
    if (at < 0) at = between(this.#matches, this.#current) - (by > 0 ? 1 : 0);
    await this.#readUntil(() => at + by >= 0 && at + by < this.#matches.length);
    if (search !== this.#search) return;
    const { length } = this.#matches;
    this.#goTo(this.#matches[(at + by + length) % length]);
  }

  /**
   * Search on until something is known, or the end is reached: the next match may not be known yet, nor the last of all.
   *
   * @param {() => boolean} isKnown
   */
  async #readUntil(isKnown) {
    const search = this.#search;
    while (search === this.#search && !this.#isEnd && !isKnown()) await this.#readMore();
  }

  /** @param {number | undefined} n */
  #goTo(n) {
    if (n === undefined) return;
    this.#current = n;
    this.#show();
    this.#options.goTo(n);
  }

  /**
   * Search on. Two who ask at once get one answer.
   *
   * @throws {Refused}
   */
  async #readMore() {
    const reading = (this.#reading ??= this.#ask(this.#search));
    try {
      await reading;
    } finally {
      if (this.#reading === reading) this.#reading = null;
    }
  }

  /** @param {number} search */
  async #ask(search) {
    const from = this.#next ?? 1;
    const { search: ask } = this.#options;
    const { count, matches, next, lines } = await ask({ q: this.#words, from: String(from), limit: String(NUMBERS) });
    if (search !== this.#search) return;
    this.#matches.push(...matches);
    const unnamed = count - matches.length;
    this.#count = this.#matches.length + unnamed;
    this.#next = unnamed ? (matches.at(-1) ?? 0) + 1 : next;
    this.#isEnd = !unnamed && (next === null || next > lines);
    this.#show();
    // What one request did not get to is searched at once; numbers beyond an answer's limit when they are wanted.
    if (!this.#isEnd && !unnamed) await this.#ask(search);
  }

  /** The first line that looks like an error; where there is none, the first one of stderr. */
  async #toFirstError() {
    this.#note = "Looking for an error …";
    this.#show();
    try {
      const n = (await this.#first("error")) ?? (await this.#first("stderr"));
      this.#note = n === undefined ? "No line looks like an error." : `Line ${n.toLocaleString("en")}`;
      this.#goTo(n);
    } catch (error) {
      this.#note = "";
      throw error;
    } finally {
      this.#show();
    }
  }

  /**
   * @param {"error" | "stderr"} kind
   * @returns {Promise<number | undefined>}
   */
  async #first(kind) {
    const search = this.#search;
    /** @type {number | null} */
    let from = 1;
    while (from !== null && search === this.#search) {
      /** @type {LogFound} */
      const { matches, next, lines } = await this.#options.search({ kind, from: String(from), limit: "1" });
      if (matches[0] !== undefined) return matches[0];
      from = next !== null && next <= lines ? next : null;
    }
    return undefined;
  }

  #show() {
    const at = this.#matches.indexOf(this.#current);
    const total = this.#count.toLocaleString("en");
    const isSought = this.#words !== "" && (this.#count > 0 || this.#isEnd);
    const found = at < 0 ? `${total} found` : `${(at + 1).toLocaleString("en")} of ${total}`;
    if (isSought && at >= 0) this.#note = "";
    this.#options.found.value = this.#note || (isSought ? found : "");
    this.#options.mark(new Set(this.#matches), this.#current, this.#words);
  }
}

/**
 * The place of `n` among numbers in order.
 *
 * @param {number[]} numbers
 * @param {number} n
 */
function between(numbers, n) {
  const at = numbers.findIndex((each) => each > n);
  return at < 0 ? numbers.length : at;
}
