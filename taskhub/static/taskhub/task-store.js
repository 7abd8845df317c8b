// The tasks as this page knows them: a snapshot, and the events after it. An event older than what is known changes nothing.

import { api, readAll } from "./api.js";

const MOST = 1000; // of a status; the newest
const STATUSES = ["todo", "inprogress", "review", "done"];
const AGAIN_MS = 3000;
const RUNS = { queued: "queued", starting: "starting", running: "running", started: "running" };
const KNOWN = ["status", "priority", "assignee", "private", "artifacts", "title", "tags", "version", "updated_at"];

export class TaskStore {
  /** `onChange()` after every change, `onTrouble(words)` where the snapshot cannot be read, and with "" when it can. */
  constructor({ onChange, onTrouble }) {
    Object.assign(this, { onChange, onTrouble });
    this.tasks = new Map();
    this.runs = new Map(); // of tasks that are being executed: {step, since}
    this.cut = new Set(); // statuses that have more tasks than were read
    this.isLoaded = false;
    this.loading = 0;
    this.waiting = null; // events that came while the snapshot was read
  }

  /** Read everything anew, until it works; a later call takes over from an earlier one. */
  async load() {
    const turn = ++this.loading;
    clearTimeout(this.timer);
    this.waiting ??= [];
    try {
      const [active, ...lists] = await Promise.all([
        readAll(
          api("executions"),
          ["queued", "starting", "running"].map((status) => ["status", status]),
        ),
        ...STATUSES.map((status) => readAll(api("tasks"), [["status", status]], MOST)),
      ]);
      if (turn !== this.loading) return;
      this.#replace(active.rows, lists);
      this.onTrouble("");
    } catch (error) {
      if (turn !== this.loading) return;
      this.onTrouble(`The tasks could not be read: ${error.message} Trying again.`);
      this.timer = setTimeout(() => this.load(), AGAIN_MS);
    }
  }

  #replace(active, lists) {
    // What others have moved between two of the lists is in both; the later version is right.
    this.tasks = new Map();
    for (const task of lists.flatMap(({ rows }) => rows)) this.put(task);
    this.cut = new Set(STATUSES.filter((_, n) => lists[n].isCut));
    this.runs = new Map(
      active.map((run) => [run.task_id, { step: RUNS[run.status], since: run.started_at ?? run.queued_at }]),
    );
    this.isLoaded = true;
    const waiting = this.waiting;
    this.waiting = null;
    for (const event of waiting) this.#apply(...event);
    this.onChange();
  }

  /** An event of the stream. */
  take(name, data, timestamp) {
    if (this.waiting) this.waiting.push([name, data, timestamp]);
    else this.#apply(name, data, timestamp);
    this.onChange();
  }

  /** A task as REST has answered it; what is known to be newer stays. */
  put(task) {
    const known = this.tasks.get(task.id);
    if (known && known.version > task.version) return;
    const text = [task.title, task.description, task.assignee, task.id, ...task.tags].join("\n").toLowerCase();
    this.tasks.set(task.id, { ...task, text });
  }

  #apply(name, data, timestamp) {
    if (name === "task_created" || name === "task_updated") {
      const known = this.tasks.get(data.task_id);
      const said = Object.fromEntries(KNOWN.map((field) => [field, data[field]]));
      // Left out where they did not change, or are too large for an event.
      const description = data.description ?? known?.description ?? "";
      const artifacts = data.artifacts ?? known?.artifacts ?? [];
      this.put({ id: data.task_id, ...said, artifacts, description });
    } else if (name === "task_deleted") {
      this.tasks.delete(data.task_id);
      this.runs.delete(data.task_id);
    } else if (name === "execution_event") {
      const step = RUNS[data.execution_event];
      if (step) this.runs.set(data.task_id, { step, since: timestamp });
      else this.runs.delete(data.task_id);
    }
  }
}
