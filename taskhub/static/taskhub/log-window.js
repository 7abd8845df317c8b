// Log view of any size: of a log's lines only those in view, and some around them, are in the page.
//
// The rows stand between two empty spaces that stand for all other lines. One row is the anchor: whatever rows come and
// go around it, it stays where it is in the view.

import { element, reconcileChildren } from "./dom.js";
import { bringIntoView, highlight } from "./log-highlight.js";
import { lineInSpace, rowsAround, spacePx } from "./log-layout.js";
import { emptyRow, rowOf } from "./log-row.js";
import { copyLines } from "./log-selection.js";

/**
 * @import { Range } from "./log-layout.js"
 * @import { LogLines } from "./log-lines.js"
 *
 * @typedef {object} LogWindowOptions
 * @property {HTMLElement} log - It scrolls.
 * @property {HTMLElement} toEnd - The button to its end.
 * @property {LogLines} lines
 * @property {(n: number, isRange: boolean) => void} onPick - The number of a line was pressed; with Shift, a range.
 *
 * @typedef {{ n: number, top: number, isJump: boolean }} Anchor - `top`: px from the view's edge to the row's.
 */

const CALM_MS = 2000;
const CALM_LINES = 5; // more at once are too many to be read aloud
const NEAR_END_PX = 8;
const SELECTED_ROWS = 1000; // are kept for a selection of text
const WRAPPED = 10; // a line that does not wrap takes so much less room
const INPUTS = ["wheel", "touchstart", "pointerdown", "keydown"]; // what people scroll with

export class LogWindow {
  #options;
  #above = space();
  #box = element("div", "", "rows");
  #below = space();
  /** By number. @type {Map<number, HTMLElement>} */
  #rows = new Map();
  #range = { first: 1, last: 0 };
  /** @type {Anchor} */
  #anchor = { n: 1, top: 0, isJump: false };
  #frame = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #calm;
  #isFollowing = true;
  #isHeld = false; // at the end until a person scrolls; at a line that was jumped to until its rows are read
  #paused = -1; // how many lines there were then
  #drawnTotal = 0;
  #hasTimes = false;
  /** @type {Range | null} */
  #picked = null;
  #current = 0;
  /** @type {Set<number>} */
  #found = new Set();
  #words = ""; // that were found
  #isSought = false; // the words of the current line are to come into view

  /** The address of the log, without a line. */
  link = "";

  /** @param {LogWindowOptions} options */
  constructor(options) {
    this.#options = options;
    const { log, toEnd } = options;
    log.replaceChildren(this.#above, this.#box, this.#below);
    toEnd.addEventListener("click", () => {
      log.focus(); // the button is about to disappear
      // A smooth scroll that is under way continues after ours: hold the end against it.
      this.#isHeld = true;
      this.follow();
    });
    for (const name of INPUTS) log.addEventListener(name, () => (this.#isHeld = false), { passive: true });
    log.addEventListener("scroll", () => this.#onScroll(), { passive: true });
    log.addEventListener("click", (event) => this.#onClick(event));
    copyLines(log);
    new ResizeObserver(() => this.soon()).observe(log);
  }

  /** Begin with another log, at its end. */
  reset() {
    this.#rows.clear();
    this.#found.clear();
    this.#picked = null;
    this.#current = this.#drawnTotal = 0;
    this.#isSought = false;
    this.#paused = -1;
    this.follow();
  }

  get isPaused() {
    return this.#paused >= 0;
  }

  /** Lines that came since the pause. */
  get waiting() {
    return this.isPaused ? this.#options.lines.total - this.#paused : 0;
  }

  /** @param {boolean} isPaused */
  setPaused(isPaused) {
    this.#paused = isPaused ? this.#options.lines.total : -1;
    this.soon();
  }

  /** @param {boolean} isShown */
  showTimes(isShown) {
    this.#hasTimes = isShown;
    this.#rows.clear();
    this.soon();
  }

  /** The first line in view. */
  get firstInView() {
    return this.#rows.size ? this.#rowAt(this.#options.log.scrollTop).n : 1;
  }

  get #total() {
    const { total } = this.#options.lines;
    return this.isPaused ? Math.min(this.#paused, total) : total;
  }

  /** Go to the end, and stay there. */
  follow() {
    this.#isFollowing = true;
    this.soon();
  }

  /**
   * Bring a line into view.
   *
   * @param {number} n
   */
  goTo(n) {
    this.#isFollowing = false;
    this.#isHeld = true;
    this.#isSought = n === this.#current;
    this.#anchor = { n, top: this.#options.log.clientHeight / 3, isJump: true };
    this.soon();
  }

  /**
   * Lines that were picked; they are marked.
   *
   * @param {Range | null} lines
   */
  pick(lines) {
    this.#picked = lines;
    this.soon();
  }

  /**
   * Mark what was found, and the one that is looked at (0: none).
   *
   * @param {Set<number>} found
   * @param {number} current
   * @param {string} words
   */
  mark(found, current, words) {
    this.#found = found;
    this.#current = current;
    this.#words = words;
    this.soon();
  }

  /** Draw before the next frame: lines came, or others are to be seen. */
  soon() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      if (this.#options.log.clientHeight) this.#draw();
    });
  }

  // --- Drawing ---------------------------------------------------------------------------------------

  #draw() {
    const { log, lines, toEnd } = this.#options;
    const total = this.#total;
    const { scrollTop, clientHeight } = log; // before anything changes
    const rowPx = parseFloat(getComputedStyle(log).lineHeight);
    if (this.#isFollowing) this.#anchor = { n: Math.max(1, total), top: log.clientHeight - rowPx, isJump: true };
    const { n, top } = this.#anchor;
    const chars = this.#charsOf(log.dataset["wrap"] === "false" ? WRAPPED : 1);
    const wanted = rowsAround({ n, top, total, viewPx: log.clientHeight, rowPx, chars });
    this.#range = this.#withSelection(wanted);
    lines.want(wanted.first, wanted.last);
    this.#hush(total - this.#drawnTotal);
    this.#drawnTotal = total;
    log.style.setProperty("--digits", `${Math.max(3, String(total).length)}ch`);
    this.#renew(total);
    this.#place(spacePx(rowPx, total), total, { scrollTop, clientHeight });
    toEnd.hidden = this.#isFollowing;
    const isThere = n <= total && !this.#box.querySelector("[data-missing]");
    if (!this.#isFollowing && isThere) this.#isHeld = false;
    this.#showWords(isThere);
  }

  /** @param {boolean} isThere - All rows are read. */
  #showWords(isThere) {
    const rows = [...this.#rows].filter(([n]) => this.#found.has(n)).map(([, row]) => row);
    highlight(rows, this.#words);
    if (!this.#isSought || !isThere) return;
    this.#isSought = false;
    const row = this.#rows.get(this.#current);
    if (row) bringIntoView(this.#options.log, row, this.#words);
  }

  /** @param {number} divisor */
  #charsOf(divisor) {
    const { lines } = this.#options;
    return (/** @type {number} */ n) => (lines.get(n)?.line.length ?? 0) / divisor;
  }

  /**
   * Rows with selected text stay, or the selection would be lost.
   *
   * @param {Range} wanted
   */
  #withSelection(wanted) {
    const selection = getSelection();
    if (!selection || selection.isCollapsed || !this.#box.contains(selection.anchorNode)) return wanted;
    const first = Math.min(wanted.first, this.#range.first);
    const last = Math.max(wanted.last, Math.min(this.#range.last, this.#total));
    return last - first < SELECTED_ROWS ? { first, last } : wanted;
  }

  /** @param {number} total */
  #renew(total) {
    const { first, last } = this.#range;
    /** @type {Map<number, HTMLElement>} */
    const rows = new Map();
    for (let n = first; n <= last; n += 1) rows.set(n, this.#row(n));
    this.#rows = rows;
    for (const [n, row] of rows) this.#show(n, row);
    const unfinished = last === total && !this.isPaused ? this.#options.lines.partial : [];
    const more = unfinished.map((line) => {
      const row = rowOf(line, { hasTime: this.#hasTimes });
      row.dataset["partial"] = "";
      return row;
    });
    reconcileChildren(this.#box, [...rows.values(), ...more]);
  }

  /** @param {number} n */
  #row(n) {
    const line = this.#options.lines.get(n);
    const known = this.#rows.get(n);
    if (known && (!line || !("missing" in known.dataset))) return known;
    return line ? rowOf(line, { hasTime: this.#hasTimes, link: this.link }) : emptyRow(n);
  }

  /**
   * @param {number} n
   * @param {HTMLElement} row
   */
  #show(n, row) {
    const isPicked = this.#picked !== null && n >= this.#picked.first && n <= this.#picked.last;
    row.classList.toggle("picked", isPicked);
    row.classList.toggle("found", this.#found.has(n));
    row.classList.toggle("current", n === this.#current);
  }

  /**
   * Set the empty spaces so that the anchor is where it is to be.
   *
   * @param {number} px - What a line counts that has no row.
   * @param {number} total
   * @param {{ scrollTop: number, clientHeight: number }} view
   */
  #place(px, total, { scrollTop, clientHeight }) {
    const { log } = this.#options;
    const { first, last } = this.#range;
    const { n, top, isJump } = this.#anchor;
    // While the rows are measured there is room below: less would move the view, and end a scroll that is under way.
    setHeight(this.#below, scrollTop + clientHeight);
    const row = this.#rows.get(Math.min(Math.max(n, first), last));
    const before = row ? row.offsetTop - this.#box.offsetTop : 0;
    const padding = this.#above.offsetTop;
    let height = Math.round(scrollTop + top - before - padding);
    if (first === 1) height = 0;
    else if (isJump || height <= 0) height = Math.round((first - 1) * px);
    setHeight(this.#above, height);
    setHeight(this.#below, (total - last) * px);
    const wanted = this.#isFollowing ? log.scrollHeight : padding + height + before - top;
    if (Math.abs(log.scrollTop - wanted) >= 1) log.scrollTop = wanted;
  }

  // --- Scrolling -------------------------------------------------------------------------------------

  #onScroll() {
    if (!this.#isHeld) this.#look();
    this.soon();
  }

  /** Find the row that is at the upper edge of the view, and whether the view is at the end. */
  #look() {
    const { log } = this.#options;
    const { scrollTop, clientHeight, scrollHeight } = log;
    const { first, last } = this.#range;
    const [upper, lower] = [this.#box.offsetTop, this.#below.offsetTop];
    this.#isFollowing = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
    const before = { first: 1, last: first - 1 };
    const after = { first: last + 1, last: this.#total };
    if (scrollTop + clientHeight < upper) this.#anchor = inSpace(this.#above, before, scrollTop);
    else if (scrollTop > lower) this.#anchor = inSpace(this.#below, after, scrollTop);
    else this.#anchor = this.#rowAt(scrollTop);
  }

  /** @param {number} scrollTop */
  #rowAt(scrollTop) {
    for (const [n, row] of this.#rows)
      if (row.offsetTop + row.offsetHeight > scrollTop) return at(n, row.offsetTop - scrollTop);
    return at(this.#range.last, 0);
  }

  /** @param {MouseEvent} event */
  #onClick(event) {
    const number = event.target instanceof Element ? event.target.closest("a.number") : null;
    if (!number || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.#options.log.focus({ preventScroll: true }); // rows come and go
    this.#options.onPick(Number(number.textContent), event.shiftKey);
  }

  /**
   * A screen reader reads slow lines aloud; fast ones are silent, and so are those that a reader scrolls to.
   *
   * @param {number} lines - New ones, at once.
   */
  #hush(lines) {
    const { log } = this.#options;
    if (this.#isFollowing && lines <= CALM_LINES && this.#calm === undefined) return;
    clearTimeout(this.#calm);
    log.ariaLive = "off";
    this.#calm = setTimeout(() => {
      this.#calm = undefined;
      if (this.#isFollowing) log.ariaLive = "polite";
    }, CALM_MS);
  }
}

/**
 * @param {number} n
 * @param {number} top
 * @returns {Anchor}
 */
const at = (n, top) => ({ n, top, isJump: false });

/**
 * The line at the upper edge of the view, where that is in an empty space. The line is put exactly where the space had
 * it: the log keeps its height, and a scroll to its end that is under way ends there.
 *
 * @param {HTMLElement} place
 * @param {Range} lines - For which it stands.
 * @param {number} scrollTop
 */
function inSpace(place, lines, scrollTop) {
  const px = place.offsetHeight / Math.max(1, lines.last - lines.first + 1);
  const n = lineInSpace(scrollTop - place.offsetTop, place.offsetHeight, lines);
  return at(n, place.offsetTop + (n - lines.first) * px - scrollTop);
}

function space() {
  const made = element("div", "", "space");
  made.ariaHidden = "true";
  return made;
}

/**
 * @param {HTMLElement} place
 * @param {number} px
 */
function setHeight(place, px) {
  const height = `${Math.max(0, Math.round(px))}px`;
  if (place.style.height !== height) place.style.height = height;
}
