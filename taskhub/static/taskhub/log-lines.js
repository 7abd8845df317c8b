// Lines of one log: those that the page has, in blocks; others are read from the service when they are wanted. No DOM.

/**
 * @import { LogLine } from "schemas"
 *
 * @typedef {Pick<LogLine, "n" | "stream" | "line" | "timestamp" | "partial">} Line
 *
 * @typedef {object} LogLinesOptions
 * @property {(from: number, limit: number) => Promise<{ lines: Line[], next: number | null }>} read - Asks the service.
 *   Rejects with Refused.
 * @property {() => void} onChange - Lines came, or there are more or fewer of them.
 * @property {(error: unknown) => void} onTrouble - Lines could not be read; it is tried again. Null: it has passed.
 */

export const BLOCK = 200; // lines
const BLOCKS = 40; // that are kept
const CHARS = 4_000_000; // likewise; a line may have 64 Ki
const RETRY_MS = 2000;

/** @typedef {{ lines: Map<number, Line>, chars: number }} Block */

/** @param {number} n */
const blockOf = (n) => Math.floor((n - 1) / BLOCK);

export class LogLines {
  /** How many lines the log has, as far as is known. */
  total = 0;

  #options;
  /** @type {Map<number, Block>} */
  #blocks = new Map();
  #chars = 0;
  #wanted = { first: 1, last: 0 };
  #turn = 0; // counts the logs
  #isReading = false;
  #hasTrouble = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retry;
  /** By stream: lines without their end. @type {Map<string, Line>} */
  #partial = new Map();

  /** @param {LogLinesOptions} options */
  constructor(options) {
    this.#options = options;
  }

  /** Begin with another log. */
  reset() {
    this.#turn += 1;
    this.#isReading = false;
    this.total = this.#chars = 0;
    this.#blocks.clear();
    this.#partial.clear();
    this.#wanted = { first: 1, last: 0 };
    clearTimeout(this.#retry);
    this.#setTrouble(null);
    this.#options.onChange();
  }

  /** @param {number} n */
  get(n) {
    return this.#blocks.get(blockOf(n))?.lines.get(n);
  }

  /** Lines without their end: they come after all others. */
  get partial() {
    return [...this.#partial.values()].sort((one, other) => one.n - other.n);
  }

  /** No unfinished line is left: the log is over. */
  dropPartial() {
    this.#partial.clear();
    this.#options.onChange();
  }

  /**
   * The log has at least so many lines.
   *
   * @param {number} lines
   */
  grow(lines) {
    if (lines <= this.total) return;
    this.total = lines;
    this.#options.onChange();
  }

  /**
   * A line that came by itself, or with others. One that is there already is passed over.
   *
   * @param {Line} line
   */
  add(line) {
    if (line.partial) {
      if (line.n > this.total) this.#partial.set(line.stream, line);
    } else this.#keep(line);
    this.#options.onChange();
  }

  /** @param {Line} line */
  #keep(line) {
    const { n, line: text } = line;
    this.total = Math.max(this.total, n);
    for (const [stream, unfinished] of this.#partial) if (unfinished.n <= n) this.#partial.delete(stream);
    const block = this.#block(blockOf(n));
    if (block.lines.has(n)) return;
    block.lines.set(n, line);
    block.chars += text.length;
    this.#chars += text.length;
    if (this.#chars > CHARS) this.#forget(blockOf(n));
  }

  /** @param {number} index */
  #block(index) {
    let block = this.#blocks.get(index);
    if (!block) {
      block = { lines: new Map(), chars: 0 };
      this.#blocks.set(index, block);
      if (this.#blocks.size > BLOCKS) this.#forget(index);
    }
    return block;
  }

  /**
   * Forget the block that is farthest from what is wanted.
   *
   * @param {number} fresh - The block that was just written to; it stays.
   */
  #forget(fresh) {
    const [first, last] = [blockOf(this.#wanted.first), blockOf(this.#wanted.last)];
    /** @param {number} index */
    const distance = (index) => Math.max(first - index, index - last, 0);
    const others = [...this.#blocks.keys()].filter((index) => index !== fresh && distance(index) > 0);
    const farthest = others.sort((one, other) => distance(other) - distance(one))[0];
    if (farthest === undefined) return;
    this.#chars -= this.#blocks.get(farthest)?.chars ?? 0;
    this.#blocks.delete(farthest);
  }

  /**
   * These lines are to be shown: read those that are not here. The last call counts.
   *
   * @param {number} first
   * @param {number} last
   */
  want(first, last) {
    this.#wanted = { first: Math.max(1, first), last: Math.min(last, this.total) };
    if (!this.#isReading && !this.#hasTrouble) void this.#readOn();
  }

  /** The lines to read next: whole blocks, so that a reader who scrolls does not ask for each line. */
  get #missing() {
    const { first, last } = this.#wanted;
    if (last < first) return null;
    const end = Math.min(this.total, (blockOf(last) + 1) * BLOCK);
    let from = first;
    while (from <= last && this.get(from)) from += 1;
    if (from > last) return null;
    while (from > blockOf(first) * BLOCK + 1 && !this.get(from - 1)) from -= 1;
    let upto = from;
    while (upto < end && !this.get(upto + 1)) upto += 1;
    return { from, limit: upto - from + 1 };
  }

  async #readOn() {
    const turn = this.#turn;
    this.#isReading = true;
    try {
      for (let missing = this.#missing; missing; missing = this.#missing) {
        const answer = await this.#options.read(missing.from, missing.limit);
        if (turn !== this.#turn) return;
        this.#setTrouble(null);
        if (!this.#take(missing.from, answer)) return;
      }
    } catch (error) {
      if (turn === this.#turn) this.#setTrouble(error);
    } finally {
      if (turn === this.#turn) this.#isReading = false;
    }
  }

  /**
   * Whether there is a reason to ask on.
   *
   * @param {number} from
   * @param {{ lines: Line[], next: number | null }} answer
   */
  #take(from, { lines, next }) {
    for (const line of lines) {
      if (!line.partial) this.#keep(line);
      else if (line.n > this.total) this.#partial.set(line.stream, line);
    }
    const isEnd = !lines.some(({ partial }) => !partial);
    // A finished log that has fewer lines than was said; a running one may be read further by another process.
    if (isEnd && next === null) this.total = Math.min(this.total, from - 1);
    else if (isEnd) this.#retryLater();
    this.#options.onChange();
    return !isEnd;
  }

  /** @param {unknown} error - Null: it has passed. */
  #setTrouble(error) {
    if (error !== null) this.#retryLater();
    if (error !== null || this.#hasTrouble) this.#options.onTrouble(error);
    this.#hasTrouble = error !== null;
  }

  #retryLater() {
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => {
      if (!this.#isReading) void this.#readOn();
    }, RETRY_MS);
  }
}
