// The executions of a task, and the log of the selected one: the newest, until another is selected.

import { api, call, file, readAll, Refused } from "./api.js";
import { $, button, element, saveFile, timeElement } from "./dom.js";
import { entryOf, enums, isActive } from "./enums.js";
import { isUnsettled, stateText } from "./execution-state.js";
import { tryAction } from "./forms.js";
import { count, duration } from "./format.js";
import { indicator, withButton } from "./indicator.js";
import { EarlierSearch } from "./log-earlier.js";
import { LogSearch } from "./log-search.js";
import { LogView } from "./log.js";
import { Stream } from "./stream.js";
import { Files } from "./task-files.js";

/**
 * @import { Execution, LogTail } from "schemas"
 */

const STEP = 20;
const LOOK_MS = 5000; // position in the queue and ending change without an event

export class Executions {
  #taskId;
  #onChange;
  #files;
  #log;
  #earlier;
  #stream;
  /** The newest first. @type {Execution[]} */
  #rows = [];
  #shown = ""; // the execution whose log is on the page
  #limit = STEP;
  #turn = 0; // of the last read

  /**
   * @param {string} taskId
   * @param {(active: Execution | undefined) => void} onChange - With the execution that is queued or under way.
   */
  constructor(taskId, onChange) {
    this.#taskId = taskId;
    this.#onChange = onChange;
    this.#files = new Files(taskId);
    this.#log = logView();
    logSearch(this.#log);
    this.#earlier = new EarlierSearch({
      log: $("log"),
      earlier: $("earlier"),
      field: $("sought", HTMLInputElement),
      find: (q, from, limit) => this.#find(q, from, limit),
    });
    this.#stream = this.#logStream();
    withButton($("log-state"), this.#stream);
    $("download").addEventListener("click", () => void tryAction($("log-problem"), () => this.#download()));
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

  /** @throws {Refused} */
  async refresh() {
    const turn = ++this.#turn;
    const newest = this.#rows[0]?.execution_id ?? "";
    /** @type {{ rows: Execution[] }} */
    const { rows } = await readAll(api("tasks", this.#taskId, "executions"));
    if (turn !== this.#turn) return;
    this.#rows = rows;
    const latest = rows[0]?.execution_id ?? "";
    // An older one that was selected stays selected.
    if (latest !== newest && this.#shown === newest) this.#show(latest);
    this.#draw();
    this.#onChange(this.#active);
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
      this.#onChange(this.#active);
    } catch (error) {
      if (!(error instanceof Refused)) throw error; // the next look, or event, will tell
    }
  }

  #logStream() {
    return new Stream({
      kind: "execution-log",
      target: () => (this.#shown ? { task_id: this.#taskId, execution_id: this.#shown } : null),
      onState: indicator($("log-state")),
      onReset: () => {
        this.#log.reset();
        this.#earlier.reset();
      },
      onEvent: ({ name, data }) => {
        if (name === "log") this.#log.add(data);
        else if (name === "log-error") this.#log.fail(data);
        else if (name === "log-complete") this.#log.complete(data);
      },
    });
  }

  /** @param {string} id */
  #show(id) {
    this.#shown = id;
    $("log-part").hidden = !id;
    this.#stream.connect();
    this.#draw();
  }

  #draw() {
    const focused = document.activeElement instanceof HTMLElement && document.activeElement.dataset["execution"];
    $("no-executions").hidden = this.#rows.length > 0;
    $("more-executions").hidden = this.#rows.length <= this.#limit;
    $("executions").replaceChildren(...this.#rows.slice(0, this.#limit).map((row) => this.#row(row)));
    if (focused) /** @type {HTMLElement | null} */ (document.querySelector(`[data-execution="${focused}"]`))?.focus();
    const shown = this.#rows.find(({ execution_id: id }) => id === this.#shown);
    this.#files.show(shown);
    if (shown) $("log-of").replaceChildren("Of the execution queued at ", timeElement(shown.queued_at), ".");
  }

  /** @param {Execution} execution */
  #row(execution) {
    const { execution_id: id, queued_at: queuedAt, status } = execution;
    const item = element("li");
    item.dataset["current"] = String(id === this.#shown);
    item.dataset["status"] = status;
    const text = element("div");
    text.append(headOf(execution), noteOf(execution));
    const select = button("Log", "small");
    select.dataset["execution"] = id;
    select.ariaPressed = String(id === this.#shown);
    select.append(element("span", ` of the execution of ${queuedAt}`, "unseen"));
    select.addEventListener("click", () => this.#show(id));
    item.append(text, select);
    return item;
  }

  #tick() {
    const active = this.#active;
    if (!active) return;
    const clock = $("executions").querySelector(`li:has([data-execution="${active.execution_id}"]) .elapsed`);
    if (clock) clock.textContent = lasted(active);
  }

  async #download() {
    const address = `${api("exec", "logs", this.#taskId, "raw")}?execution_id=${this.#shown}`;
    saveFile(await file(address), `task-${this.#shown}.log`);
  }

  /**
   * @param {string} q
   * @param {number} from
   * @param {number} limit
   * @returns {Promise<LogTail>}
   * @throws {Refused}
   */
  #find(q, from, limit) {
    const query = new URLSearchParams({ execution_id: this.#shown, q, from: String(from), limit: String(limit) });
    return call("GET", `${api("exec", "logs", this.#taskId)}?${query.toString()}`);
  }
}

const logView = () =>
  new LogView({
    log: $("log"),
    pause: $("pause"),
    copy: $("copy"),
    toEnd: $("to-end"),
    count: $("count", HTMLOutputElement),
    copied: $("copied"),
    earlier: $("earlier"),
    outcome: $("outcome"),
  });

/** @param {LogView} log */
const logSearch = (log) =>
  new LogSearch({
    log: $("log"),
    form: $("search"),
    field: $("sought", HTMLInputElement),
    previous: $("previous"),
    found: $("found", HTMLOutputElement),
    onFound: () => log.unfollow(),
  });

/** @param {Execution} execution */
function headOf(execution) {
  const { status, exit_code: code } = execution;
  const { isActive: runs, isSuccess } = entryOf(enums().executionStatuses, status);
  const word = element("strong", status.replace("_", " "));
  if (!runs) word.dataset["good"] = String(isSuccess);
  const time = lasted(execution);
  const state = stateText(execution);
  const head = element("p");
  head.append(word, code === null ? "" : `, exit code ${code}`, time && ", ", element("span", time, "elapsed"));
  head.append(state && ", ", element("span", state, "state"));
  return head;
}

/** @param {Execution} execution */
function noteOf({ queued_at: queuedAt, started_at: startedAt, log_lines: lines, error }) {
  const note = element("p", "", "note");
  note.append(timeElement(startedAt ?? queuedAt));
  if (lines !== null) note.append(`, ${count(lines)}`);
  if (error) note.append(`. ${error["message"] ?? ""}`);
  return note;
}

/** @param {Execution} execution */
const lasted = ({ started_at: from, finished_at: to }) => (from ? duration(from, to) : "");
