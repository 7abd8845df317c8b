// What the board says of a task: its states, for marks and filters, and how its last run ended. No DOM.

import { enums } from "./enums.js";

/**
 * @import { Card } from "schemas"
 * @import { StoredTask } from "./task-facts.js"
 * @import { Run } from "./task-store.js"
 *
 * @typedef {(task: StoredTask, run: Run | undefined) => boolean} IsState
 * @typedef {keyof typeof STATES} StateName
 */

/** @param {StoredTask} task */
const isFirst = ({ status }) => status === enums().statuses[0]?.value;

/**
 * Whether a task is in the last column.
 *
 * @param {Pick<StoredTask, "status">} task
 */
export const isClosed = ({ status }) => status === enums().statuses.at(-1)?.value;

/**
 * Whether the last run ended in a failure, and no newer one is queued or under way.
 *
 * @type {IsState}
 */
const hasFailed = ({ last_run: last }, run) =>
  !run && enums().executionStatuses.some(({ value, isFailure }) => isFailure && value === last?.status);

/** By the name that the filters have. */
export const STATES = {
  /** @type {IsState} */
  ready: (task, run) => isFirst(task) && task.ready && !run,
  /** @type {IsState} */
  blocked: (task) => task.open_blockers > 0 && !isClosed(task),
  /** @type {IsState} */
  waiting: (_, run) => Boolean(run?.waiting),
  /** @type {IsState} */
  running: (_, run) => run !== undefined && !run.waiting,
  failed: hasFailed,
  /** @type {IsState} */
  question: (task) => task.waiting_for === "answer",
  /** @type {IsState} */
  held: (task) => task.held_back,
  /** @type {IsState} */
  stale: (task, run) => task.stale && !run,
};

/**
 * What a task needs of an account: the question, a release, a review; or, of a task that is not done, another look at
 * the run that failed. Empty: nothing. A question that the account has asked itself waits for others.
 *
 * @param {StoredTask} task
 * @param {Run | undefined} run
 * @param {string} name - The account.
 * @returns {"" | "question" | "held" | "review-of" | "failure"}
 */
export function needOf(task, run, name) {
  if (task.held_back) return "held";
  if (STATES.question(task, run) && task.question_by !== name) return "question";
  if (task.waiting_for && task.waiting_for !== "answer") return "review-of";
  return STATES.failed(task, run) && !isClosed(task) ? "failure" : "";
}

/**
 * Whether a task is an account's: assigned to it, or made by it.
 *
 * @param {StoredTask} task
 * @param {string} name
 */
export const isOf = ({ assignee, created_by: maker }, name) => name !== "" && (assignee === name || maker === name);

/**
 * How a run ended: “failed, exit 3”, “timed out”.
 *
 * @param {NonNullable<Card["last_run"]>} run
 */
export function outcomeText({ status, exit_code: code }) {
  const word = status.replace("_", " ");
  const isOwnEnd = enums().executionStatuses.some((each) => each.value === status && each.isOwnEnd);
  return isOwnEnd && code ? `${word}, exit ${code}` : word;
}

/**
 * Whether a task that is done has not changed for so many days that it has left the board.
 *
 * @param {Pick<StoredTask, "status" | "updated_at">} task
 * @param {number} days - 0: it never leaves.
 * @param {number} [now]
 */
export const isOld = (task, days, now = Date.now()) =>
  days > 0 && isClosed(task) && now - Date.parse(task.updated_at) > days * 86_400_000;
