// The order of tasks: what a task waits for, and what waits for it.

import { api, call, readAll } from "./api.js";
import { $, button, element } from "./dom.js";
import { entryOf, enums } from "./enums.js";
import { tryAction } from "./forms.js";

/**
 * @import { Blocker, RenderedTask, Task } from "schemas"
 * @import { HubEvent } from "./hub.js"
 */

const MOST = 200; // tasks that wait, in the list

/** The text for what a task needs of people. @type {Record<RenderedTask["waiting_for"], string>} */
const NEEDS = { "": "", person: "a person to release it", answer: "an answer", review: "a review" };

/**
 * @param {RenderedTask} task
 * @param {{ mayWork: boolean, onWaived: () => void }} options
 */
export function showBlockers(task, { mayWork, onWaived }) {
  const hidden = task.blocked_by_hidden;
  const others = hidden ? `${hidden} more ${hidden === 1 ? "task that is" : "tasks that are"} private` : "";
  const needs = [NEEDS[task.waiting_for], others].filter(Boolean).join(", ");
  $("needs").textContent = needs || (task.blocked_by.length ? "" : "nothing");
  const rows = task.blocked_by.map((blocker) => {
    const row = rowOf(blocker, blocker.waived_by ? `waived by ${blocker.waived_by}` : "");
    if (mayWork && blocker.open && blocker.closed_as) row.append(" ", waiver(task.id, blocker, onWaived));
    return row;
  });
  replaceRows($("blockers"), rows);
}

/**
 * Read and show the tasks that wait for this one.
 *
 * @param {string} taskId
 * @throws {Refused}
 */
export async function showDependents(taskId) {
  /** @type {{ rows: Task[], isCut: boolean }} */
  const { rows, isCut } = await readAll(api("tasks"), [["blocked_by", taskId]], MOST);
  const more = isCut ? [element("li", `These are the first ${rows.length}.`, "note")] : [];
  replaceRows(
    $("dependents"),
    rows.length ? [...rows.map((task) => rowOf(task)), ...more] : [element("li", "nothing")],
  );
}

/** Whether the task waits for others, or others wait for it. */
export const hasOrder = () => links("").length > 0;

/**
 * Whether an event of another task may change what is shown of the order: it is one of those that are shown, or it may
 * have come to wait for this one.
 *
 * @param {HubEvent} event
 */
export function changesOrder({ name, data }) {
  if (name === "task_created") return data.ready === false;
  if (name === "task_updated" && data.changed.includes("blocked_by")) return true;
  return ["task_updated", "task_deleted"].includes(name) && "task_id" in data && links(data.task_id).length > 0;
}

/** @param {string} id - Of a task; empty: any. */
const links = (id) => document.querySelectorAll(`:is(#blockers, #dependents) a[href^="/tasks/${id}"]`);

/**
 * Rows are drawn anew only where something changed: the focus stays.
 *
 * @param {HTMLElement} list
 * @param {HTMLElement[]} rows
 */
function replaceRows(list, rows) {
  /** @param {Iterable<Element>} elements */
  const look = (elements) => [...elements].map(({ outerHTML }) => outerHTML).join("");
  if (look(list.children) !== look(rows)) list.replaceChildren(...rows);
}

/**
 * @param {Blocker | Task} task
 * @param {string} [words] - In the place of its status.
 */
function rowOf({ id, title, status, closed_as: closedAs }, words = "") {
  const row = element("li");
  const link = element("a", title);
  link.href = `/tasks/${id}/`;
  const state = element("span", words || closedAs || entryOf(enums().statuses, status).label, "mark");
  row.append(state, " ", link);
  return row;
}

/**
 * @param {string} taskId
 * @param {Blocker} blocker
 * @param {() => void} onWaived
 */
function waiver(taskId, blocker, onWaived) {
  const press = button("Waive", "small");
  const action = async () => {
    await call("POST", api("tasks", taskId, "waive"), { blocker: blocker.id });
    onWaived(); // no event tells it while the task waits for others
  };
  press.addEventListener("click", () => void tryAction($("problem"), action));
  return press;
}
