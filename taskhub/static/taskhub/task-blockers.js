// What a task waits for: other tasks, and people.

import { api, call } from "./api.js";
import { $, element } from "./dom.js";
import { tryAction } from "./forms.js";

/**
 * @import { Blocker, RenderedTask } from "schemas"
 */

/** The text for what a task needs of people. @type {Record<RenderedTask["waiting_for"], string>} */
const NEEDS = { "": "", person: "a person to release it", answer: "an answer", review: "a review" };

/**
 * @param {RenderedTask} task
 * @param {() => void} onWaived
 */
export function showBlockers(task, onWaived) {
  const hidden = task.blocked_by_hidden;
  const others = hidden ? `${hidden} more ${hidden === 1 ? "task that is" : "tasks that are"} private` : "";
  const needs = [NEEDS[task.waiting_for], others].filter(Boolean).join(", ");
  $("needs").textContent = needs || (task.blocked_by.length ? "" : "nothing");
  $("blockers").replaceChildren(...task.blocked_by.map((blocker) => row(task.id, blocker, onWaived)));
}

/**
 * @param {string} taskId
 * @param {Blocker} blocker
 * @param {() => void} onWaived
 */
function row(taskId, blocker, onWaived) {
  const item = element("li");
  const link = element("a", blocker.title);
  link.href = `/tasks/${blocker.id}/`;
  const state = blocker.waived_by ? `waived by ${blocker.waived_by}` : blocker.closed_as || blocker.status;
  item.append(link, ` (${state})`);
  if (blocker.open && blocker.closed_as) item.append(" ", waiver(taskId, blocker, onWaived));
  return item;
}

/**
 * @param {string} taskId
 * @param {Blocker} blocker
 * @param {() => void} onWaived
 */
function waiver(taskId, blocker, onWaived) {
  const button = element("button", "Waive", "small");
  button.type = "button";
  const action = async () => {
    await call("POST", api("tasks", taskId, "waive"), { blocker: blocker.id });
    onWaived(); // no event tells it while the task waits for others
  };
  button.addEventListener("click", () => void tryAction($("problem"), action));
  return button;
}
