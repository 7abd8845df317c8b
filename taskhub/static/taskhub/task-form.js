// The fields of a task's form, and who else changed the task meanwhile.

import { api, call, Refused } from "./api.js";
import { field } from "./dom.js";
import { split } from "./format.js";

/**
 * @import { Page } from "./api.js"
 * @import { AuditEntry, StatusChangeRequest, Task, TaskRequest, TaskStatusEnum } from "schemas"
 */

/**
 * What a form holds, as REST takes it. The form for new tasks has neither artifacts nor status.
 *
 * @param {HTMLFormElement} form
 * @returns {TaskRequest}
 */
export function fieldsOf(form) {
  const artifacts = form.elements.namedItem("artifacts");
  const status = form.elements.namedItem("status");
  /** @type {TaskRequest} */
  const found = {
    title: field(form, "title", HTMLInputElement).value.trim(),
    description: field(form, "description", HTMLTextAreaElement).value,
    priority: /** @type {TaskRequest["priority"] & string} */ (field(form, "priority", HTMLSelectElement).value),
    assignee: field(form, "assignee", HTMLInputElement).value.trim(),
    tags: split(field(form, "tags", HTMLInputElement).value, ","),
    private: field(form, "private", HTMLInputElement).checked,
  };
  if (artifacts instanceof HTMLTextAreaElement) found.artifacts = split(artifacts.value, "\n");
  if (status instanceof HTMLSelectElement) found.status = /** @type {TaskRequest["status"] & string} */ (status.value);
  return found;
}

/**
 * Whether a write was refused because the task has another version by now.
 *
 * @param {unknown} error
 * @returns {error is Refused & { details: { version: number } }}
 */
export const isConflict = (error) => error instanceof Refused && error.status === 412;

/**
 * Change the status of a task unless it has another version by now.
 *
 * @param {{ id: string, version: number }} task
 * @param {TaskStatusEnum} status
 * @param {string} note - Why; may be empty.
 * @returns {Promise<Task>}
 * @throws {Refused}
 */
export function putStatus({ id, version }, status, note) {
  /** @type {StatusChangeRequest} */
  const body = { new_status: status, ...(note && { note }) };
  return call("PUT", api("tasks", "status", id), body, { version });
}

/**
 * Who changed a task since a version; each change makes the next version.
 *
 * @param {string} taskId
 * @param {number} version - The one that the reader saw.
 * @param {number} now - The present one.
 * @throws {Refused}
 */
export async function whoChanged(taskId, version, now) {
  /** @type {Page<AuditEntry>} */
  const { results } = await call("GET", `${api("tasks", taskId, "history")}?page_size=200`);
  const changes = results.filter(({ action }) => action === "task:update").slice(0, now - version);
  if (!changes.length) return "The task has been changed meanwhile.";
  const sentences = changes.reverse().map((entry) => {
    const fields = Object.keys(/** @type {object} */ (entry.changes)).join(", ");
    return `${entry.actor || "the service"} changed ${fields} at ${new Date(entry.at).toLocaleTimeString()}`;
  });
  return `Meanwhile ${sentences.join("; ")}.`;
}
