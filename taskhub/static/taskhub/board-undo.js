// Undo of what the board changed on a task: its status, its assignee.

import { assign, changeStatus, each } from "./board-actions.js";
import { entryOf, enums } from "./enums.js";
import { Refused } from "./api.js";

/**
 * @import { Task } from "schemas"
 * @import { Undo } from "./toasts.js"
 * @import { ListedTask, StoredTask } from "./task-facts.js"
 *
 * @typedef {{ before: StoredTask, after: Task }} Change
 */

/**
 * What undoes these changes, in their present version: a change of others since then is not overwritten. Null where
 * nothing can be undone: a change has ended an agent's lease, has dropped how the task was closed, or there is no way
 * back to its status.
 *
 * @param {Change[]} changes
 * @param {(task: ListedTask) => void} put
 * @returns {Undo | null}
 */
export function undoOf(changes, put) {
  const undoable = changes.filter(canUndo);
  if (!undoable.length) return null;
  return async () => {
    const tasks = undoable.map(({ before, after }) => ({ ...before, ...after }));
    const { refusals } = await each(tasks, async (task) => {
      const before = undoable.find((change) => change.before.id === task.id)?.before;
      if (before) put(await undone(before, task));
    });
    if (refusals.length) throw new Refused(refusals.join(" "));
  };
}

/** @param {Change} change */
function canUndo({ before, after }) {
  if (before.holder || before.closed_as) return false;
  if (before.status === after.status) return before.assignee !== after.assignee;
  return entryOf(enums().statuses, after.status).next.includes(before.status);
}

/**
 * @param {StoredTask} before
 * @param {StoredTask} now
 */
const undone = (before, now) =>
  before.status === now.status ? assign(now, before.assignee) : changeStatus(now, before.status);
