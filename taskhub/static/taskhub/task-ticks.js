// Check boxes in a task's description: who may change the task ticks them, one change after another.

import { api, call, Refused } from "./api.js";
import { closest } from "./dom.js";
import { showError } from "./forms.js";
import { forget, withTick } from "./markdown.js";

/** @import { Task } from "schemas" */

/**
 * @param {object} options
 * @param {HTMLElement} options.place - The rendered description.
 * @param {HTMLElement} options.problem
 * @param {() => Task | null} options.task - As it is shown.
 * @param {(task: Task) => void} options.onSaved
 * @param {() => void} options.onRefused - What is shown is not what is there.
 */
export function ticker({ place, problem, task, onSaved, onRefused }) {
  let last = Promise.resolve();
  place.addEventListener("change", (event) => {
    const box = closest(event, "input[data-line]");
    if (!(box instanceof HTMLInputElement)) return;
    const { checked } = box;
    const line = Number(box.dataset["line"]);
    last = last.then(() => tick(line, checked));
  });

  /**
   * @param {number} line
   * @param {boolean} isTicked
   */
  async function tick(line, isTicked) {
    const now = task();
    const description = now && withTick(now.description, line, isTicked);
    showError(problem, "");
    try {
      if (!now || description === null) throw new Refused("The description has changed meanwhile. Tick it again.");
      onSaved(await call("PATCH", api("tasks", now.id), { description }, { version: now.version }));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      showError(problem, `Not ticked: ${error.message}`);
      forget(place);
      onRefused();
    }
  }
}
