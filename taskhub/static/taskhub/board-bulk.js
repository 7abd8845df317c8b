// Several cards at once: which are selected, and the bar that changes, runs and stops them.

import { assign, changeStatus, each, run, stop } from "./board-actions.js";
import { $, field } from "./dom.js";
import { count } from "./format.js";
import { onPress, showError } from "./forms.js";

/**
 * @import { Task, TaskStatusEnum } from "schemas"
 * @import { TaskStore } from "./task-store.js"
 */

export class Selection {
  /** @type {Set<string>} */
  #ids = new Set();
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
      if (wanted) void this.#do(`moved to ${label}`, (task) => this.#put(changeStatus(task, wanted)));
    });
    const form = $("bulk-assign", HTMLFormElement);
    onPress(form, $("problem"), () => {
      const name = field(form, "assignee", HTMLInputElement).value.trim();
      return this.#do(name ? `assigned to ${name}` : "unassigned", (task) => this.#put(assign(task, name)));
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

  /** @param {Promise<Task>} change */
  async #put(change) {
    this.#store.put(await change);
  }

  /**
   * @param {string} done - What was done: `moved to Review`.
   * @param {Parameters<typeof each>[1]} action
   */
  async #do(done, action) {
    const tasks = [...this.#ids].flatMap((id) => this.#store.tasks.get(id) ?? []);
    showError($("problem"), "");
    const result = await each(tasks, action);
    $("note").textContent = `${count(result.done.length, "task")} ${done}.`;
    showError($("problem"), result.refusals.join(" "));
    this.#onChange();
  }
}
