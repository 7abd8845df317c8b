// The last events of all streams of a page, as they came.

import { element } from "./dom.js";

const KEEP = 200;
const CHARS = 2000; // of an event's data; the rest is left out
const EVERY_MS = 250; // fast logs bring thousands a second

/** @typedef {{ stream: string, type: string, id: string, data: string, at: Date }} Raw */

export class RawEvents {
  #list;
  #kept;
  #count;
  #total = 0;
  /** @type {Raw[]} */
  #waiting = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {{ list: HTMLElement, kept: HTMLOutputElement, count: HTMLOutputElement }} elements */
  constructor({ list, kept, count }) {
    this.#list = list;
    this.#kept = kept;
    this.#count = count;
  }

  /**
   * @param {string} stream - Its name on the page.
   * @param {MessageEvent<string>} message
   */
  add(stream, { type, lastEventId: id, data }) {
    this.#total += 1;
    this.#waiting.push({ stream, type, id, data, at: new Date() });
    if (this.#waiting.length > 2 * KEEP) this.#waiting.splice(0, this.#waiting.length - KEEP);
    this.#timer ??= setTimeout(() => this.#draw(), EVERY_MS);
  }

  #draw() {
    this.#timer = undefined;
    this.#list.prepend(...this.#waiting.splice(0).slice(-KEEP).reverse().map(row));
    while (this.#list.childElementCount > KEEP) this.#list.lastElementChild?.remove();
    this.#kept.value = String(this.#list.childElementCount);
    this.#count.value = this.#total.toLocaleString("en");
  }
}

/** @param {Raw} event */
function row({ stream, type, id, data, at }) {
  const item = element("li");
  item.dataset["event"] = type;
  item.append(
    element("time", at.toISOString().slice(11, 23)),
    element("span", stream),
    element("strong", type),
    element("span", id ? `id ${id}` : "no id"),
    element("code", data.length > CHARS ? `${data.slice(0, CHARS)}…` : data),
  );
  return item;
}
