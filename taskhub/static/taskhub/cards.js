// A task's card on the board, and how a column takes its cards: what stands right already is not touched.

import { element } from "./forms.js";
import { span } from "./words.js";

const TAGS = 5; // on a card
const template = document.getElementById("card").content.firstElementChild;

/** The card of a task, new or as it was before; `mayMove` gives it a handle. */
export function card(task, run, { before, mayMove }) {
  const item = before ?? template.cloneNode(true);
  const key = `${task.version} ${run?.step} ${run?.since}`;
  if (item.dataset.key === key) return item;
  item.dataset.key = key;
  item.dataset.id = task.id;
  item.draggable = mayMove;
  const find = (selector) => item.querySelector(selector);
  const link = find("h3 a");
  link.textContent = task.title;
  link.href = `/tasks/${task.id}/`;
  link.draggable = false; // or it would be the address that is dragged
  find(".priority").textContent = task.priority;
  find(".priority").dataset.priority = task.priority;
  find(".private").hidden = !task.private;
  find(".assignee").textContent = task.assignee || "nobody";
  find(".run").hidden = !run;
  find(".step").textContent = run?.step ?? "";
  find(".elapsed").textContent = run ? span(run.since) : "";
  find(".elapsed").dataset.since = run?.since ?? "";
  find(".tags").hidden = !task.tags.length;
  const more = task.tags.length > TAGS ? [element("li", `+${task.tags.length - TAGS}`, { className: "tag" })] : [];
  const tags = task.tags.slice(0, TAGS).map((tag) => element("li", tag, { className: "tag" }));
  find(".tags").replaceChildren(...tags, ...more);
  find(".move").hidden = !mayMove;
  find(".move .unseen").textContent = ` ${task.title}`;
  return item;
}

/** Put `cards` into `list` in this order. A card that has to be moved loses the focus; the caller gives it back. */
export function place(list, cards) {
  let next = list.firstElementChild;
  for (const each of cards) {
    if (each === next) next = next.nextElementSibling;
    else list.insertBefore(each, next);
  }
  while (next) {
    const gone = next;
    next = next.nextElementSibling;
    gone.remove();
  }
}

/** Let the clocks of all running executions go on. */
export function tick(board) {
  for (const clock of board.querySelectorAll(".run:not([hidden]) .elapsed"))
    clock.textContent = span(clock.dataset.since);
}
