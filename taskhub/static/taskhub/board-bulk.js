// Several cards at once: which are selected, and the bar that changes, runs and stops them.

import { assign, changeStatus, each, run, stop } from "./board-actions.js";
import { $, field } from "./dom.js";
import { undoOf } from "./board-undo.js";
import { count } from "./format.js";
import { onPress, showError } from "./forms.js";
import { toast } from "./toasts.js";

/**
 * @import { Task, TaskStatusEnum } from "schemas"
 * @import { Change } from "./board-undo.js"
 * @import { StoredTask } from "./task-facts.js"
 * @import { TaskStore } from "./task-store.js"
 */

export class Selection {
  /** @type {Set<string>} */
  #ids = new Set();
  /** What the action under way has changed. @type {Change[]} */
  #changes = [];
  #store;
  #onChange;

  /**
   * @param {TaskStore} store
   * @param {() => void} onChange
   */
  constructor(store, onChange) {
    this.#store = store;
    this.#onChange = onChange;
    const status = $("bulk-status", HTMLSelectElement);
    status.addEventListener("change", () => {
      const wanted = /** @type {TaskStatusEnum | ""} */ (status.value);
      const label = status.selectedOptions[0]?.label ?? "";
      status.value = "";
      if (wanted) void this.#do(`moved to ${label}`, (task) => this.#put(task, changeStatus(task, wanted)));
    });
    const form = $("bulk-assign", HTMLFormElement);
    onPress(form, $("problem"), async () => {
      const name = field(form, "assignee", HTMLInputElement).value.trim();
      await this.#do(name ? `assigned to ${name}` : "unassigned", (task) => this.#put(task, assign(task, name)));
      form.reset();
    });
    onPress($("bulk-run"), $("problem"), () => this.#do("queued to run", run));
    onPress($("bulk-stop"), $("problem"), () => this.#do("asked to stop", stop));
    $("bulk-clear").addEventListener("click", () => this.clear());
  }

  /** @param {string} id */
  has = (id) => this.#ids.has(id);

  /** @param {string} id */
  toggle(id) {
    if (!this.#ids.delete(id)) this.#ids.add(id);
    this.#show();
    this.#onChange();
  }

  clear() {
    const hadFocus = $("bulk").contains(document.activeElement);
    this.#ids.clear();
    this.#show();
    this.#onChange();
    if (hadFocus) $("main").focus();
  }

  /** Leave out tasks that are gone, or not shown by the filters. @param {Set<string>} shown */
  keep(shown) {
    const before = this.#ids.size;
    for (const id of this.#ids) if (!shown.has(id)) this.#ids.delete(id);
    if (this.#ids.size !== before) this.#show();
  }

  #show() {
    const n = this.#ids.size;
    const hadFocus = $("bulk").contains(document.activeElement);
    $("bulk").hidden = n === 0;
    $("board").classList.toggle("selecting", n > 0);
    document.body.classList.toggle("selecting", n > 0);
    $("bulk-count").textContent = `${count(n, "task")} selected`;
    if (n === 0 && hadFocus) $("main").focus();
  }

  /**
   * @param {StoredTask} before
   * @param {Promise<Task>} change
   */
  async #put(before, change) {
    const after = await change;
    this.#changes.push({ before, after });
    this.#store.put(after);
  }

  /**
   * @param {string} done - What was done: `moved to Review`.
   * @param {Parameters<typeof each>[1]} action
   */
  async #do(done, action) {
    const tasks = [...this.#ids].flatMap((id) => this.#store.tasks.get(id) ?? []);
    showError($("problem"), "");
    this.#changes = [];
    const result = await each(tasks, action);
    const undo = undoOf(this.#changes, (task) => this.#store.put(task));
    if (result.done.length) toast(`${count(result.done.length, "task")} ${done}.`, { undo });
    showError($("problem"), result.refusals.join(" "));
    this.#onChange();
  }
}
