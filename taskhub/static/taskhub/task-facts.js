// What an event says of a task and its run, and what it leaves open. No DOM.

import { enums, isActive } from "./enums.js";

/**
 * @import { Card, ExecutionEvent, TaskCreated, TaskUpdated } from "schemas"
 * @import { Run } from "./task-store.js"
 *
 * @typedef {Omit<Card, "created_at" | "verify_policy" | "created_by" | "closed_as"> & { created_by: string | null, closed_as: string, text: string }} StoredTask -
 *   `created_by` is null where only events have reported the task; `text` is what the search looks into, in lower case.
 * @typedef {Pick<StoredTask, "created_by" | "open_blockers" | "status_since" | "held_since" | "stale" | "question_by" | "last_run" | "ending">} Facts -
 *   What events do not say.
 * @typedef {Omit<StoredTask, keyof Facts | "text"> & Partial<Facts>} ListedTask
 */

/**
 * What events and other answers do not say of a task, from what is known of it.
 *
 * @param {ListedTask} task
 * @param {StoredTask | undefined} known
 * @returns {Facts}
 */
export function factsOf(task, known) {
  const open_blockers = openBlockers(task, known?.open_blockers ?? 0);
  if (!known) return { ...UNKNOWN, open_blockers, status_since: task.updated_at, held_since: heldSince(task) };
  return {
    created_by: known.created_by,
    open_blockers,
    status_since: known.status === task.status ? known.status_since : task.updated_at,
    held_since: known.holder === task.holder ? known.held_since : heldSince(task),
    stale: known.version === task.version && known.stale,
    question_by: known.question_by,
    last_run: known.last_run,
    ending: known.ending,
  };
}

const UNKNOWN = { created_by: null, stale: false, question_by: "", last_run: null, ending: null };

/** @param {ListedTask} task - Its holder is new. */
const heldSince = ({ holder, updated_at: at }) => (holder ? at : null);

/**
 * A task in the first column that is neither ready nor held back waits for others.
 *
 * @param {ListedTask} task
 * @param {number} before
 */
function openBlockers({ ready, held_back: isHeldBack, status }, before) {
  if (ready) return 0;
  return status === enums().statuses[0]?.value && !isHeldBack ? Math.max(1, before) : before;
}

/**
 * The task of an event.
 *
 * @param {TaskCreated | TaskUpdated} event - Without what did not change, or is too large for an event (`omitted`).
 * @param {StoredTask | undefined} known
 * @returns {ListedTask}
 */
export function taskOf({ task_id: id, ...data }, known) {
  const before = known ?? { description: "", artifacts: [], ready: false };
  const { description, artifacts = before.artifacts, ready = before.ready } = data;
  return {
    ...EMPTY,
    ...data,
    id,
    description: description ?? before.description,
    artifacts: artifacts ?? [],
    ready: ready ?? false,
    verified: data.verified ?? null,
  };
}

/** Fields that older events do not have. @satisfies {Partial<ListedTask>} */
const EMPTY = { holder: "", held_back: false, closed_as: "", waiting_for: /** @type {const} */ ("") };

/**
 * What an event says of a task's runs: the one under way, null where it has ended; and how a run has ended, null for a
 * verification.
 *
 * @param {ExecutionEvent} event
 * @param {string} at
 * @returns {{ run: Run | null, last: Card["last_run"] }}
 */
export function stepOf({ execution_event: event, reason = null, position = null, kind = "run", ...data }, at) {
  const step = enums().executionSteps[event];
  const waiting = reason ? { reason, position } : null;
  if (isActive(step)) return { run: { step, since: at, waiting, ending: null, kind }, last: null };
  const { execution_id, exit_code = null, error_code } = data;
  const last = { execution_id, status: step, exit_code, error_code: error_code ?? "", finished_at: at };
  return { run: null, last: kind === "verify" ? null : last };
}
