// A list that grows at its head, the newest row first, with a button for earlier ones.

import { call, pathOf } from "./api.js";
import { $ } from "./dom.js";
import { tryAction } from "./forms.js";

/** @import { Page } from "./api.js" */

/** @template {{ id: number }} T */
export class NewestFirst {
  #address;
  #list;
  #more;
  #row;
  /** By the id of what they show. @type {Map<number, HTMLElement>} */
  #rows = new Map();
  /** The address of the next page. @type {string | null} */
  #next = null;

  /**
   * @param {string} address of the first page
   * @param {string} name the id of the list; its button for earlier rows is `more-<name>`
   * @param {(item: T) => HTMLElement} row
   */
  constructor(address, name, row) {
    this.#address = address;
    this.#list = $(name);
    this.#more = $(`more-${name}`);
    this.#row = row;
    this.#more.addEventListener("click", () => void tryAction($("problem"), () => this.#readMore()));
  }

  get isEmpty() {
    return this.#rows.size === 0;
  }

  /**
   * Read the newest rows.
   *
   * @throws {Refused}
   */
  async refresh() {
    /** @type {Page<T>} */
    const { results, next } = await call("GET", this.#address);
    const newest = Math.max(0, ...this.#rows.keys());
    // Where more has come than a page holds, the known rows do not adjoin: begin anew.
    if (!results.some(({ id }) => id <= newest)) {
      this.#rows.clear();
      this.#next = next;
    }
    this.#add(results);
  }

  async #readMore() {
    if (!this.#next) return;
    /** @type {Page<T>} */
    const { results, next } = await call("GET", pathOf(this.#next));
    this.#next = next;
    this.#add(results);
  }

  /** @param {T[]} results */
  #add(results) {
    for (const item of results) if (!this.#rows.has(item.id)) this.#rows.set(item.id, this.#row(item));
    const newestFirst = [...this.#rows].sort(([one], [other]) => other - one);
    this.#list.replaceChildren(...newestFirst.map(([, row]) => row));
    this.#more.hidden = !this.#next;
  }
}
