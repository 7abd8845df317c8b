// The form that changes a task. It sends what was changed in it and nothing else, and overwrites nobody unasked.

import { api, call } from "./api.js";
import { $, closable, complain, onPress } from "./forms.js";
import { fieldsOf, whoChanged } from "./words.js";

const form = $("edit-form");
const dialog = closable($("edit-dialog"));
let before = {}; // the fields as they were when the form was opened
let taskId = "";
let version = 0; // that is to be changed

const shownAs = {
  tags: (tags) => tags.join(", "),
  artifacts: (artifacts) => artifacts.join("\n"),
};

/** Fill in all fields but `kept`. */
function fill(task, kept = {}) {
  for (const field of form.elements) {
    if (!(field.name in task) || field.name in kept) continue;
    if (field.type === "checkbox") field.checked = task[field.name];
    else field.value = (shownAs[field.name] ?? String)(task[field.name]);
  }
  before = { ...fieldsOf(form), ...Object.fromEntries(Object.keys(kept).map((name) => [name, before[name]])) };
  taskId = task.id;
  version = task.version;
  const { options } = form.elements.status;
  const next = [...options].find(({ value }) => value === task.status).dataset.next.split(" ");
  for (const option of options) option.disabled = option.value !== task.status && !next.includes(option.value);
}

function changed() {
  const now = fieldsOf(form);
  const differs = (name) => JSON.stringify(now[name]) !== JSON.stringify(before[name]);
  return Object.fromEntries(Object.entries(now).filter(([name]) => differs(name)));
}

/**
 * Open the form on the task that `current()` promises, or say in `problem` why not; `onSaved(task)` gets what became
 * of it.
 */
export function editor({ button, problem, current, onSaved }) {
  onPress(button, problem, async () => {
    complain($("edit-problem"), "");
    fill(await current());
    dialog.showModal();
  });
  onPress(form, $("edit-problem"), async () => {
    const mine = changed();
    if (!Object.keys(mine).length) {
      dialog.close();
      return;
    }
    try {
      onSaved(await call("PATCH", api("tasks", taskId), mine, { version }));
      dialog.close();
    } catch (error) {
      if (error.status !== 412) throw error;
      const words = await whoChanged(taskId, version, error.details.version);
      fill(await call("GET", api("tasks", taskId)), mine);
      error.message = `${words} Yours (${Object.keys(mine).join(", ")}) is not saved; save again to put it over theirs.`;
      throw error;
    }
  });
}
