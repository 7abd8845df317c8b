// The executions of a task, and the log of the selected one: the newest, until another is selected.

import { api, call, readAll, Refused } from "./api.js";
import { $, agoElement, button, element, reconcileChildren } from "./dom.js";
import { isActive } from "./enums.js";
import { headOf, lasted } from "./execution-head.js";
import { isUnsettled } from "./execution-state.js";
import { count } from "./format.js";
import { Files } from "./task-files.js";
import { TaskLog } from "./task-log.js";
import { RunFacts } from "./task-run-facts.js";

/**
 * @import { Execution } from "schemas"
 *
 * @typedef {object} ExecutionsOptions
 * @property {(active: Execution | undefined, all: Execution[]) => void} onChange - With the execution that is queued or
 *   under way.
 * @property {() => boolean} mayRun
 * @property {(execution: Execution) => unknown} onAgain - It is to be run again.
 */

const STEP = 20;
const COMMIT_SHOWN = 12; // characters, of 40
const LOOK_MS = 5000; // position in the queue and ending change without an event

export class Executions {
  #taskId;
  #options;
  #facts = new RunFacts();
  #files;
  #log;
  /** The newest first. @type {Execution[]} */
  #rows = [];
  /** By the execution's id: one that is pressed is not drawn anew meanwhile. @type {Map<string, { look: string, item: HTMLElement }>} */
  #items = new Map();
  #shown = ""; // the execution whose log is on the page
  #limit = STEP;
  #turn = 0; // of the last read

  /**
   * @param {string} taskId
   * @param {ExecutionsOptions} options
   */
  constructor(taskId, options) {
    this.#taskId = taskId;
    this.#options = options;
    this.#files = new Files(taskId);
    this.#log = new TaskLog(taskId);
    $("more-executions").addEventListener("click", () => {
      this.#limit += STEP;
      this.#draw();
    });
    setInterval(() => this.#tick(), 1000);
    setInterval(() => void this.#look(), LOOK_MS);
  }

  get #active() {
    return this.#rows.find(({ status }) => isActive(status));
  }

  /** The id of the newest run that has ended; empty: there is none. */
  get lastRun() {
    return this.#rows.find(({ kind, finished_at: at }) => kind === "run" && at)?.execution_id ?? "";
  }

  /** @throws {Refused} */
  async refresh() {
    const turn = ++this.#turn;
    const newest = this.#rows[0]?.execution_id ?? "";
    /** @type {{ rows: Execution[] }} */
    const { rows } = await readAll(api("tasks", this.#taskId, "executions"));
    if (turn !== this.#turn) return;
    this.#rows = rows;
    this.#choose(newest);
    this.#draw();
    this.#options.onChange(this.#active, this.#rows);
  }

  /**
   * The execution that the address names comes first; one that was selected stays selected, unless it was the newest.
   *
   * @param {string} newest - The newest before these rows.
   */
  #choose(newest) {
    const latest = this.#rows[0]?.execution_id ?? "";
    if (!this.#shown) this.#shown = this.#rows.find(({ execution_id: id }) => id === named())?.execution_id ?? latest;
    else if (this.#shown === newest && latest !== newest) {
      this.#shown = latest;
      history.replaceState(null, "", location.pathname);
    }
  }

  /** Read the execution that is not settled yet. What is read here may be older than what an event brought. */
  async #look() {
    const unsettled = this.#rows.find(isUnsettled);
    if (!unsettled || document.hidden) return;
    const turn = this.#turn;
    const query = new URLSearchParams({ execution_id: unsettled.execution_id });
    try {
      /** @type {Execution} */
      const now = await call("GET", `${api("exec", "status", this.#taskId)}?${query.toString()}`);
      if (turn !== this.#turn) return;
      this.#rows = this.#rows.map((row) => (row.execution_id === now.execution_id ? now : row));
      this.#draw();
      this.#options.onChange(this.#active, this.#rows);
    } catch (error) {
      if (!(error instanceof Refused)) throw error; // the next look, or event, will tell
    }
  }

  /** @param {string} id - Of the execution that is shown from now on. */
  show(id) {
    this.#shown = id;
    history.replaceState(null, "", addressOf(id));
    this.#draw();
  }

  #draw() {
    const giveFocusBack = this.#keepFocus();
    $("no-executions").hidden = this.#rows.length > 0;
    $("more-executions").hidden = this.#rows.length <= this.#limit;
    reconcileChildren(
      $("executions"),
      this.#rows.slice(0, this.#limit).map((row) => this.#itemOf(row)),
    );
    giveFocusBack();
    const shown = this.#rows.find(({ execution_id: id }) => id === this.#shown);
    this.#files.show(shown);
    this.#log.show(shown, addressOf(this.#shown));
    this.#facts.show(shown);
    if (shown) $("log-of").replaceChildren("Of the run that was asked for ", agoElement(shown.queued_at), ".");
  }

  /** A row that is drawn anew gives the focus to its new buttons. */
  #keepFocus() {
    const focused = document.activeElement;
    const [id] = [...this.#items].find(([, { item }]) => item.contains(focused)) ?? [];
    const at = focused instanceof HTMLElement && focused.dataset["does"];
    return () => {
      if (id === undefined || focused === document.activeElement) return;
      const item = this.#items.get(id)?.item;
      const same = item?.querySelector(`[data-does="${at || ""}"]`) ?? item?.querySelector("button");
      if (same instanceof HTMLElement) same.focus();
    };
  }

  /** @param {Execution} execution */
  #itemOf(execution) {
    const { execution_id: id } = execution;
    const mayRepeat = this.#options.mayRun() && !this.#active && execution.kind === "run";
    const look = JSON.stringify([execution, id === this.#shown, mayRepeat]);
    const known = this.#items.get(id);
    if (known?.look === look) return known.item;
    const item = this.#row(execution, mayRepeat);
    known?.item.replaceWith(item); // the others stay where they are
    this.#items.set(id, { look, item });
    return item;
  }

  /**
   * @param {Execution} execution
   * @param {boolean} mayRepeat
   */
  #row(execution, mayRepeat) {
    const { execution_id: id, queued_at: queuedAt, status } = execution;
    const item = element("li");
    item.dataset["current"] = String(id === this.#shown);
    item.dataset["status"] = status;
    const text = element("div");
    const head = element("p");
    head.append(...headOf(execution));
    text.append(head, noteOf(execution));
    const select = button("Log", "small");
    select.dataset["execution"] = id;
    select.dataset["does"] = "log";
    select.ariaPressed = String(id === this.#shown);
    select.append(element("span", ` of the execution of ${queuedAt}`, "unseen"));
    select.addEventListener("click", () => this.show(id));
    const buttons = element("div", "", "fields");
    buttons.append(select);
    if (mayRepeat) buttons.append(this.#againButton(execution));
    item.append(text, buttons);
    return item;
  }

  /** @param {Execution} execution */
  #againButton(execution) {
    const again = button("Run again", "small");
    again.dataset["does"] = "again";
    again.append(element("span", ` what ran at ${execution.queued_at}`, "unseen"));
    again.addEventListener("click", () => this.#options.onAgain(execution));
    return again;
  }

  #tick() {
    const active = this.#active;
    if (!active) return;
    const clock = $("executions").querySelector(`li:has([data-execution="${active.execution_id}"]) .elapsed`);
    if (clock) clock.textContent = lasted(active);
  }
}

/** The execution that the address names. */
const named = () => new URLSearchParams(location.search).get("execution");

/** @param {string} id */
const addressOf = (id) => `${location.pathname}?execution=${id}`;

/** @param {Execution} execution */
function noteOf({ queued_at: queuedAt, started_at: startedAt, log_lines: lines, environment, commit, error }) {
  const note = element("p", "", "note");
  note.append(agoElement(startedAt ?? queuedAt));
  if (lines !== null) note.append(`, ${count(lines)}`);
  if (environment) note.append(`, environment ${environment.name} ${String(environment.version)}`);
  if (commit) {
    const code = element("code", commit.slice(0, COMMIT_SHOWN));
    code.title = commit;
    note.append(", commit ", code);
  }
  if (error) note.append(`. ${error["message"] ?? ""}`);
  return note;
}
