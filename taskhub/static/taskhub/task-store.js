// Task store of the board: a snapshot over REST, and the events after it. An older version never replaces a newer one.
//
// The service filters, sorts and counts: a column has its first cards, and more on demand. Events change what is known
// at once; counts, and what only the service can tell, are asked for soon after.

import { api, call, Refused } from "./api.js";
import { activeExecutions, cards, copyRun, runsOf } from "./board-reads.js";
import { byOf } from "./people.js";
import { factsOf, stepOf, taskOf } from "./task-facts.js";

/**
 * @import { Board, BoardCard, Card, Execution, ExecutionEvent, ExecutionStatusEnum, NoteAdded, TaskVerified } from "schemas"
 * @import { State } from "./execution-state.js"
 * @import { HubEvent } from "./hub.js"
 * @import { ListedTask, StoredTask } from "./task-facts.js"
 *
 * @typedef {Pick<NoteAdded, "note_id" | "text" | "author" | "options" | "deadline" | "assumes"> & { agent: string, text_html?: string | null }} Question
 * @typedef {{ step: ExecutionStatusEnum, since: string, kind: string } & State} Run - An execution that is queued or
 *   under way; a verification only where no run is.
 *
 * @typedef {object} Column
 * @property {number} count - Tasks that the filters let through.
 * @property {number} total
 * @property {string | null} cursor - Of the next page; null: all are known.
 * @property {Place | null} last - The last task that was read in order: of those after it some are not known.
 *
 * @typedef {Pick<StoredTask, "priority" | "updated_at">} Place - Where a task stands in its column.
 */

const LOOK_MOST = 200; // tasks whose facts are read at once
const PAGE_MOST = 200;
const RETRY_MS = 3000;
const SOON_MS = 500; // counts are asked for so long after an event,
const LEAST_MS = 3000; // and at most so often,
const SHARE = 20; // nor for more than a twentieth of the time: a hub of many tasks counts slowly
const COUNTED = new Set([
  "task_created",
  "task_updated",
  "task_deleted",
  "task_verified",
  "note_added",
  "execution_event",
]);

export class TaskStore {
  /** @type {Map<string, StoredTask>} */
  tasks = new Map();
  /** By the task's id. @type {Map<string, Run>} */
  runs = new Map();
  /** Open questions that events have reported; null: answered. By the task's id. @type {Map<string, Question | null>} */
  questions = new Map();
  /** By status. @type {Map<string, Column>} */
  columns = new Map();
  /**
   * Of all tasks on the board: how many are in each state, and what there is to filter by.
   *
   * @type {Omit<NonNullable<Board["summary"]>, "needs">}
   */
  summary = { states: {}, assignees: [], accounts: [], tags: [] };
  /** The tasks that the present search has found; null: there is no search, or it is not answered. @type {Set<string> | null} */
  found = null;
  isLoaded = false;

  #onChange;
  #onError;
  #step;
  #query = new URLSearchParams();
  #turn = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #soon;
  #countedAt = -LEAST_MS;
  #tookMs = 0;
  /** Events that came while the snapshot was read. @type {HubEvent[] | null} */
  #waiting = null;
  /** Tasks whose runs events have changed since `lookAtRuns` began to read. @type {Set<string> | null} */
  #moved = null;
  /** Tasks that were deleted since the snapshot: an answer that is under way may still have them. @type {Set<string>} */
  #deleted = new Set();
  /** Columns whose next page is being read. @type {Set<string>} */
  #reading = new Set();

  /**
   * @param {object} options
   * @param {() => void} options.onChange - After every change.
   * @param {(text: string) => void} options.onError - The snapshot cannot be read; with "" once it can.
   * @param {number} [options.step] - Cards of a column that are read at once.
   */
  constructor({ onChange, onError, step = 50 }) {
    this.#onChange = onChange;
    this.#onError = onError;
    this.#step = step;
  }

  /**
   * Filter by these parameters of `/api/tasks/board/`: the next `load` does. Answers to earlier ones are not taken.
   *
   * @param {URLSearchParams} query
   */
  filter(query) {
    this.#turn += 1;
    this.#query = query;
    this.found = null;
  }

  /** Read the snapshot, until it works. A later call replaces an earlier one. */
  async load() {
    const turn = ++this.#turn;
    clearTimeout(this.#timer);
    this.#waiting ??= [];
    try {
      const [active, board] = await Promise.all([activeExecutions(), this.#ask({ page_size: String(this.#step) })]);
      if (turn !== this.#turn) return;
      this.#replace(active, board);
      this.#onError("");
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (turn !== this.#turn) return;
      this.#onError(`The tasks could not be read: ${error.message} Trying again.`);
      this.#timer = setTimeout(() => void this.load(), RETRY_MS);
    }
  }

  /**
   * @param {Record<string, string>} more
   * @returns {Promise<Board>}
   * @throws {Refused}
   */
  #ask(more) {
    const query = new URLSearchParams([...this.#query, ...Object.entries(more)]);
    return call("GET", `${api("tasks", "board")}?${query.toString()}`);
  }

  /**
   * @param {Execution[]} active
   * @param {Board} board
   */
  #replace(active, board) {
    this.tasks = new Map();
    this.#deleted.clear();
    this.#putBoard(board);
    this.runs = runsOf(active);
    this.questions.clear();
    this.isLoaded = true;
    this.#countedAt = performance.now();
    const waiting = this.#waiting ?? [];
    this.#waiting = null;
    for (const event of waiting) this.#apply(event);
    if (waiting.length) this.#countSoon();
    this.#onChange();
  }

  /** @param {Board} board - With the first cards of each column. */
  #putBoard({ columns, summary }) {
    this.found = this.#query.has("q") ? new Set() : null;
    for (const column of columns) this.#putColumn(column);
    this.#putSummary(summary);
  }

  /** @param {Board["columns"][number]} column */
  #putColumn({ status, count, total, cursor, results }) {
    this.#putAll(results);
    for (const { id } of results) this.found?.add(id);
    this.columns.set(status, { count, total, cursor, last: results.at(-1) ?? null });
  }

  /** @param {Board["summary"]} summary */
  #putSummary(summary) {
    if (!summary) return;
    const { needs, ...rest } = summary;
    this.summary = rest;
    this.#putAll(needs);
  }

  /** @param {BoardCard[]} rows */
  #putAll(rows) {
    for (const row of rows) if (!this.#deleted.has(row.id)) this.put({ description: "", ...row });
  }

  /**
   * Read the next cards of a column, if there are any.
   *
   * @param {string} status
   */
  async more(status) {
    const cursor = this.columns.get(status)?.cursor;
    if (!cursor || this.#waiting || this.#reading.has(status)) return;
    const turn = this.#turn;
    this.#reading.add(status);
    try {
      const { columns } = await this.#ask({ status, cursor, page_size: String(this.#step) });
      if (turn !== this.#turn) return;
      for (const column of columns) this.#putColumn(column);
      this.#onChange();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.#onError(`The next tasks could not be read: ${error.message}`);
    } finally {
      this.#reading.delete(status);
    }
  }

  /** Ask for the counts soon, however many events come until then. */
  #countSoon() {
    this.#soon ??= setTimeout(
      () => {
        this.#soon = undefined;
        void this.count();
      },
      Math.max(SOON_MS, this.#countedAt + Math.max(LEAST_MS, SHARE * this.#tookMs) - performance.now()),
    );
  }

  /**
   * Read the counts anew, and what needs the reader. What a search finds only the service knows: with one, the cards
   * too. A look that fails is left to the next one.
   */
  async count() {
    if (!this.isLoaded || this.#waiting) return;
    const turn = this.#turn;
    this.#countedAt = performance.now();
    const shown = this.found ? Math.min(PAGE_MOST, Math.max(this.#step, this.found.size)) : 0;
    try {
      const board = await this.#ask({ page_size: String(shown) });
      this.#tookMs = performance.now() - this.#countedAt;
      if (turn !== this.#turn) return;
      if (shown) this.#putBoard(board);
      else this.#putCounts(board);
      this.#onChange();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
    }
  }

  /** @param {Board} board - Without cards. */
  #putCounts({ columns, summary }) {
    for (const { status, count, total } of columns) {
      const { cursor = null, last = null } = this.columns.get(status) ?? {};
      this.columns.set(status, { count, total, cursor, last });
    }
    this.#putSummary(summary);
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
    else {
      this.#apply(event);
      if (COUNTED.has(event.name)) this.#countSoon();
    }
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
      this.#deleted.add(data.task_id);
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
    const asks = data.kind === "question" ? { question_by: byOf(data) } : {};
    this.#change(data.task_id, { waiting_for: data.waiting_for, ...asks });
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
