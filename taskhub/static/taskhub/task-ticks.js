// Check boxes in a task's description: who may change the task ticks them, one change after another.

import { Refused } from "./api.js";
import { closest } from "./dom.js";
import { showError } from "./forms.js";
import { forget, SAVING, withTick } from "./markdown.js";
import { save } from "./task-save.js";

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
    box.setAttribute(SAVING, "");
    last = last.then(() => tick(line, checked)).finally(() => box.removeAttribute(SAVING));
  });

  /**
   * @param {number} line
   * @param {boolean} isTicked
   */
  async function tick(line, isTicked) {
    const seen = task();
    showError(problem, "");
    try {
      if (!seen) return;
      onSaved(await save(seen, (now) => ({ description: ticked(seen.description, now.description, line, isTicked) })));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      showError(problem, `Not ticked: ${error.message}`);
      forget(place);
      onRefused();
    }
  }
}

/**
 * The description as it is now with the box ticked or not.
 *
 * @param {string} seen
 * @param {string} now
 * @param {number} line
 * @param {boolean} isTicked
 * @throws {Refused} where this line is another one by now.
 */
function ticked(seen, now, line, isTicked) {
  const [before, after] = [seen, now].map((text) => withTick(text, line, isTicked));
  const isSame = before != null && after != null && lineOf(before, line) === lineOf(after, line);
  if (!isSame) throw new Refused("The description has changed meanwhile. Tick it again.");
  return after;
}

/**
 * @param {string} text
 * @param {number} line
 */
const lineOf = (text, line) => text.split(/\r\n|\r|\n/)[line];
