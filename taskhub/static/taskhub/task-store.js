// Task store of the board: a snapshot over REST, and the events after it. An older version never replaces a newer one.

import { api, readAll, Refused } from "./api.js";
import { isClosed } from "./card-state.js";
import { enums } from "./enums.js";
import { factsOf, stepOf, taskOf } from "./task-facts.js";

/**
 * @import { Card, Execution, ExecutionEvent, ExecutionStatusEnum, NoteAdded, TaskStatusEnum, TaskVerified } from "schemas"
 * @import { State } from "./execution-state.js"
 * @import { HubEvent } from "./hub.js"
 * @import { ListedTask, StoredTask } from "./task-facts.js"
 *
 * @typedef {Pick<NoteAdded, "note_id" | "text" | "options" | "deadline" | "assumes">} Question
 * @typedef {{ step: ExecutionStatusEnum, since: string, kind: string } & State} Run - An execution that is queued or
 *   under way; a verification only where no run is.
 */

const MOST = 1000; // newest tasks that are read of a status
const LOOK_MOST = 200; // tasks whose facts are read at once
const DAY_MS = 86_400_000;
const RETRY_MS = 3000;

export class TaskStore {
  /** @type {Map<string, StoredTask>} */
  tasks = new Map();
  /** By the task's id. @type {Map<string, Run>} */
  runs = new Map();
  /** Open questions that events have reported; null: answered. By the task's id. @type {Map<string, Question | null>} */
  questions = new Map();
  /** Whether tasks are read that have left the board. */
  withOld = false;
  /** Statuses that have more tasks than were read. @type {Set<TaskStatusEnum>} */
  cut = new Set();
  isLoaded = false;

  #onChange;
  #onError;
  #doneDays;
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
   * @param {number} [options.doneDays] - Days after which tasks that are done have left the board; 0: they never do.
   */
  constructor({ onChange, onError, doneDays = 0 }) {
    this.#onChange = onChange;
    this.#onError = onError;
    this.#doneDays = doneDays;
  }

  /** Read the snapshot, until it works. A later call replaces an earlier one. */
  async load() {
    const turn = ++this.#turn;
    clearTimeout(this.#timer);
    this.#waiting ??= [];
    try {
      const [active, ...lists] = await Promise.all([
        activeExecutions(),
        ...enums().statuses.map(({ value }) => newestTasks(value, this.#limitsOf(value))),
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
   * Tasks in the last column that have not changed for long are not read.
   *
   * @param {TaskStatusEnum} status
   */
  #limitsOf(status) {
    if (!this.#doneDays || this.withOld || !isClosed({ status })) return [];
    return [["updated_since", new Date(Date.now() - this.#doneDays * DAY_MS).toISOString()]];
  }

  /**
   * @param {Execution[]} active
   * @param {Card[]} tasks - One that was moved between two of the lists is in both; the later version counts.
   */
  #replace(active, tasks) {
    this.tasks = new Map();
    for (const task of tasks) this.put(task);
    this.runs = runsOf(active);
    this.questions.clear();
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
   * Read what no event tells: which tasks are stale by now, and who made those that only events have reported. A look
   * that fails is left to the next one.
   */
  async lookAtFacts() {
    if (!this.isLoaded || this.#waiting) return;
    const turn = this.#turn;
    const unknown = [...this.tasks.values()].filter(({ created_by: maker }) => maker === null).slice(0, LOOK_MOST);
    const ids = unknown.map(({ id }) => id).join(",");
    try {
      const [stale, made] = await Promise.all([
        cards([["stale", "true"]], LOOK_MOST),
        ids ? cards([["ids", ids]], LOOK_MOST) : { rows: [] },
      ]);
      if (turn === this.#turn) this.#putFacts(stale.rows, made.rows);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
    }
  }

  /**
   * Of a row nothing else is taken: events may be newer.
   *
   * @param {Card[]} stale
   * @param {Card[]} made
   */
  #putFacts(stale, made) {
    for (const { id, created_by, open_blockers } of made) this.#change(id, { created_by, open_blockers });
    const ids = new Set(stale.map(({ id }) => id));
    for (const { id, stale: wasStale } of this.tasks.values())
      if (wasStale !== ids.has(id)) this.#change(id, { stale: ids.has(id) });
    this.#onChange();
  }

  /**
   * @param {string} id
   * @param {Partial<StoredTask>} fields
   */
  #change(id, fields) {
    const known = this.tasks.get(id);
    if (known) this.tasks.set(id, { ...known, ...fields });
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
   * Store a task, unless a newer version of it is known. What the row does not say stays, as far as it can be known.
   *
   * @param {ListedTask} task
   */
  put(task) {
    const known = this.tasks.get(task.id);
    if (known && known.version > task.version) return;
    const text = [task.title, task.description, task.assignee, task.id, ...task.tags].join("\n").toLowerCase();
    this.tasks.set(task.id, { ...factsOf(task, known), ...task, text });
  }

  /** @param {HubEvent} event */
  #apply({ name, data, about }) {
    if (name === "task_created" || name === "task_updated") this.put(taskOf(data, this.tasks.get(data.task_id)));
    else if (name === "task_verified") this.#putVerdict(data);
    else if (name === "note_added") this.#putNote(data);
    else if (name === "task_deleted") {
      this.tasks.delete(data.task_id);
      this.#putRun(data.task_id, null);
    } else if (name === "execution_event") this.#putStep(data, about.timestamp);
  }

  /**
   * @param {ExecutionEvent} data
   * @param {string} since
   */
  #putStep(data, since) {
    const id = data.task_id;
    if (data.kind === "verify" && this.runs.get(id)?.kind === "run") return; // superseded: its end is not the run's
    const { run, last } = stepOf(data, since);
    this.#putRun(id, run);
    if (last) this.#change(id, { last_run: last });
  }

  /**
   * A question and its answer change what the task waits for, not its version.
   *
   * @param {NoteAdded} data
   */
  #putNote(data) {
    if (data.kind === "question") this.questions.set(data.task_id, data);
    if (data.kind === "answer") this.questions.set(data.task_id, null);
    this.#change(data.task_id, { waiting_for: data.waiting_for });
  }

  /**
   * The reader has answered the open question of a task.
   *
   * @param {string} id
   */
  answered(id) {
    this.questions.set(id, null);
    // Whether it waits for a review then comes with the answer's event.
    if (this.tasks.get(id)?.waiting_for === "answer") this.#change(id, { waiting_for: "" });
    this.#onChange();
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
 * @param {string[][]} limits
 * @returns {Promise<{ status: TaskStatusEnum, rows: Card[], isCut: boolean }>}
 * @throws {Refused}
 */
async function newestTasks(status, limits) {
  return { status, ...(await cards([["status", status], ...limits], MOST)) };
}

/**
 * @param {string[][]} query
 * @param {number} most
 * @returns {Promise<{ rows: Card[], isCut: boolean }>}
 * @throws {Refused}
 */
const cards = (query, most) => readAll(api("tasks", "cards"), query, most);
