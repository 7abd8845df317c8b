// How an execution stands, in a line: status, exit code, time, why it waits or how it is being ended.

import { element } from "./dom.js";
import { entryOf, enums } from "./enums.js";
import { stateText } from "./execution-state.js";
import { duration } from "./format.js";

/** @import { Execution } from "schemas" */

/**
 * @param {Execution} execution
 * @param {{ hasClock?: boolean }} [options] - Whether the time is shown while it goes on, in the class `elapsed`.
 * @returns {(string | HTMLElement)[]}
 */
export function headOf(execution, { hasClock = true } = {}) {
  const { status, exit_code: code } = execution;
  const { isActive: runs, isSuccess, isFailure } = entryOf(enums().executionStatuses, status);
  const word = element("strong", status.replace("_", " "));
  if (isSuccess || isFailure) word.dataset["good"] = String(isSuccess); // one that was stopped is neither
  const time = runs && !hasClock ? "" : lasted(execution);
  const state = stateText(execution);
  return [
    ...named(execution, word),
    code === null ? "" : `, exit code ${code}`,
    time && ", ",
    element("span", time, "elapsed"),
    state && ", ",
    element("span", state, "state"),
  ];
}

/** @param {Execution} execution */
export const lasted = ({ started_at: from, finished_at: to }) => (from ? duration(from, to) : "");

/**
 * A run has no name beside its status; a verification says what it is, and its verdict.
 *
 * @param {Execution} execution
 * @param {HTMLElement} word
 */
const named = ({ kind, verdict }, word) =>
  kind === "verify" ? ["verification ", word, verdict ? `, ${verdict}` : ""] : [word];
