// Log view of a stream alone: lines are appended once per frame, and the newest few thousand are kept on the page.

import { entryOf, enums } from "./enums.js";
import { count as counted } from "./format.js";
import { rowOf } from "./log-row.js";

/**
 * @import { Line } from "./log-lines.js"
 * @import { LogComplete, StreamError } from "./stream.js"
 *
 * @typedef {object} LogElements
 * @property {HTMLElement} log - The lines; it scrolls.
 * @property {HTMLElement} pause - Its button.
 * @property {HTMLElement} [clear] - Its button.
 * @property {HTMLElement} copy - Its button.
 * @property {HTMLElement} toEnd - Its button.
 * @property {HTMLOutputElement} count - Lines received.
 * @property {HTMLElement} copied - What Copy did.
 * @property {HTMLElement} earlier - Shown when earlier lines have left the page.
 * @property {HTMLElement} outcome - How the log ended.
 */

const ROWS = 3000;
const CHARS = 2_000_000; // a line may have 64 Ki
const PER_FRAME = 150;
const CALM_MS = 2000;
const CALM_LINES = 5; // more at once are too many to be read aloud
const NEAR_END_PX = 8;
const INPUTS = ["wheel", "touchstart", "pointerdown", "keydown"]; // what people scroll with

export class LogView {
  #elements;
  #frame = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #calm;
  #isHeld = false; // at the end, until a person scrolls
  #isFollowing = true;
  #isPaused = false;
  #lastLine = 0;
  #received = 0;
  #receivedBefore = 0; // the pause
  #chars = 0; // on the page
  /** @type {Line[]} */
  #waiting = [];
  /** @type {Map<string, Line>} */
  #partial = new Map(); // by stream: a line without its end

  /** @param {LogElements} elements */
  constructor(elements) {
    this.#elements = elements;
    const { log, pause, clear, copy, toEnd } = elements;
    this.reset();
    pause.addEventListener("click", () => this.#setPaused(!this.#isPaused));
    clear?.addEventListener("click", () => this.clear());
    copy.addEventListener("click", () => void this.copy());
    toEnd.addEventListener("click", () => {
      log.focus(); // the button is about to disappear
      // A smooth scroll that is under way continues after ours: hold the end against it.
      this.#isHeld = true;
      this.#follow();
    });
    for (const name of INPUTS) log.addEventListener(name, () => (this.#isHeld = false), { passive: true });
    log.addEventListener("scroll", () => (this.#isHeld ? this.#follow() : this.#look()), { passive: true });
    // Lines wrap elsewhere in a window of another width; the end stays in view.
    new ResizeObserver(() => {
      if (this.#isFollowing) this.#follow();
    }).observe(log);
  }

  /** Begin with another log. */
  reset() {
    this.#lastLine = 0;
    this.#received = 0;
    this.#waiting = [];
    this.#partial.clear();
    this.#elements.outcome.textContent = "";
    this.#setPaused(false);
    this.clear();
  }

  /** @param {Line} line */
  add({ n, stream, line, timestamp, partial }) {
    if (n <= this.#lastLine) return; // received before the connection was lost
    if (partial) {
      this.#partial.set(stream, { n, stream, line, timestamp });
      this.#soon();
      return;
    }
    this.#lastLine = n;
    for (const [name, unfinished] of this.#partial) if (unfinished.n <= n) this.#partial.delete(name);
    this.#received += 1;
    this.#waiting.push({ n, stream, line, timestamp });
    if (this.#waiting.length > 2 * ROWS) this.#skip();
    this.#soon();
  }

  /** @param {LogComplete} end - An execution's status is shown where the exit code does not say it. */
  complete({ exit_code: code, lines, status, truncated }) {
    const { outcome } = this.#elements;
    const how = code === null ? "Ended without an exit code" : `Ended with exit code ${code}`;
    const isOwnEnd = !status || entryOf(enums().executionStatuses, status).isOwnEnd;
    const why = isOwnEnd ? "" : ` (${status.replace("_", " ")})`;
    const cut = truncated ? " More was written than is kept." : "";
    outcome.textContent = `${how}${why} after ${counted(lines)}.${cut}`;
    outcome.dataset["good"] = String(code === 0 && isOwnEnd);
    this.#partial.clear();
    this.#soon();
  }

  /** @param {StreamError} error */
  fail({ message }) {
    this.#elements.outcome.textContent = message;
    this.#elements.outcome.dataset["good"] = "false";
  }

  /** Remove the lines from the page; those that wait behind a pause are kept. */
  clear() {
    const { log, earlier, copied } = this.#elements;
    if (!this.#isPaused) this.#waiting = [];
    log.replaceChildren();
    this.#chars = 0;
    earlier.hidden = true;
    copied.textContent = "";
    this.#follow();
    this.#showCount();
  }

  async copy() {
    const { log, copied } = this.#elements;
    const texts = log.querySelectorAll(".text");
    try {
      await navigator.clipboard.writeText(Array.from(texts, (row) => `${row.textContent}\n`).join(""));
      copied.textContent = `Copied ${counted(texts.length)}.`;
    } catch {
      // Only pages of this machine, or over HTTPS, may write to the clipboard.
      getSelection()?.selectAllChildren(log);
      copied.textContent = "Selected; copy with Ctrl+C.";
    }
  }

  /** @param {boolean} isPaused */
  #setPaused(isPaused) {
    this.#isPaused = isPaused;
    this.#elements.pause.textContent = isPaused ? "Resume" : "Pause";
    this.#receivedBefore = this.#received;
    this.#soon();
  }

  #soon() {
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  #skip() {
    this.#waiting.splice(0, this.#waiting.length - ROWS);
    this.#elements.earlier.hidden = false;
  }

  #draw() {
    this.#frame = 0;
    if (this.#isPaused) {
      this.#showCount();
      return;
    }
    this.#removePartial();
    if (!this.#waiting.length) {
      this.#appendPartial();
      this.#showCount();
      return;
    }
    if (this.#waiting.length > ROWS) this.#skip();
    const batch = this.#waiting.splice(0, PER_FRAME);
    this.#hush(batch.length);
    this.#elements.log.append(...batch.map((line) => this.#row(line)));
    this.#trim();
    if (this.#waiting.length) this.#soon();
    else this.#appendPartial();
    if (this.#isFollowing) this.#follow();
    this.#showCount();
  }

  #removePartial() {
    for (const row of this.#elements.log.querySelectorAll("[data-partial]")) {
      this.#chars -= row.textContent.length;
      row.remove();
    }
  }

  /** Lines without their end come last; the whole line replaces them. */
  #appendPartial() {
    for (const line of this.#partial.values()) {
      const row = this.#row(line);
      row.dataset["partial"] = "";
      this.#elements.log.append(row);
    }
    if (this.#partial.size && this.#isFollowing) this.#follow();
  }

  #trim() {
    const { log, earlier } = this.#elements;
    while (log.childElementCount > ROWS || (this.#chars > CHARS && log.childElementCount > 1)) {
      this.#chars -= log.firstElementChild?.textContent.length ?? 0;
      log.firstElementChild?.remove();
      earlier.hidden = false;
    }
  }

  /** @param {Line} line */
  #row(line) {
    const row = rowOf(line);
    this.#chars += row.textContent.length;
    return row;
  }

  /**
   * A screen reader reads slow lines aloud; fast ones are silent.
   *
   * @param {number} lines - At once.
   */
  #hush(lines) {
    if (lines <= CALM_LINES && this.#calm === undefined) return;
    const { log } = this.#elements;
    clearTimeout(this.#calm);
    log.ariaLive = "off";
    this.#calm = setTimeout(() => {
      this.#calm = undefined;
      log.ariaLive = "polite";
    }, CALM_MS);
  }

  #look() {
    const { log, toEnd } = this.#elements;
    this.#isFollowing = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_END_PX;
    toEnd.hidden = this.#isFollowing;
  }

  #follow() {
    const { log, toEnd } = this.#elements;
    this.#isFollowing = true;
    log.scrollTop = log.scrollHeight;
    toEnd.hidden = true;
  }

  #showCount() {
    const waiting = (this.#received - this.#receivedBefore).toLocaleString("en");
    this.#elements.count.value = counted(this.#received) + (this.#isPaused ? `, ${waiting} waiting` : "");
  }
}
