// The dialog for a new task.

import { api, call } from "./api.js";
import { $ } from "./dom.js";
import { closable, onPress, showError } from "./forms.js";
import { fieldsOf } from "./task-form.js";

/** @import { Task } from "schemas" */

export const NEW = "#new"; // of the board's address: opens the dialog

/**
 * @param {(task: Task) => void} onCreated
 * @returns {() => void} - Opens it.
 */
export function newTask(onCreated) {
  const dialog = closable($("new-dialog", HTMLDialogElement));
  const form = $("new-form", HTMLFormElement);
  onPress(form, $("new-problem"), async () => {
    /** @type {Task} */
    const task = await call("POST", api("tasks"), fieldsOf(form));
    dialog.close();
    form.reset();
    onCreated(task);
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) form.requestSubmit();
  });
  const open = () => {
    showError($("new-problem"), "");
    dialog.showModal();
  };
  $("new-task").addEventListener("click", open);
  if (location.hash === NEW && !$("new-task").hidden) {
    history.replaceState(null, "", location.pathname + location.search);
    open();
  }
  return open;
}
