// The executions of a task, and the log of the one that is looked at: the newest, until another is chosen.

import { api, call, readAll } from "./api.js";
import { $, attempt, element } from "./forms.js";
import { indicator, withButton } from "./indicator.js";
import { LogSearch } from "./log-search.js";
import { LogView, number } from "./log.js";
import { Stream } from "./stream.js";
import { Files } from "./task-files.js";
import { moment, span } from "./words.js";

const ACTIVE = new Set(["queued", "starting", "running"]);
const TAIL = 10_000; // what the service gives of a log at once
const STEP = 20;

export class Executions {
  /** `onChange(active)`: the execution that is under way, or undefined. */
  constructor(taskId, onChange) {
    Object.assign(this, { taskId, onChange });
    this.rows = [];
    this.shown = ""; // the execution whose log is on the page
    this.limit = STEP;
    this.files = new Files(taskId);
    this.log = new LogView({
      log: $("log"),
      pause: $("pause"),
      copy: $("copy"),
      toEnd: $("to-end"),
      count: $("count"),
      copied: $("copied"),
      earlier: $("earlier"),
      outcome: $("outcome"),
    });
    new LogSearch({
      log: $("log"),
      form: $("search"),
      field: $("sought"),
      previous: $("previous"),
      found: $("found"),
      onFound: () => this.log.letGo(),
    });
    this.stream = new Stream({
      kind: "execution-log",
      target: () => (this.shown ? { task_id: taskId, execution_id: this.shown } : null),
      onState: indicator($("log-state")),
      onEvent: (name, data) => this.#take(name, data),
    });
    withButton($("log-state"), this.stream);
    $("download").addEventListener("click", () => attempt($("log-problem"), () => this.#download()));
    $("more-executions").addEventListener("click", () => {
      this.limit += STEP;
      this.#draw();
    });
    setInterval(() => this.#tick(), 1000);
  }

  get active() {
    return this.rows.find(({ status }) => ACTIVE.has(status));
  }

  async refresh() {
    const newest = this.rows[0]?.execution_id ?? "";
    ({ rows: this.rows } = await readAll(api("tasks", this.taskId, "executions")));
    const latest = this.rows[0]?.execution_id ?? "";
    // Who looks at an older one goes on looking at it.
    if (latest !== newest && this.shown === newest) this.#show(latest);
    this.#draw();
    this.onChange(this.active);
  }

  #show(id) {
    this.shown = id;
    $("log-part").hidden = !id;
    this.stream.connect();
    this.#draw();
  }

  #take(name, data) {
    if (name === "reset") this.log.reset();
    if (name === "log") this.log.add(data);
    if (name === "log-error") this.log.fail(data);
    if (name === "log-complete") this.log.complete(data);
  }

  #draw() {
    const focused = document.activeElement?.dataset.execution;
    $("no-executions").hidden = this.rows.length > 0;
    $("more-executions").hidden = this.rows.length <= this.limit;
    $("executions").replaceChildren(...this.rows.slice(0, this.limit).map((row) => this.#row(row)));
    if (focused) $("executions").querySelector(`[data-execution="${focused}"]`)?.focus();
    const shown = this.rows.find(({ execution_id: id }) => id === this.shown);
    this.files.show(shown);
    if (shown) $("log-of").replaceChildren(`Of the execution that was asked for at `, moment(shown.queued_at), ".");
  }

  #row(execution) {
    const { execution_id: id, status, exit_code: code, log_lines: lines, error } = execution;
    const item = element("li");
    item.dataset.current = id === this.shown;
    item.dataset.status = status;
    const head = element("p");
    const word = element("strong", status.replace("_", " "));
    if (!ACTIVE.has(status)) word.dataset.good = status === "completed";
    const clock = element("span", lasted(execution), { className: "elapsed" });
    head.append(word, code === null ? "" : `, exit code ${code}`, lasted(execution) ? ", " : "", clock);
    const more = element("p", "", { className: "note" });
    more.append(moment(execution.started_at ?? execution.queued_at));
    if (lines !== null) more.append(`, ${number(lines)}`);
    if (error) more.append(`. ${error.message}`);
    const button = element("button", "Log", { className: "small", type: "button" });
    button.dataset.execution = id;
    button.ariaPressed = String(id === this.shown);
    button.append(element("span", ` of the execution of ${execution.queued_at}`, { className: "unseen" }));
    button.addEventListener("click", () => this.#show(id));
    const words = element("div");
    words.append(head, more);
    item.append(words, button);
    return item;
  }

  #tick() {
    if (!this.active) return;
    const clock = $("executions").querySelector(`li:has([data-execution="${this.active.execution_id}"]) .elapsed`);
    if (clock) clock.textContent = lasted(this.active);
  }

  async #download() {
    const id = this.shown;
    const address = `${api("exec", "logs", this.taskId)}?${new URLSearchParams({ execution_id: id, tail: TAIL })}`;
    const { lines } = await call("GET", address);
    const cut = lines[0]?.n > 1 ? `(lines 1 to ${lines[0].n - 1} are left out)\n` : "";
    const text = cut + lines.map(({ line }) => `${line}\n`).join("");
    const link = element("a", "", { href: URL.createObjectURL(new Blob([text])), download: `task-${id}.log` });
    link.click();
    URL.revokeObjectURL(link.href);
  }
}

const lasted = ({ started_at: from, finished_at: to }) => (from ? span(from, to) : "");
