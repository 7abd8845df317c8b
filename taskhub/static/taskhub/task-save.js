// Saves changes of a task on its present version. What others have changed meanwhile is not overwritten unseen. No DOM.

import { api, call, Refused } from "./api.js";
import { isConflict, whoChanged } from "./task-form.js";

/**
 * @import { Task, TaskRequest } from "schemas"
 *
 * @typedef {Partial<TaskRequest>} Fields
 * @typedef {(now: Task) => Fields | Promise<Fields>} Change - What is to be written on this state of the task. Rejects
 *   with Refused where it would overwrite what the reader has not seen.
 */

const TRIES = 5; // on a task that others keep changing

/**
 * The task after the change. Where others change the task meanwhile, the change is made again on what it is then. Where
 * it already is as wished, nothing is sent.
 *
 * @param {Task} seen - As the reader knows it.
 * @param {Change} change
 * @returns {Promise<Task>}
 * @throws {Refused}
 */
export async function save(seen, change) {
  let now = seen;
  for (let tries = 1; ; tries += 1) {
    const fields = await change(now);
    if (!namesOfChanges(now, fields).length) return now;
    try {
      return await call("PATCH", api("tasks", now.id), fields, { version: now.version });
    } catch (error) {
      if (!isConflict(error) || tries === TRIES) throw error;
      now = await call("GET", api("tasks", now.id));
    }
  }
}

/**
 * The names of the fields that differ from those of the task.
 *
 * @param {Task} task
 * @param {Fields} fields
 */
function namesOfChanges(task, fields) {
  /** @param {unknown} value */
  const text = (value) => JSON.stringify(value);
  return Object.entries(fields).flatMap(([name, value]) =>
    text(value) === text(task[/** @type {keyof Task} */ (name)]) ? [] : [name],
  );
}

/** Fields of a task that a person writes: a change of the same fields by others is shown before it is overwritten. */
export class Draft {
  /** As the reader knows it. */
  task;

  /** @param {Task} task */
  constructor(task) {
    this.task = task;
  }

  /**
   * Save these fields. After a refusal of the status 412 `task` is what others have made of it: to save again overwrites.
   *
   * @param {Fields} mine
   * @returns {Promise<Task>}
   * @throws {Refused}
   */
  async save(mine) {
    const seen = this.task;
    this.task = await save(seen, async (now) => {
      const names = Object.keys(mine).filter((name) => isOverwritten(seen, now, mine, name));
      if (!names.length) return mine;
      this.task = now;
      const others = await whoChanged(now.id, seen.version, now.version);
      throw new Refused(`${others} Your change (${names.join(", ")}) is not saved. Save again to overwrite.`, {
        status: 412,
      });
    });
    return this.task;
  }
}

/**
 * Whether others have changed a field since the reader saw it, to something else than the reader wishes.
 *
 * @param {Task} seen
 * @param {Task} now
 * @param {Fields} mine
 * @param {string} name
 */
function isOverwritten(seen, now, mine, name) {
  /** @param {object} fields */
  const text = (fields) => JSON.stringify(/** @type {Record<string, unknown>} */ (fields)[name]);
  return text(now) !== text(seen) && text(now) !== text(mine);
}
