// What was changed on a task's page, in a toast that undoes it.

import { call, api } from "./api.js";
import { entryOf, enums } from "./enums.js";
import { toast } from "./toasts.js";

/**
 * @import { Task } from "schemas"
 * @import { Fields } from "./task-save.js"
 *
 * @typedef {object} Told
 * @property {Task} before
 * @property {Task} after
 * @property {(task: Task) => void} onSaved
 */

/** What is said of a change of these fields. @type {Record<string, (task: Task) => string>} */
const WORDS = {
  title: () => "Renamed.",
  description: () => "Description saved.",
  artifacts: () => "Artifacts saved.",
  status: ({ status }) => `Now in ${entryOf(enums().statuses, status).label}.`,
  priority: ({ priority }) => `Priority: ${priority}.`,
  assignee: ({ assignee }) => (assignee ? `Assigned to ${assignee}.` : "Unassigned."),
  tags: ({ tags }) => (tags.length ? `Tags: ${tags.join(", ")}.` : "No tags."),
  private: (task) => (task.private ? "Private now." : "Visible to everyone now."),
};

/**
 * Say what was changed. Undone is it on the version that it made: a change of others since then is not overwritten.
 *
 * @param {Fields} fields - That were sent.
 * @param {Told} told
 */
export function tellChange(fields, { before, after, onSaved }) {
  const names = /** @type {(keyof Fields & keyof Task)[]} */ (Object.keys(fields)).filter(
    (name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]),
  );
  const [name] = names;
  if (!name) return;
  const back = Object.fromEntries(names.map((each) => [each, before[each]]));
  const undo = async () => onSaved(await call("PATCH", api("tasks", after.id), back, { version: after.version }));
  toast(WORDS[name]?.(after) ?? "Saved.", { undo: names.every((each) => canUndo(each, before, after)) ? undo : null });
}

/**
 * Not where a change has ended an agent's lease, has dropped how the task was closed, or there is no way back to its
 * status; nor where others have come to see the task, or no longer do.
 *
 * @param {string} name
 * @param {Task} before
 * @param {Task} after
 */
function canUndo(name, before, after) {
  if (name === "private") return false;
  if (name === "assignee") return !before.holder;
  if (name !== "status") return true;
  return !before.holder && !before.closed_as && entryOf(enums().statuses, after.status).next.includes(before.status);
}
