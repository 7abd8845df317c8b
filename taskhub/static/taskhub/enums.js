// Enums of the server: each page brings them in a JSON block (`taskhub/pages/`), so that none is repeated here.

/**
 * @import { ExecutionEvent, ExecutionStatusEnum, RoleEnum, TaskPriorityEnum, TaskStatusEnum } from "schemas"
 *
 * @typedef {object} Status
 * @property {TaskStatusEnum} value
 * @property {string} label
 * @property {TaskStatusEnum[]} next - The statuses that may follow, in the board's order.
 *
 * @typedef {object} Priority
 * @property {TaskPriorityEnum} value
 * @property {string} label
 * @property {"top" | "middle" | "bottom"} rank - For the style sheet.
 *
 * @typedef {object} ExecutionStatus
 * @property {ExecutionStatusEnum} value
 * @property {boolean} isActive - Queued or under way.
 * @property {boolean} isSuccess
 * @property {boolean} isOwnEnd - The script ended by itself: the exit code says all.
 * @property {boolean} isFailure - It ended, and neither as wished nor because it was stopped.
 *
 * @typedef {{ value: string, label: string }} Words - What is said of a value beside the execution's status.
 *
 * @typedef {object} Enums
 * @property {Status[]} statuses - In the board's order; the first is the one that new tasks have.
 * @property {Priority[]} priorities - The highest first.
 * @property {ExecutionStatus[]} executionStatuses
 * @property {Record<ExecutionEvent["execution_event"], ExecutionStatusEnum>} executionSteps - What an `execution_event`
 *   says of the execution's status.
 * @property {Words[]} waitingReasons - Why an execution waits in the queue.
 * @property {Words[]} endings - As what an execution is being ended.
 * @property {(Words & { passes: boolean })[]} leftovers - What may outlive an execution; `passes`: not for long.
 * @property {(Words & { isGood: boolean })[]} verdicts - What a verification says.
 * @property {Words[]} leftOutReasons - Why a file that a script left was not kept.
 * @property {Words[]} asks - Titles of what a task needs of people.
 * @property {Words[]} verifyPolicies - What it takes to be done.
 * @property {{ value: RoleEnum | "nobody", mayWork: boolean }[]} roles - `mayWork`: may change and execute tasks.
 */

/** @type {Enums | undefined} */
let read;

/**
 * The enums of this page.
 *
 * @returns {Enums}
 */
export function enums() {
  read ??= /** @type {Enums} */ (JSON.parse(document.getElementById("enums")?.textContent ?? "null"));
  return read;
}

/**
 * The entry of a value.
 *
 * @template {{ value: string }} T
 * @param {T[]} entries
 * @param {string} value
 * @returns {T}
 * @throws {RangeError} for a value that came after the page: the server is newer than what it sent then.
 */
export function entryOf(entries, value) {
  const found = entries.find((entry) => entry.value === value);
  if (!found) throw new RangeError(`Unknown value ${value}: reload the page.`);
  return found;
}

/**
 * Where a review sends a task: on to the next column, or back to the first one, where agents claim it: the one that
 * handed it in before others.
 *
 * @param {string | undefined} status - Of the task that is reviewed.
 * @returns {{ back: Status | undefined, on: Status | undefined }}
 */
export function afterReview(status) {
  const { statuses } = enums();
  const at = statuses.findIndex(({ value }) => value === status);
  if (at < 0) return { back: undefined, on: undefined };
  return { back: statuses.slice(0, at).find(({ value }) => statuses[at]?.next.includes(value)), on: statuses[at + 1] };
}

/**
 * Whether an execution of this status is queued or under way.
 *
 * @param {string} status
 */
export const isActive = (status) => enums().executionStatuses.some((each) => each.value === status && each.isActive);

/**
 * The position of a priority, 0 for the highest. An unknown one comes last.
 *
 * @param {string} priority
 */
export function priorityOrder(priority) {
  const { priorities } = enums();
  const at = priorities.findIndex(({ value }) => value === priority);
  return at < 0 ? priorities.length : at;
}

/**
 * The style of a priority; that of the lowest for an unknown one.
 *
 * @param {string} priority
 */
export const priorityRank = (priority) => enums().priorities[priorityOrder(priority)]?.rank ?? "bottom";
