// The live board: tasks by status. Changes of others appear by themselves; who may work moves, creates and opens tasks.

import { api, call } from "./api.js";
import { card, tick } from "./cards.js";
import { $, button, closest, field, find, reconcileChildren } from "./dom.js";
import { entryOf, enums, priorityOrder } from "./enums.js";
import { closable, onPress, showError, tryAction } from "./forms.js";
import { firstTask } from "./first-task.js";
import { hubStream } from "./hub.js";
import { mayWork as worksAs, me } from "./identity.js";
import { TaskStore } from "./task-store.js";
import { fieldsOf, isConflict, whoChanged } from "./task-form.js";

/**
 * @import { Task, TaskStatusEnum } from "schemas"
 * @import { Status } from "./enums.js"
 * @import { StoredTask } from "./task-store.js"
 *
 * @typedef {Status & { section: HTMLElement, limit: number }} Column
 */

const STEP = 50; // cards of a column, and as many again with each "Show more"
const BY_NAME = "="; // before an assignee in the filter's values; alone it is "unassigned"
const FRESH_MS = 3000;
const STREAM_WAIT_MS = 5000;
const LOOK_MS = 10_000; // positions in the queue change without an event

const board = $("board");
const store = new TaskStore({ onChange: redraw, onError: (text) => showError($("problem"), text) });
/** By the task's id. @type {Map<string, HTMLElement>} */
const cards = new Map();
const mayWork = worksAs(await me);
const offerFirst = mayWork ? firstTask() : () => {};
/** @type {Map<string, Column>} */
const columns = new Map(
  enums().statuses.map((status) => [
    status.value,
    { ...status, section: find(board, `[data-status="${status.value}"]`), limit: STEP },
  ]),
);
const form = $("filters", HTMLFormElement);
const filters = {
  q: field(form, "q", HTMLInputElement),
  assignee: field(form, "assignee", HTMLSelectElement),
  priority: field(form, "priority", HTMLSelectElement),
};
let frame = 0;
let dragged = ""; // the id of the task that is being dragged

/** @param {string} status */
const columnOf = (status) => /** @type {Column} */ (columns.get(status));

// --- Drawing -------------------------------------------------------------------------------------------

function redraw() {
  frame ||= requestAnimationFrame(draw);
}

function draw() {
  frame = 0;
  if (!store.isLoaded) return;
  const isWanted = filter();
  /** @type {Set<string>} */
  const shown = new Set();
  const focused = document.activeElement;
  offerFirst(store.tasks.size === 0);
  for (const column of columns.values()) {
    const all = [...store.tasks.values()].filter((task) => task.status === column.value);
    const wanted = all.filter(isWanted).sort(inOrder);
    const visible = wanted.slice(0, column.limit);
    for (const task of visible) shown.add(task.id);
    reconcileChildren(find(column.section, "ul"), visible.map(cardOf));
    showCounts(column, all.length, wanted.length);
  }
  for (const id of cards.keys()) if (!shown.has(id)) cards.delete(id);
  // A card that moves to another column keeps the focus.
  if (focused instanceof HTMLElement && focused !== document.activeElement && board.contains(focused)) focused.focus();
  board.removeAttribute("aria-busy");
  offerAssignees();
}

/** @param {StoredTask} task */
function cardOf(task) {
  const item = card(task, store.runs.get(task.id), { before: cards.get(task.id), mayMove: mayWork });
  cards.set(task.id, item);
  return item;
}

/**
 * @param {StoredTask} one
 * @param {StoredTask} other
 */
const inOrder = (one, other) =>
  priorityOrder(one.priority) - priorityOrder(other.priority) || (one.updated_at < other.updated_at ? 1 : -1);

/**
 * @param {Column} column
 * @param {number} all
 * @param {number} wanted - By the filters.
 */
function showCounts({ section, limit, value }, all, wanted) {
  const total = `${all.toLocaleString("en")}${store.cut.has(value) ? "+" : ""}`;
  find(section, ".count").textContent = wanted === all ? total : `${wanted.toLocaleString("en")} of ${total}`;
  find(section, ".empty").hidden = wanted > 0;
  find(section, ".empty").textContent = all ? "No task here matches the filters. Clear shows all." : emptyText(value);
  find(section, ".more").hidden = wanted <= limit;
  find(section, ".cut").hidden = !store.cut.has(value);
}

/** @param {TaskStatusEnum} status */
function emptyText(status) {
  if (!mayWork) return "No tasks.";
  if (status === enums().statuses[0]?.value) return "No tasks. “New task” creates one.";
  return "No tasks. Drag a card to this column, or use its Move button.";
}

function offerAssignees() {
  const names = [...new Set(Array.from(store.tasks.values(), ({ assignee }) => assignee))].filter(Boolean).sort();
  const select = filters.assignee;
  const wanted = select.value || wantedAssignee;
  const name = wanted.slice(BY_NAME.length);
  if (name && !names.includes(name)) names.push(name);
  const key = JSON.stringify(names);
  if (select.dataset["names"] === key) return; // unchanged: the list may be open
  select.dataset["names"] = key;
  const options = names.map((each) => new Option(each, BY_NAME + each));
  select.replaceChildren(new Option("any", ""), new Option("unassigned", BY_NAME), ...options);
  select.value = wanted;
  if (wantedAssignee) redraw();
  wantedAssignee = "";
}

/**
 * Mark the card that the reader has just changed. Changes of others are not marked.
 *
 * @param {string} id
 * @param {string} text
 */
function mark(id, text) {
  $("note").textContent = text;
  requestAnimationFrame(() =>
    requestAnimationFrame(() => {
      cards.get(id)?.classList.add("fresh");
      setTimeout(() => cards.get(id)?.classList.remove("fresh"), FRESH_MS);
    }),
  );
}

// --- Filters, which are a part of the address ------------------------------------------------------------

const asked = new URLSearchParams(location.search);
filters.q.value = asked.get("q") ?? "";
filters.priority.value = asked.get("priority") ?? "";
let wantedAssignee = asked.has("assignee") ? BY_NAME + (asked.get("assignee") ?? "") : "";

/** @returns {(task: StoredTask) => boolean} */
function filter() {
  const words = filters.q.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const { value: assignee } = filters.assignee;
  const { value: priority } = filters.priority;
  return (task) =>
    (!priority || task.priority === priority) &&
    (!assignee || task.assignee === assignee.slice(BY_NAME.length)) &&
    words.every((word) => task.text.includes(word));
}

function onFilter() {
  const query = new URLSearchParams();
  if (filters.q.value.trim()) query.set("q", filters.q.value.trim());
  if (filters.assignee.value) query.set("assignee", filters.assignee.value.slice(BY_NAME.length));
  if (filters.priority.value) query.set("priority", filters.priority.value);
  history.replaceState(null, "", query.size ? `?${query.toString()}` : location.pathname);
  for (const column of columns.values()) column.limit = STEP;
  redraw();
}

form.addEventListener("input", onFilter);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(onFilter)); // the fields are empty only after the event
for (const column of columns.values())
  find(column.section, ".more").addEventListener("click", () => {
    column.limit += STEP;
    redraw();
  });

// --- Moving ----------------------------------------------------------------------------------------------

/**
 * @param {string} id
 * @param {TaskStatusEnum} status
 */
async function move(id, status) {
  const task = store.tasks.get(id);
  if (!task || task.status === status) return;
  await tryAction($("problem"), async () => {
    store.put(await changeStatus(task, status));
    redraw();
    mark(id, `“${task.title}” is now in ${columnOf(status).label}.`);
  });
}

/**
 * @param {StoredTask} task
 * @param {TaskStatusEnum} status
 * @returns {Promise<Task>}
 * @throws {Refused}
 */
async function changeStatus({ id, title, version }, status) {
  try {
    return await call("PUT", api("tasks", "status", id), { new_status: status }, { version });
  } catch (error) {
    if (!isConflict(error)) throw error;
    error.message = `“${title}” was not moved. ${await whoChanged(id, version, error.details.version)}`;
    throw error;
  }
}

const dialog = closable($("move-dialog", HTMLDialogElement));

/** @param {string} id */
function askWhere(id) {
  const task = store.tasks.get(id);
  if (!task) return;
  $("move-title").textContent = `Move “${task.title}” to`;
  const buttons = columnOf(task.status).next.map((status) => {
    const choice = button(entryOf(enums().statuses, status).label);
    choice.addEventListener("click", () => {
      dialog.close(); // returns the focus to the card's button
      void move(id, status);
    });
    return choice;
  });
  $("moves").replaceChildren(...buttons);
  dialog.showModal();
}

/**
 * The id of the card's task that an event happened in.
 *
 * @param {Event} event
 */
const taskOf = (event) => closest(event, ".card")?.dataset["id"] ?? "";

board.addEventListener("click", (event) => {
  if (closest(event, ".move")) askWhere(taskOf(event));
});

board.addEventListener("dragstart", (event) => {
  const item = closest(event, ".card");
  const task = store.tasks.get(taskOf(event));
  if (!item || !task || !event.dataTransfer || !mayWork) return;
  dragged = task.id;
  event.dataTransfer.setData("text/plain", task.id);
  event.dataTransfer.effectAllowed = "move";
  item.classList.add("dragged");
  board.classList.add("dragging");
  const { next } = columnOf(task.status);
  for (const { value, section } of columns.values()) section.dataset["drop"] = next.includes(value) ? "yes" : "no";
});

board.addEventListener("dragend", (event) => {
  closest(event, ".card")?.classList.remove("dragged");
  board.classList.remove("dragging");
  for (const { section } of columns.values()) {
    section.classList.remove("over");
    delete section.dataset["drop"];
  }
});

for (const { value, section } of columns.values()) {
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
    void move(dragged, value);
  });
}

// --- A new task --------------------------------------------------------------------------------------------

const newDialog = closable($("new-dialog", HTMLDialogElement));
const newForm = $("new-form", HTMLFormElement);
$("new-task").hidden = !mayWork;
$("new-task").addEventListener("click", () => {
  showError($("new-problem"), "");
  newDialog.showModal();
});
onPress(newForm, $("new-problem"), async () => {
  /** @type {Task} */
  const task = await call("POST", api("tasks"), fieldsOf(newForm));
  store.put(task);
  redraw();
  newDialog.close();
  newForm.reset();
  mark(task.id, `“${task.title}” was created.`);
});

hubStream({ onSnapshot: () => void store.load(), onEvent: (event) => store.take(event) }).connect();
setInterval(() => tick(board), 1000);
setInterval(() => {
  if (!document.hidden) void store.lookAtRuns();
}, LOOK_MS);
// Where no stream is available for the moment, a board without live changes is better than none.
setTimeout(() => {
  if (!store.isLoaded) void store.load();
}, STREAM_WAIT_MS);
