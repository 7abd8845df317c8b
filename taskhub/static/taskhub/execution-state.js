// Text for the state of an execution beside its status: why it waits, how it is being ended, what may outlive it. No DOM.

import { enums, isActive } from "./enums.js";
import { ordinal } from "./format.js";

/**
 * @import { Execution } from "schemas"
 * @import { Words } from "./enums.js"
 *
 * @typedef {{ reason: string, position: number | null }} Waiting - `position` in the queue from 1; null: not known.
 * @typedef {{ waiting: Waiting | null, ending: string | null, leftover?: string | null }} State
 */

/**
 * `waiting for capacity, 3rd in the queue`, `being stopped`, `its sandbox is being stopped`; empty where the status
 * says all.
 *
 * @param {State} state
 */
export function stateText({ waiting, ending, leftover = null }) {
  if (ending) return words(enums().endings, ending);
  if (waiting) return waitingText(waiting);
  return leftover ? words(enums().leftovers, leftover) : "";
}

/** @param {Waiting} waiting */
function waitingText({ reason, position }) {
  const why = words(enums().waitingReasons, reason);
  return position === null ? why : `${why}, ${ordinal(position)} in the queue`;
}

/**
 * The words for a value; the value itself where the server is newer than the page.
 *
 * @param {Words[]} entries
 * @param {string} value
 */
const words = (entries, value) => entries.find((entry) => entry.value === value)?.label ?? value.replace("_", " ");

/**
 * Whether the state of an execution may change without an event: its position in the queue, how it is being ended.
 *
 * @param {Pick<Execution, "status" | "leftover">} execution
 */
export const isUnsettled = ({ status, leftover }) =>
  isActive(status) || enums().leftovers.some(({ value, passes }) => passes && value === leftover);
