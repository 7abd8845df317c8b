// What the board does to tasks over REST, each for one task. Refusals say which task, and why.

import { api, call, Refused } from "./api.js";
import { isConflict, putStatus, whoChanged } from "./task-form.js";

/**
 * @import { ExecuteRequest, Task, TaskStatusEnum } from "schemas"
 * @import { StoredTask } from "./task-facts.js"
 */

/**
 * Change a task unless it was changed meanwhile.
 *
 * @param {StoredTask} task
 * @param {string} verb - Of the refusal: `moved`.
 * @param {() => Promise<Task>} change
 * @returns {Promise<Task>}
 * @throws {Refused}
 */
async function changed({ id, title, version }, verb, change) {
  try {
    return await change();
  } catch (error) {
    if (isConflict(error))
      error.message = `“${title}” was not ${verb}. ${await whoChanged(id, version, error.details.version)}`;
    throw error;
  }
}

/**
 * @param {StoredTask} task
 * @param {TaskStatusEnum} status
 * @param {string} [note] - Why.
 */
export const changeStatus = (task, status, note = "") => changed(task, "moved", () => putStatus(task, status, note));

/**
 * @param {StoredTask} task
 * @param {string} assignee - Empty: unassigned.
 */
export const assign = (task, assignee) =>
  changed(task, "assigned", () => call("PATCH", api("tasks", task.id), { assignee }, { version: task.version }));

/**
 * Run the script of the task's description.
 *
 * @param {StoredTask} task
 * @throws {Refused}
 */
export const run = ({ id }) => call("POST", api("exec", id), {});

/**
 * Repeat the last run: its script, environment and plain variables. Secret values are asked for on the task's page.
 *
 * @param {StoredTask} task
 * @throws {Refused}
 */
export async function runAgain({ id, last_run: last }) {
  if (!last) return;
  /** @type {ExecuteRequest} */
  const body = { again: last.execution_id };
  try {
    await call("POST", api("exec", id), body);
  } catch (error) {
    if (error instanceof Refused && error.code === "values_needed")
      error.message = "Its secret values are not kept; run it again on the task’s page, which asks for them.";
    throw error;
  }
}

/**
 * @param {StoredTask} task
 * @throws {Refused}
 */
export const stop = ({ id }) => call("POST", api("exec", "stop", id));

/**
 * Let a task go that is held back.
 *
 * @param {StoredTask} task
 * @returns {Promise<Task>}
 * @throws {Refused}
 */
export const release = ({ id }) => call("POST", api("tasks", id, "release"));

/**
 * Answer the question of a task.
 *
 * @param {StoredTask} task
 * @param {number} question
 * @param {string} text
 * @throws {Refused}
 */
export const answer = ({ id }, question, text) =>
  call("POST", api("tasks", id, "notes"), { kind: "answer", question, text });

/**
 * Do it to each of these tasks, one after the other. Those that are refused are named, and do not keep the others.
 *
 * @param {StoredTask[]} tasks
 * @param {(task: StoredTask) => Promise<unknown>} action
 * @returns {Promise<{ done: StoredTask[], refusals: string[] }>}
 */
export async function each(tasks, action) {
  /** @type {StoredTask[]} */
  const done = [];
  /** @type {string[]} */
  const refusals = [];
  for (const task of tasks) {
    try {
      await action(task);
      done.push(task);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      refusals.push(error.message.includes(task.title) ? error.message : `“${task.title}”: ${error.message}`);
    }
  }
  return { done, refusals };
}
