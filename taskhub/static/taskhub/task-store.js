// Task store of the board: a snapshot over REST, and the events after it. An older version never replaces a newer one.

import { api, readAll, Refused } from "./api.js";
import { enums, isActive } from "./enums.js";

/**
 * @import { Execution, ExecutionEvent, ExecutionStatusEnum, Task, TaskCreated, TaskStatusEnum, TaskUpdated, TaskVerified } from "schemas"
 * @import { State } from "./execution-state.js"
 * @import { HubEvent } from "./hub.js"
 *
 * @typedef {"created_at" | "created_by" | "open_blockers" | "holder" | "held_back" | "ready" | "closed_as" | "waiting_for" |
 *   "verify_policy"} Beside -
 *   Fields that the board does not show.
 * @typedef {Omit<Task, Beside>} ListedTask
 * @typedef {ListedTask & { text: string }} StoredTask - `text` is what the search looks into, in lower case.
 * @typedef {{ step: ExecutionStatusEnum, since: string, kind: string } & State} Run - An execution that is queued or
 *   under way; a verification only where no run is.
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
  /** Tasks whose runs events have changed since `lookAtRuns` began to read. @type {Set<string> | null} */
  #moved = null;

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
    this.runs = runsOf(active);
    this.isLoaded = true;
    const waiting = this.#waiting ?? [];
    this.#waiting = null;
    for (const event of waiting) this.#apply(event);
    this.#onChange();
  }

  /**
   * Read the runs anew, if there are any: no event tells the positions in the queue, and what is being ended. What an
   * event says meanwhile is newer. A look that fails is left to the next one.
   */
  async lookAtRuns() {
    if (!this.isLoaded || this.#waiting || this.#moved || !this.runs.size) return;
    const turn = this.#turn;
    /** @type {Set<string>} */
    const moved = new Set();
    this.#moved = moved;
    try {
      const runs = runsOf(await activeExecutions());
      if (turn !== this.#turn) return;
      for (const id of moved) copyRun(this.runs, runs, id);
      this.runs = runs;
      this.#onChange();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
    } finally {
      this.#moved = null;
    }
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
    else if (name === "task_verified") this.#putVerdict(data);
    else if (name === "task_deleted") {
      this.tasks.delete(data.task_id);
      this.#putRun(data.task_id, null);
    } else if (name === "execution_event") this.#putStep(data, about.timestamp);
  }

  /**
   * @param {ExecutionEvent} data
   * @param {string} since
   */
  #putStep({ task_id: id, execution_event: event, reason = null, position = null, kind = "run" }, since) {
    if (kind === "verify" && this.runs.get(id)?.kind === "run") return; // superseded: its end is not the run's
    const step = enums().executionSteps[event];
    const waiting = reason ? { reason, position: position ?? null } : null;
    this.#putRun(id, isActive(step) ? { step, since, waiting, ending: null, kind } : null);
  }

  /** @param {TaskVerified} data */
  #putVerdict({ task_id: id, verified, version, updated_at }) {
    const known = this.tasks.get(id);
    if (known) this.put({ ...known, verified, version, updated_at });
  }

  /**
   * @param {string} id
   * @param {Run | null} run - null: it has ended.
   */
  #putRun(id, run) {
    this.#moved?.add(id);
    if (run) this.runs.set(id, run);
    else this.runs.delete(id);
  }

  /** @param {TaskCreated | TaskUpdated} data - Without what did not change, or is too large for an event (`omitted`). */
  #putEvent({ task_id: id, ...data }) {
    const known = this.tasks.get(id);
    const description = data.description ?? known?.description ?? "";
    const artifacts = data.artifacts ?? known?.artifacts ?? [];
    const ending = known?.ending ?? null; // events do not say it
    this.put({ ...data, id, artifacts, description, ending, verified: data.verified ?? null });
  }
}

/**
 * @param {Map<string, Run>} from
 * @param {Map<string, Run>} to
 * @param {string} id
 */
function copyRun(from, to, id) {
  const run = from.get(id);
  if (run) to.set(id, run);
  else to.delete(id);
}

/**
 * @param {Execution[]} active
 * @returns {Map<string, Run>}
 */
function runsOf(active) {
  const runs = new Map();
  for (const { task_id: id, status, started_at: startedAt, queued_at: queuedAt, waiting, ending, kind } of active)
    if (id && (kind !== "verify" || !runs.has(id)))
      runs.set(id, { step: status, since: startedAt ?? queuedAt, waiting, ending, kind });
  return runs;
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
