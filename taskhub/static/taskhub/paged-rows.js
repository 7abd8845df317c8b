// Rows of a list that grows at its head, the newest first, read in pages.

import { call, pathOf } from "./api.js";

/** @import { Page } from "./api.js" */

/** @template {{ id: number, at: string }} T */
export class PagedRows {
  #address;
  /** By their id. @type {Map<number, T>} */
  #rows = new Map();
  /** The address of the next page. @type {string | null} */
  #next = null;

  /** @param {string} address of the first page */
  constructor(address) {
    this.#address = address;
  }

  /** The newest first. */
  get items() {
    return [...this.#rows.values()].sort((one, other) => other.id - one.id);
  }

  get hasMore() {
    return this.#next !== null;
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

  /**
   * Read the next page of older rows, if there is one.
   *
   * @throws {Refused}
   */
  async more() {
    if (!this.#next) return;
    /** @type {Page<T>} */
    const { results, next } = await call("GET", pathOf(this.#next));
    this.#next = next;
    this.#add(results);
  }

  /** @param {T[]} rows */
  #add(rows) {
    for (const row of rows) this.#rows.set(row.id, row);
  }
}
