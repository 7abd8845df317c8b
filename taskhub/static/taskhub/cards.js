// Cards of the board: one element for each task that is shown.

import { $, element, find } from "./dom.js";
import { priorityRank } from "./enums.js";
import { stateText } from "./execution-state.js";
import { duration } from "./format.js";

/**
 * @import { Run, StoredTask } from "./task-store.js"
 */

const TAGS = 5; // on a card
const template = $("card", HTMLTemplateElement).content.firstElementChild;

/**
 * The card of a task: `before` with its present state, or a new one.
 *
 * @param {StoredTask} task
 * @param {Run | undefined} run
 * @param {{ before: HTMLElement | undefined, mayMove: boolean }} options - `mayMove` gives it a handle.
 */
export function card(task, run, { before, mayMove }) {
  const item = before ?? /** @type {HTMLElement} */ (template?.cloneNode(true));
  const key = `${task.version} ${run?.step ?? ""} ${run?.since ?? ""} ${run ? stateText(run) : ""}`;
  if (item.dataset["key"] === key) return item;
  item.dataset["key"] = key;
  item.dataset["id"] = task.id;
  item.draggable = mayMove;
  fillFacts(item, task);
  fillRun(item, run);
  fillTags(find(item, ".tags"), task.tags);
  find(item, ".move").hidden = !mayMove;
  find(item, ".move .unseen").textContent = ` ${task.title}`;
  return item;
}

/**
 * @param {HTMLElement} item
 * @param {StoredTask} task
 */
function fillFacts(item, task) {
  const link = find(item, "h3 a", HTMLAnchorElement);
  link.textContent = task.title;
  link.href = `/tasks/${task.id}/`;
  link.draggable = false; // or its address would be dragged
  const priority = find(item, ".priority");
  priority.textContent = priority.dataset["priority"] = task.priority;
  priority.dataset["rank"] = priorityRank(task.priority);
  find(item, ".private").hidden = !task.private;
  find(item, ".assignee").textContent = task.assignee || "unassigned";
}

/**
 * @param {HTMLElement} item
 * @param {Run | undefined} run
 */
function fillRun(item, run) {
  find(item, ".run").hidden = !run;
  find(item, ".elapsed").dataset["since"] = run?.since ?? "";
  if (!run) return;
  find(item, ".run").dataset["run"] = run.ending ? "ending" : run.waiting ? "waiting" : "";
  find(item, ".step").textContent = stateText(run) || (run.kind === "verify" ? "being verified" : run.step);
  find(item, ".elapsed").textContent = duration(run.since);
}

/**
 * @param {HTMLElement} list
 * @param {string[]} tags
 */
function fillTags(list, tags) {
  list.hidden = !tags.length;
  const items = tags.slice(0, TAGS).map((tag) => element("li", tag, "tag"));
  if (tags.length > TAGS) items.push(element("li", `+${tags.length - TAGS}`, "tag"));
  list.replaceChildren(...items);
}

/**
 * Update the clocks of all running executions.
 *
 * @param {HTMLElement} board
 */
export function tick(board) {
  /** @type {NodeListOf<HTMLElement>} */
  const clocks = board.querySelectorAll(".run:not([hidden]) .elapsed");
  for (const clock of clocks) clock.textContent = duration(clock.dataset["since"] ?? "");
}
