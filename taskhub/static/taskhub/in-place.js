// Text that is edited in its place: a button shows a form where the text was. What is written stays until it is saved or
// given up.

import { find } from "./dom.js";
import { onPress, showError } from "./forms.js";
import { Draft } from "./task-save.js";
import { tellChange } from "./task-undo.js";
import { guardUnsaved } from "./unsaved.js";

/**
 * @import { Task } from "schemas"
 * @import { Fields } from "./task-save.js"
 *
 * @typedef {object} InPlaceOptions
 * @property {HTMLElement} press - Shows the form.
 * @property {HTMLFormElement} form - With one field, a place for the error, and a button of the class `cancel`.
 * @property {HTMLElement[]} view - What the form takes the place of.
 * @property {() => Promise<Task>} current - Reads the task. Rejects with Refused.
 * @property {HTMLElement} problem - Where it is shown that the task cannot be read.
 * @property {(task: Task) => string} textOf
 * @property {(text: string) => Fields} fieldsOf
 * @property {(task: Task) => void} onSaved
 */

/** @param {InPlaceOptions} options */
export function editInPlace({ press, form, view, current, problem, textOf, fieldsOf, onSaved }) {
  const field = /** @type {HTMLInputElement | HTMLTextAreaElement} */ (find(form, "input, textarea"));
  const refusal = find(form, "[role=alert]");
  const theirs = form.querySelector("details");
  /** @type {Draft | null} */
  let draft = null;
  let before = ""; // the text when the form was opened

  /** @param {boolean} isOpen */
  function show(isOpen) {
    form.hidden = !isOpen;
    press.hidden = isOpen;
    for (const each of view)
      if (each instanceof HTMLHeadingElement)
        each.classList.toggle("unseen", isOpen); // the page keeps its heading
      else each.hidden = isOpen;
    (isOpen ? field : press).focus();
  }

  /** @param {Task | null} task - Null: they changed nothing. */
  function showTheirs(task) {
    if (!theirs) return;
    theirs.hidden = !task;
    if (task) find(theirs, "pre").textContent = textOf(task);
  }

  function close() {
    draft = null;
    showError(refusal, "");
    showTheirs(null);
    show(false);
  }

  const isChanged = () => draft !== null && field.value !== before;
  guardUnsaved(isChanged);
  onPress(press, problem, async () => {
    draft = new Draft(await current());
    field.value = textOf(draft.task);
    before = field.value; // as the field has it: a browser changes line ends
    show(true);
  });
  onPress(form, refusal, async () => {
    if (!draft) return;
    if (!isChanged()) {
      close();
      return;
    }
    const before = draft.task;
    try {
      const fields = fieldsOf(field.value);
      const after = await draft.save(fields);
      onSaved(after);
      close();
      tellChange(fields, { before, after, onSaved });
    } catch (error) {
      if (draft.task.version !== before.version) showTheirs(draft.task);
      throw error;
    }
  });
  find(form, ".cancel").addEventListener("click", close);
  form.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Escape" && !isChanged()) close(); // what was written goes with “Cancel” alone
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
}
