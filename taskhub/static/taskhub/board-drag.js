// Dragging cards from column to column: a column takes a card where its task's status may become the column's.

import { closest } from "./dom.js";

/**
 * @import { TaskStatusEnum } from "schemas"
 * @import { StoredTask } from "./task-facts.js"
 *
 * @param {object} options
 * @param {HTMLElement} options.board
 * @param {Iterable<{ value: TaskStatusEnum, section: HTMLElement }>} options.columns
 * @param {(event: Event) => StoredTask | undefined} options.taskOf - The task of the card that an event happened in.
 * @param {(task: StoredTask) => TaskStatusEnum[]} options.nextOf
 * @param {(id: string, status: TaskStatusEnum) => void} options.onDrop
 */
export function dragging({ board, columns, taskOf, nextOf, onDrop }) {
  const places = [...columns];
  let dragged = ""; // the id of the task that is being dragged

  board.addEventListener("dragstart", (event) => {
    const item = closest(event, ".card");
    const task = taskOf(event);
    if (!item?.draggable || !task || !event.dataTransfer) return;
    dragged = task.id;
    event.dataTransfer.setData("text/plain", task.id);
    event.dataTransfer.effectAllowed = "move";
    item.classList.add("dragged");
    board.classList.add("dragging");
    const next = nextOf(task);
    for (const { value, section } of places) section.dataset["drop"] = next.includes(value) ? "yes" : "no";
  });

  board.addEventListener("dragend", (event) => {
    closest(event, ".card")?.classList.remove("dragged");
    board.classList.remove("dragging");
    for (const { section } of places) {
      section.classList.remove("over");
      delete section.dataset["drop"];
    }
  });

  for (const { value, section } of places) {
    section.addEventListener("dragover", (event) => {
      if (section.dataset["drop"] !== "yes") return;
      event.preventDefault(); // it may be dropped here
      section.classList.add("over");
    });
    section.addEventListener("dragleave", (event) => {
      if (!(event.relatedTarget instanceof Node && section.contains(event.relatedTarget)))
        section.classList.remove("over");
    });
    section.addEventListener("drop", (event) => {
      event.preventDefault();
      onDrop(dragged, value);
    });
  }
}
