// The log: lines wait, and are put on the page once per frame. However many there are, it keeps a few thousand.

import { rendered } from "./ansi.js";

const ROWS = 3000;
const CHARS = 2_000_000; // a line may have 64 Ki
const PER_FRAME = 150;
const CALM_MS = 2000;
const CALM_LINES = 5; // more at once are too many to be read aloud
const NEAR_END_PX = 8;
const INPUTS = ["wheel", "touchstart", "pointerdown", "keydown"]; // what people scroll with

export const number = (n, noun = "line") => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

function cell(name, ...content) {
  const made = document.createElement("span");
  made.className = name;
  made.append(...content);
  return made;
}

export class LogView {
  constructor({ log, pause, clear, copy, toEnd, count, copied, earlier, outcome }) {
    Object.assign(this, { log, pause, count, copied, earlier, outcome, toEnd });
    this.frame = 0;
    this.calm = 0;
    this.held = false; // at the end, until somebody scrolls anew
    this.reset();
    pause.addEventListener("click", () => this.#setPaused(!this.paused));
    clear?.addEventListener("click", () => this.clear());
    copy.addEventListener("click", () => this.copy());
    toEnd.addEventListener("click", () => {
      log.focus(); // the button is about to go
      // A smooth scroll that is under way goes on after ours, and would have the last word.
      this.held = true;
      this.#follow();
    });
    for (const name of INPUTS) log.addEventListener(name, () => (this.held = false), { passive: true });
    log.addEventListener("scroll", () => (this.held ? this.#follow() : this.#look()), { passive: true });
    // Its lines break elsewhere in a window of another width; the end is to stay in sight.
    new ResizeObserver(() => this.following && this.#follow()).observe(log);
  }

  /** Begin with another log. */
  reset() {
    this.lastLine = 0;
    this.received = 0;
    this.waiting = [];
    this.outcome.textContent = "";
    this.#setPaused(false);
    this.clear();
  }

  add({ n, stream, line }) {
    if (n <= this.lastLine) return; // seen before the connection was lost
    this.lastLine = n;
    this.received += 1;
    this.waiting.push({ n, stream, line });
    if (this.waiting.length > 2 * ROWS) this.#skip();
    this.#soon();
  }

  /** `status` is an execution's: it says more than the code where somebody or something has ended it. */
  complete({ exit_code: code, lines, status, truncated }) {
    const how = code == null ? "Ended without an exit code" : `Ended with exit code ${code}`;
    const why = !status || ["completed", "failed"].includes(status) ? "" : ` (${status.replace("_", " ")})`;
    const cut = truncated ? " More was written than is kept." : "";
    this.outcome.textContent = `${how}${why} after ${number(lines)}.${cut}`;
    this.outcome.dataset.good = code === 0 && !why;
  }

  fail({ message }) {
    this.outcome.textContent = message;
    this.outcome.dataset.good = false;
  }

  /** Somebody else scrolls: stay where they lead to. */
  letGo() {
    this.held = false;
    this.following = false;
  }

  /** Take what is shown off the page; what waits behind a pause goes on waiting. */
  clear() {
    if (!this.paused) this.waiting = [];
    this.log.replaceChildren();
    this.chars = 0;
    this.earlier.hidden = true;
    this.copied.textContent = "";
    this.#follow();
    this.#tell();
  }

  async copy() {
    const texts = this.log.querySelectorAll(".text");
    try {
      await navigator.clipboard.writeText(Array.from(texts, (row) => `${row.textContent}\n`).join(""));
      this.copied.textContent = `Copied ${number(texts.length)}.`;
    } catch {
      // Only pages of this machine, or over HTTPS, may write to the clipboard.
      getSelection().selectAllChildren(this.log);
      this.copied.textContent = "Selected; copy with Ctrl+C.";
    }
  }

  #setPaused(paused) {
    this.paused = paused;
    this.pause.textContent = paused ? "Resume" : "Pause";
    this.receivedBefore = this.received;
    this.#soon();
  }

  #soon() {
    this.frame ||= requestAnimationFrame(() => this.#draw());
  }

  #skip() {
    this.waiting.splice(0, this.waiting.length - ROWS);
    this.earlier.hidden = false;
  }

  #draw() {
    this.frame = 0;
    if (this.paused || !this.waiting.length) {
      this.#tell();
      return;
    }
    if (this.waiting.length > ROWS) this.#skip();
    const batch = this.waiting.splice(0, PER_FRAME);
    this.#hush(batch.length);
    this.log.append(...batch.map((entry) => this.#row(entry)));
    while (this.log.childElementCount > ROWS || (this.chars > CHARS && this.log.childElementCount > 1)) {
      this.chars -= this.log.firstElementChild.textContent.length;
      this.log.firstElementChild.remove();
      this.earlier.hidden = false;
    }
    if (this.following) this.#follow();
    this.#tell();
    if (this.waiting.length) this.#soon();
  }

  #row({ n, stream, line }) {
    const row = document.createElement("div");
    row.dataset.stream = stream;
    row.append(cell("number", n), cell("mark", stream === "stderr" ? "err" : ""), cell("text", ...rendered(line)));
    this.chars += row.textContent.length;
    return row;
  }

  /** A screen reader reads slow lines aloud, and is spared fast ones. */
  #hush(lines) {
    if (lines <= CALM_LINES && !this.calm) return;
    clearTimeout(this.calm);
    this.log.ariaLive = "off";
    this.calm = setTimeout(() => {
      this.calm = 0;
      this.log.ariaLive = "polite";
    }, CALM_MS);
  }

  #look() {
    this.following = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < NEAR_END_PX;
    this.toEnd.hidden = this.following;
  }

  #follow() {
    this.following = true;
    this.log.scrollTop = this.log.scrollHeight;
    this.toEnd.hidden = true;
  }

  #tell() {
    const waiting = this.paused ? `, ${(this.received - this.receivedBefore).toLocaleString("en")} waiting` : "";
    this.count.value = number(this.received) + waiting;
  }
}
