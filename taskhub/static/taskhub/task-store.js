// Task store of the board: a snapshot over REST, and the events after it. An older version never replaces a newer one.

import { api, readAll, Refused } from "./api.js";
import { enums, isActive } from "./enums.js";

/**
 * @import { Execution, ExecutionStatusEnum, Task, TaskCreated, TaskStatusEnum, TaskUpdated } from "schemas"
 * @import { HubEvent } from "./hub.js"
 *
 * @typedef {Omit<Task, "created_at">} ListedTask
 * @typedef {ListedTask & { text: string }} StoredTask - `text` is what the search looks into, in lower case.
 * @typedef {{ step: ExecutionStatusEnum, since: string }} Run - An execution that is queued or under way.
 */

const MOST = 1000; // newest tasks that are read of a status
const RETRY_MS = 3000;

export class TaskStore {
  /** @type {Map<string, StoredTask>} */
  tasks = new Map();
  /** By the task's id. @type {Map<string, Run>} */
  runs = new Map();
  /** Statuses that have more tasks than were read. @type {Set<TaskStatusEnum>} */
  cut = new Set();
  isLoaded = false;

  #onChange;
  #onError;
  #turn = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** Events that came while the snapshot was read. @type {HubEvent[] | null} */
  #waiting = null;

  /**
   * @param {object} options
   * @param {() => void} options.onChange - After every change.
   * @param {(text: string) => void} options.onError - The snapshot cannot be read; with "" once it can.
   */
  constructor({ onChange, onError }) {
    this.#onChange = onChange;
    this.#onError = onError;
  }

  /** Read the snapshot, until it works. A later call replaces an earlier one. */
  async load() {
    const turn = ++this.#turn;
    clearTimeout(this.#timer);
    this.#waiting ??= [];
    try {
      const [active, ...lists] = await Promise.all([
        activeExecutions(),
        ...enums().statuses.map(({ value }) => newestTasks(value)),
      ]);
      if (turn !== this.#turn) return;
      this.cut = new Set(lists.filter(({ isCut }) => isCut).map(({ status }) => status));
      const tasks = lists.flatMap(({ rows }) => rows);
      this.#replace(active, tasks);
      this.#onError("");
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (turn !== this.#turn) return;
      this.#onError(`The tasks could not be read: ${error.message} Trying again.`);
      this.#timer = setTimeout(() => void this.load(), RETRY_MS);
    }
  }

  /**
   * @param {Execution[]} active
   * @param {Task[]} tasks - One that was moved between two of the lists is in both; the later version counts.
   */
  #replace(active, tasks) {
    this.tasks = new Map();
    for (const task of tasks) this.put(task);
    this.runs = new Map(
      active.flatMap((run) =>
        run.task_id ? [[run.task_id, { step: run.status, since: run.started_at ?? run.queued_at }]] : [],
      ),
    );
    this.isLoaded = true;
    const waiting = this.#waiting ?? [];
    this.#waiting = null;
    for (const event of waiting) this.#apply(event);
    this.#onChange();
  }

  /**
   * Apply an event of the stream, now or after the snapshot that is being read.
   *
   * @param {HubEvent} event
   */
  take(event) {
    if (this.#waiting) this.#waiting.push(event);
    else this.#apply(event);
    this.#onChange();
  }

  /**
   * Store a task, unless a newer version of it is known.
   *
   * @param {ListedTask} task
   */
  put(task) {
    const known = this.tasks.get(task.id);
    if (known && known.version > task.version) return;
    const text = [task.title, task.description, task.assignee, task.id, ...task.tags].join("\n").toLowerCase();
    this.tasks.set(task.id, { ...task, text });
  }

  /** @param {HubEvent} event */
  #apply({ name, data, about }) {
    if (name === "task_created" || name === "task_updated") this.#putEvent(data);
    else if (name === "task_deleted") {
      this.tasks.delete(data.task_id);
      this.runs.delete(data.task_id);
    } else if (name === "execution_event") {
      const step = enums().executionSteps[data.execution_event];
      if (isActive(step)) this.runs.set(data.task_id, { step, since: about.timestamp });
      else this.runs.delete(data.task_id);
    }
  }

  /** @param {TaskCreated | TaskUpdated} data - Without what did not change, or is too large for an event (`omitted`). */
  #putEvent({ task_id: id, ...data }) {
    const known = this.tasks.get(id);
    const description = data.description ?? known?.description ?? "";
    const artifacts = data.artifacts ?? known?.artifacts ?? [];
    this.put({ ...data, id, artifacts, description, ending: known?.ending ?? null }); // events do not say it
  }
}

/**
 * @returns {Promise<Execution[]>}
 * @throws {Refused}
 */
async function activeExecutions() {
  const active = enums().executionStatuses.filter((status) => status.isActive);
  /** @type {{ rows: Execution[] }} */
  const { rows } = await readAll(
    api("executions"),
    active.map(({ value }) => ["status", value]),
  );
  return rows;
}

/**
 * @param {TaskStatusEnum} status
 * @returns {Promise<{ status: TaskStatusEnum, rows: Task[], isCut: boolean }>}
 * @throws {Refused}
 */
async function newestTasks(status) {
  /** @type {{ rows: Task[], isCut: boolean }} */
  const { rows, isCut } = await readAll(api("tasks"), [["status", status]], MOST);
  return { status, rows, isCut };
}
