// The log of an execution on a task's page: of any size, live while it runs, read in windows, searched by the service.

import { textOf } from "./ansi.js";
import { api, call, file, Refused } from "./api.js";
import { $, saveFile } from "./dom.js";
import { isActive } from "./enums.js";
import { headOf } from "./execution-head.js";
import { onPress, showError } from "./forms.js";
import { count } from "./format.js";
import { indicator, withButton } from "./indicator.js";
import { hashOfLines, linesOfHash, linesOfText } from "./log-layout.js";
import { LogLines } from "./log-lines.js";
import { LogSearch } from "./log-search.js";
import { LogWindow } from "./log-window.js";
import { Stream } from "./stream.js";

/**
 * @import { Execution, LogFound, LogTail } from "schemas"
 * @import { Range } from "./log-layout.js"
 */

const TAIL = 200; // lines of a running log, before it is followed
const FRESH_MS = 20_000; // a log that is younger is followed from its first line on
const SETTINGS = { wrap: "taskhub-log-wrap", times: "taskhub-log-times" }; // in localStorage

export class TaskLog {
  #taskId;
  #lines;
  #window;
  #search;
  #stream;
  #id = ""; // the execution whose log is shown
  #isComplete = false;
  #turn = 0; // counts the logs
  /** @type {Range | null} */
  #picked = null;

  /** @param {string} taskId */
  constructor(taskId) {
    this.#taskId = taskId;
    this.#lines = new LogLines({
      read: (from, limit) => this.#read({ from: String(from), limit: String(limit) }),
      onChange: () => this.#changed(),
      onTrouble: (error) => this.#showTrouble(error),
    });
    this.#window = new LogWindow({
      log: $("log"),
      toEnd: $("to-end"),
      lines: this.#lines,
      onPick: (n, isRange) => this.#pick(isRange && this.#picked ? joined(this.#picked, n) : { first: n, last: n }),
    });
    this.#search = this.#searchOf(this.#window);
    this.#stream = this.#streamOf();
    withButton($("log-state"), this.#stream);
    this.#listen();
  }

  /**
   * Show the log of an execution, or how it stands now.
   *
   * @param {Execution | undefined} execution
   * @param {string} address - Of this execution, without a line.
   */
  show(execution, address) {
    $("log-part").hidden = !execution;
    if (!execution) return;
    this.#window.link = address;
    this.#showOutcome(execution);
    if (execution.execution_id !== this.#id) this.#begin(execution);
    else if (!this.#isComplete && isFinished(execution)) this.#complete(execution);
    this.#showEmpty(execution);
    $("log-state").hidden = this.#isComplete;
    $("pause").hidden = this.#isComplete && !this.#window.isPaused;
  }

  /** @param {Execution} execution */
  #showEmpty(execution) {
    if (this.#lines.total) delete $("log").dataset["empty"];
    else $("log").dataset["empty"] = isFinished(execution) ? "It wrote nothing." : "Nothing is written yet …";
  }

  /** @param {Execution} execution */
  #showOutcome(execution) {
    const outcome = $("outcome");
    const { error, log_truncated: isCut } = execution;
    const nodes = headOf(execution, { hasClock: false }); // a screen reader would read it aloud each second
    if (error) nodes.push(`. ${error["message"] ?? ""}`);
    if (isCut) nodes.push(" More was written than is kept.");
    const key = nodes.map((node) => (typeof node === "string" ? node : node.textContent)).join("");
    if (outcome.textContent !== key) outcome.replaceChildren(...nodes);
  }

  // --- Where the lines come from -----------------------------------------------------------------------

  /** @param {Execution} execution */
  #begin(execution) {
    this.#turn += 1;
    const isFirst = !this.#id;
    this.#id = execution.execution_id;
    this.#isComplete = false;
    this.#picked = null;
    this.#stream.disconnect();
    this.#lines.reset();
    this.#window.reset();
    this.#setPaused(false);
    // One that ends while it is looked at keeps its height.
    const isShort = isFinished(execution) && (execution.log_lines ?? 0) <= Number($("log").dataset["few"]);
    $("log").dataset["short"] = String(isShort);
    if (isFinished(execution)) this.#complete(execution);
    else void this.#follow(execution);
    if (isFirst) this.#goToHash();
    else this.#search.reset();
  }

  /** @param {Execution} execution */
  #complete(execution) {
    this.#isComplete = true;
    this.#stream.disconnect();
    this.#lines.dropPartial();
    this.#lines.grow(execution.log_lines ?? 0);
  }

  /**
   * Follow a log that is being written from where it is now on; what was written before is read when it is scrolled to.
   *
   * @param {Execution} execution
   */
  async #follow({ started_at: startedAt, execution_id: id }) {
    const turn = this.#turn;
    const isFresh = !startedAt || Date.now() - Date.parse(startedAt) < FRESH_MS;
    const last = isFresh ? 0 : await this.#readTail();
    if (turn === this.#turn && !this.#isComplete) this.#stream.connect({ lastId: last ? `${id}:${last}` : "" });
  }

  /** Read the last lines that there are. Answers the number of the last one; 0 where they cannot be read. */
  async #readTail() {
    const turn = this.#turn;
    try {
      const { lines, next } = await this.#read({ tail: String(TAIL) });
      if (turn === this.#turn) for (const line of lines) this.#lines.add(line);
      return (next ?? 1) - 1;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      return 0; // the stream says what is wrong, and tries again
    }
  }

  #streamOf() {
    return new Stream({
      kind: "execution-log",
      target: () => (this.#id ? { task_id: this.#taskId, execution_id: this.#id } : null),
      onState: indicator($("log-state")),
      onEvent: ({ name, data }) => {
        if (name === "log") this.#lines.add(data);
        else if (name === "log-error") showError($("log-problem"), data.message);
        else if (name === "log-complete") this.#lines.dropPartial();
      },
    });
  }

  /**
   * @param {Record<string, string>} query
   * @returns {Promise<LogTail>}
   * @throws {Refused}
   */
  #read(query) {
    const all = new URLSearchParams({ execution_id: this.#id, ...query });
    return call("GET", `${api("exec", "logs", this.#taskId)}?${all.toString()}`);
  }

  /** @param {LogWindow} view */
  #searchOf(view) {
    return new LogSearch({
      log: $("log"),
      form: $("search"),
      field: $("sought", HTMLInputElement),
      previous: $("previous", HTMLButtonElement),
      next: $("next", HTMLButtonElement),
      firstError: $("first-error"),
      found: $("found", HTMLOutputElement),
      problem: $("log-problem"),
      search: (query) => {
        const all = new URLSearchParams({ execution_id: this.#id, ...query });
        return /** @type {Promise<LogFound>} */ (
          call("GET", `${api("exec", "logs", this.#taskId, "search")}?${all.toString()}`)
        );
      },
      from: () => view.firstInView,
      mark: (found, current, words) => view.mark(found, current, words),
      goTo: (n) => view.goTo(n),
    });
  }

  // --- What is shown -----------------------------------------------------------------------------------

  #changed() {
    if (this.#lines.total || this.#lines.partial.length) delete $("log").dataset["empty"];
    this.#window.soon();
    this.#search.grow();
    const waiting = this.#window.isPaused ? `, ${this.#window.waiting.toLocaleString("en")} waiting` : "";
    $("count", HTMLOutputElement).value = count(this.#lines.total) + waiting;
  }

  /** @param {unknown} error */
  #showTrouble(error) {
    const why = error instanceof Error ? error.message : "";
    showError($("log-problem"), error ? `The lines cannot be read: ${why} Trying again.` : "");
  }

  #listen() {
    $("pause").addEventListener("click", () => this.#setPaused(!this.#window.isPaused));
    onPress($("copy"), $("log-problem"), () => this.#copy());
    onPress($("download"), $("log-problem"), async () => saveFile(await this.#whole(), `task-${this.#id}.log`));
    const [wrap, times] = [$("log-wrap", HTMLInputElement), $("log-times", HTMLInputElement)];
    wrap.checked = localStorage.getItem(SETTINGS.wrap) !== "false";
    times.checked = localStorage.getItem(SETTINGS.times) === "true";
    wrap.addEventListener("change", () => this.#set(wrap, times));
    times.addEventListener("change", () => this.#set(wrap, times));
    this.#set(wrap, times);
    $("go-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const lines = linesOfText($("go-line", HTMLInputElement).value);
      if (!lines) return;
      const { total } = this.#lines;
      const isThere = lines.first <= total;
      $("copied").textContent = isThere ? "" : `The log has ${count(total)}${this.#isComplete ? "" : " so far"}.`;
      if (!isThere) return;
      this.#pick(lines);
      this.#window.goTo(lines.first);
    });
    addEventListener("hashchange", () => this.#goToHash());
  }

  /**
   * @param {HTMLInputElement} wrap
   * @param {HTMLInputElement} times
   */
  #set(wrap, times) {
    localStorage.setItem(SETTINGS.wrap, String(wrap.checked));
    localStorage.setItem(SETTINGS.times, String(times.checked));
    $("log").dataset["wrap"] = String(wrap.checked);
    $("log").dataset["times"] = String(times.checked);
    this.#window.showTimes(times.checked);
  }

  /** @param {boolean} isPaused */
  #setPaused(isPaused) {
    this.#window.setPaused(isPaused);
    $("pause").textContent = isPaused ? "Resume" : "Pause";
    $("copied").textContent = "";
    this.#changed();
  }

  #goToHash() {
    const lines = linesOfHash(location.hash);
    if (!lines) return;
    this.#picked = lines;
    this.#window.pick(lines);
    this.#window.goTo(lines.first);
    // As the browser does with an address of an element.
    $("log").scrollIntoView({ block: "center" });
    $("log").focus({ preventScroll: true });
  }

  /** @param {Range} lines - They are what the address names, and what is copied. */
  #pick(lines) {
    this.#picked = lines;
    this.#window.pick(lines);
    history.replaceState(null, "", this.#window.link + hashOfLines(lines));
  }

  // --- Copies --------------------------------------------------------------------------------------------

  #whole() {
    return file(`${api("exec", "logs", this.#taskId, "raw")}?execution_id=${this.#id}`);
  }

  /** The lines that were picked, else all of them; without their colours. */
  async #copy() {
    const texts = this.#picked ? await this.#textsOf(this.#picked) : await this.#allTexts();
    try {
      await navigator.clipboard.writeText(texts.map((text) => `${text}\n`).join(""));
      $("copied").textContent = `Copied ${count(texts.length)}.`;
    } catch {
      // Only pages of this machine, or over HTTPS, may write to the clipboard.
      $("copied").textContent = "This browser does not let the page copy. Download the log instead.";
    }
  }

  async #allTexts() {
    const text = await (await this.#whole()).text();
    return text.split("\n").slice(0, -1).map(textOf);
  }

  /** @param {Range} lines */
  async #textsOf({ first, last }) {
    /** @type {string[]} */
    const texts = [];
    /** @type {number | null} */
    let from = first;
    while (from !== null && from <= last) {
      const limit = Math.min(last - from + 1, 10_000);
      /** @type {LogTail} */
      const { lines, next } = await this.#read({ from: String(from), limit: String(limit) });
      texts.push(...lines.map(({ line }) => textOf(line)));
      from = lines.length ? next : null;
    }
    return texts;
  }
}

/** @param {Execution} execution */
const isFinished = ({ status, log_lines: lines }) => !isActive(status) && lines !== null;

/**
 * @param {Range} lines
 * @param {number} n
 */
const joined = ({ first, last }, n) => ({ first: Math.min(first, n), last: n < first ? last : Math.max(first, n) });
