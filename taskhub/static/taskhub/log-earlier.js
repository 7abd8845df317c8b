// Search in the lines of a log that have left the page: the service looks through the whole log.

import { $, element } from "./dom.js";
import { tryAction } from "./forms.js";

/**
 * @import { LogLine } from "schemas"
 *
 * @typedef {{ lines: LogLine[], next: number | null }} Found
 *
 * @typedef {object} EarlierOptions
 * @property {HTMLElement} log - The lines on the page.
 * @property {HTMLElement} earlier - Shown when lines have left the page.
 * @property {HTMLInputElement} field - What is sought.
 * @property {(q: string, from: number, limit: number) => Promise<Found>} find - Asks the service.
 */

const LIMIT = 100;
const TYPING_MS = 300;

export class EarlierSearch {
  #options;
  #next = 1;
  #search = 0; // counts them: an answer that comes late is dropped
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #typing;

  /** @param {EarlierOptions} options */
  constructor(options) {
    this.#options = options;
    options.field.addEventListener("input", () => this.#soon());
    $("more-found").addEventListener("click", () => void this.#more(this.#search));
    // Lines leave the page while there is a search.
    new MutationObserver(() => this.#soon()).observe(options.earlier, { attributeFilter: ["hidden"] });
  }

  /** Forget what was found: another log is shown. */
  reset() {
    this.#search += 1;
    this.#next = 1;
    $("earlier-found").hidden = true;
    $("earlier-lines").replaceChildren();
  }

  #soon() {
    this.reset();
    clearTimeout(this.#typing);
    if (this.#options.field.value && !this.#options.earlier.hidden)
      this.#typing = setTimeout(() => void this.#more(this.#search), TYPING_MS);
  }

  get #firstOnPage() {
    return Number(this.#options.log.querySelector(".number")?.textContent ?? Infinity);
  }

  /** @param {number} search */
  async #more(search) {
    const { field, find } = this.#options;
    await tryAction($("log-problem"), async () => {
      const { lines, next } = await find(field.value, this.#next, LIMIT);
      if (search !== this.#search) return;
      this.#next = next ?? Infinity;
      const before = this.#firstOnPage;
      const rows = lines.filter(({ n }) => n < before).map(({ n, line }) => rowOf(n, line));
      $("earlier-lines").append(...rows);
      $("more-found").hidden = this.#next >= before;
      $("earlier-found").hidden = !$("earlier-lines").childElementCount && this.#next >= before;
    });
  }
}

/**
 * @param {number} n
 * @param {string} line
 */
function rowOf(n, line) {
  const row = element("li", line);
  row.value = n;
  return row;
}
