// The form that edits a task. It sends only what was changed in it, and detects conflicting edits before saving.

import { api, call } from "./api.js";
import { $, field } from "./dom.js";
import { entryOf, enums } from "./enums.js";
import { closable, onPress, showError } from "./forms.js";
import { fieldsOf, isConflict, whoChanged } from "./task-form.js";

/**
 * @import { Task, TaskRequest } from "schemas"
 */

const form = $("edit-form", HTMLFormElement);
const dialog = closable($("edit-dialog", HTMLDialogElement));
/** The fields when the form was opened. @type {Partial<TaskRequest>} */
let before = {};
let taskId = "";
let version = 0; // that is changed

const MAKE_PUBLIC =
  "Make the task public? Everyone will see it as it is now: its title, description and all other fields. " +
  "What was made while it was private (changes, executions, logs, files) stays with operators and those who could " +
  "read it then; others see only that something happened, and when.";

/** @type {Record<string, string>} */
const SEPARATORS = { tags: ", ", artifacts: "\n" };

/**
 * Fill in all fields except those of `mine`.
 *
 * @param {Task} task
 * @param {Partial<TaskRequest>} [mine]
 */
function fill(task, mine = {}) {
  for (const input of form.elements) {
    if (!isField(input) || !(input.name in task) || input.name in mine) continue;
    const value = task[/** @type {keyof Task} */ (input.name)];
    if (input instanceof HTMLInputElement && input.type === "checkbox") input.checked = value === true;
    else input.value = Array.isArray(value) ? value.join(SEPARATORS[input.name]) : String(value);
  }
  const kept = Object.fromEntries(Object.entries(before).filter(([name]) => name in mine));
  before = { ...fieldsOf(form), ...kept };
  taskId = task.id;
  version = task.version;
  offerStatuses(task);
}

/**
 * @param {Element} element
 * @returns {element is HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement}
 */
const isField = (element) =>
  element instanceof HTMLInputElement || element instanceof HTMLSelectElement || element instanceof HTMLTextAreaElement;

/** @param {Task} task */
function offerStatuses({ status }) {
  /** @type {{ next: string[] }} */
  const { next } = entryOf(enums().statuses, status);
  for (const option of field(form, "status", HTMLSelectElement).options)
    option.disabled = option.value !== status && !next.includes(option.value);
}

/** @returns {Partial<TaskRequest>} */
function changed() {
  const now = fieldsOf(form);
  /** @param {string} name */
  const differs = (name) =>
    JSON.stringify(now[/** @type {keyof TaskRequest} */ (name)]) !==
    JSON.stringify(before[/** @type {keyof TaskRequest} */ (name)]);
  return Object.fromEntries(Object.entries(now).filter(([name]) => differs(name)));
}

/**
 * Let a button open the form on the present task.
 *
 * @param {object} options
 * @param {HTMLElement} options.button
 * @param {HTMLElement} options.problem - Where it is shown that the task cannot be read.
 * @param {() => Promise<Task>} options.current - Reads the task. Rejects with Refused.
 * @param {(task: Task) => void} options.onSaved
 */
export function editor({ button, problem, current, onSaved }) {
  onPress(button, problem, async () => {
    showError($("edit-problem"), "");
    fill(await current());
    dialog.showModal();
  });
  onPress(form, $("edit-problem"), async () => {
    const mine = changed();
    if (mine.private === false && !confirm(MAKE_PUBLIC)) return;
    if (Object.keys(mine).length) onSaved(await save(mine));
    dialog.close();
  });
}

/**
 * @param {Partial<TaskRequest>} mine
 * @returns {Promise<Task>}
 * @throws {Refused}
 */
async function save(mine) {
  try {
    return await call("PATCH", api("tasks", taskId), mine, { version });
  } catch (error) {
    if (!isConflict(error)) throw error;
    const others = await whoChanged(taskId, version, error.details.version);
    fill(await call("GET", api("tasks", taskId)), mine);
    error.message = `${others} Your changes (${Object.keys(mine).join(", ")}) are not saved. Save again to overwrite.`;
    throw error;
  }
}
