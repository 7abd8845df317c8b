// The live board: tasks by status. Changes of others appear by themselves; who may work moves, creates and opens tasks.

import { api, call } from "./api.js";
import { assign, changeStatus, run as runTask, stop } from "./board-actions.js";
import { Selection } from "./board-bulk.js";
import { dragging } from "./board-drag.js";
import { matcher } from "./board-filter.js";
import { filterForm } from "./board-filters.js";
import { Needs } from "./board-needs.js";
import { columnTabs } from "./board-tabs.js";
import { keyOf, showMenu } from "./card-menu.js";
import { isOld, STATES } from "./card-state.js";
import { card, tick } from "./cards.js";
import { $, closest, find, reconcileChildren } from "./dom.js";
import { entryOf, enums, priorityOrder } from "./enums.js";
import { closable, onPress, showError, tryAction } from "./forms.js";
import { firstTask } from "./first-task.js";
import { hubStream } from "./hub.js";
import { mayWork as worksAs, me } from "./identity.js";
import { TaskStore } from "./task-store.js";
import { fieldsOf } from "./task-form.js";

/**
 * @import { Task, TaskStatusEnum } from "schemas"
 * @import { Choice } from "./card-menu.js"
 * @import { Status } from "./enums.js"
 * @import { HubEvent } from "./hub.js"
 * @import { StoredTask } from "./task-facts.js"
 *
 * @typedef {Status & { section: HTMLElement, limit: number }} Column
 */

const NARROW = matchMedia("(max-width: 39.9rem)"); // as in board.css
const STEP = NARROW.matches ? 20 : 50; // cards of a column, and as many again with each "Show more"
const FRESH_MS = 3000;
const STREAM_WAIT_MS = 5000;
const LOOK_MS = 10_000; // positions in the queue change without an event
const FACTS_MS = 60_000; // tasks become stale without one
const SOON_MS = 2000;

const board = $("board");
const doneDays = Number(board.dataset["doneDays"]);
const store = new TaskStore({ onChange: redraw, onError: (text) => showError($("problem"), text), doneDays });
/** By the task's id. @type {Map<string, HTMLElement>} */
const cards = new Map();
const identity = await me;
const mayWork = worksAs(identity);
const offerFirst = mayWork ? firstTask() : () => {};
/** @type {Map<string, Column>} */
const columns = new Map(
  enums().statuses.map((status) => [
    status.value,
    { ...status, section: find(board, `[data-status="${status.value}"]`), limit: STEP },
  ]),
);
const filters = filterForm(onFilter, { hasName: identity.name !== "" });
const tabs = columnTabs(columns, { first: filters.column(), onShow: (status) => filters.showColumn(status) });
const selection = new Selection(store, redraw);
const needs = mayWork ? new Needs({ store, name: identity.name, onDone: note }) : null;
let frame = 0;

/** @param {string} status */
const columnOf = (status) => /** @type {Column} */ (columns.get(status));

// --- Drawing -------------------------------------------------------------------------------------------

function redraw() {
  frame ||= requestAnimationFrame(draw);
}

function draw() {
  frame = 0;
  if (!store.isLoaded) return;
  const filter = filters.filter();
  const isWanted = matcher(filter, identity.name);
  const tasks = [...store.tasks.values()].filter((task) => filter.old || !isOld(task, doneDays));
  const wanted = tasks.filter((task) => isWanted(task, store.runs.get(task.id)));
  selection.keep(new Set(wanted.map(({ id }) => id)));
  const giveFocusBack = keepFocus();
  offerFirst(store.tasks.size === 0);
  needs?.draw();
  /** @type {Set<string>} */
  const shown = new Set();
  for (const column of columns.values()) {
    const ofColumn = wanted.filter(({ status }) => status === column.value).sort(inOrder);
    const visible = ofColumn.slice(0, column.limit);
    for (const task of visible) shown.add(task.id);
    reconcileChildren(find(column.section, "ul"), visible.map(cardOf));
    showCounts(column, tasks.filter(({ status }) => status === column.value).length, ofColumn.length);
  }
  for (const id of cards.keys()) if (!shown.has(id)) cards.delete(id);
  giveFocusBack();
  board.removeAttribute("aria-busy");
  offerFilters(tasks);
}

/**
 * A card that moves to another column keeps the focus; where it is not shown any more, its neighbour gets it. Answers
 * what to do once the cards are in their places.
 */
function keepFocus() {
  const focused = document.activeElement;
  const item = focused instanceof HTMLElement && board.contains(focused) ? focused.closest("li.card") : null;
  const section = item?.closest("section");
  if (!(focused instanceof HTMLElement) || !item || !section) return () => {};
  const at = [...find(section, "ul").children].indexOf(item);
  return () => {
    if (focused.isConnected && focused.checkVisibility()) {
      if (document.activeElement !== focused) focused.focus();
      return;
    }
    const { children } = find(section, "ul");
    const next = children[Math.min(at, children.length - 1)];
    (next ? find(next, "h3 a") : find(section, "h2")).focus();
  };
}

/** @param {StoredTask} task */
function cardOf(task) {
  const options = { before: cards.get(task.id), mayMove: mayWork, isPicked: selection.has(task.id) };
  const item = card(task, store.runs.get(task.id), options);
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
  const text = wanted === all ? total : `${wanted.toLocaleString("en")} of ${total}`;
  find(section, ".count").textContent = text;
  tabs.count(value, wanted.toLocaleString("en"));
  find(section, ".empty").hidden = wanted > 0;
  find(section, ".empty").textContent = all ? "No task here matches the filters. Clear shows all." : emptyText(value);
  find(section, ".more").hidden = wanted <= limit;
  find(section, ".cut").hidden = !store.cut.has(value);
}

/** @param {TaskStatusEnum} status */
function emptyText(status) {
  if (!mayWork) return "No tasks.";
  if (status === enums().statuses[0]?.value) return "No tasks. “New task” creates one.";
  return "No tasks. Drag a card to this column, or use its menu.";
}

/** @param {StoredTask[]} tasks */
function offerFilters(tasks) {
  const names = new Set(tasks.map(({ assignee }) => assignee).filter(Boolean));
  const tags = new Set(tasks.flatMap((task) => task.tags));
  filters.offer([...names].sort(), [...tags].sort());
  for (const [name, isState] of Object.entries(STATES))
    find($("filters"), `[data-of="${name}"]`).textContent = String(
      tasks.filter((task) => isState(task, store.runs.get(task.id))).length,
    );
}

/** @param {string} text */
function note(text) {
  $("note").textContent = text;
  redraw();
}

/**
 * Mark the card that the reader has just changed. Changes of others are not marked.
 *
 * @param {string} id
 * @param {string} text
 */
function mark(id, text) {
  note(text);
  requestAnimationFrame(() =>
    requestAnimationFrame(() => {
      cards.get(id)?.classList.add("fresh");
      setTimeout(() => cards.get(id)?.classList.remove("fresh"), FRESH_MS);
    }),
  );
}

/** @param {{ old: boolean }} filter */
function onFilter({ old }) {
  if (old && doneDays && !store.withOld) {
    store.withOld = true;
    void store.load();
  }
  for (const column of columns.values()) column.limit = STEP;
  redraw();
}
onFilter(filters.filter());

for (const column of columns.values())
  find(column.section, ".more").addEventListener("click", () => {
    column.limit += STEP;
    redraw();
  });

// --- Changing ------------------------------------------------------------------------------------------

/**
 * @param {string} id
 * @param {TaskStatusEnum} status
 */
async function move(id, status) {
  const task = store.tasks.get(id);
  if (!task || task.status === status) return;
  await tryAction($("problem"), async () => {
    store.put(await changeStatus(task, status));
    mark(id, `“${task.title}” is now in ${columnOf(status).label}.`);
  });
}

/**
 * @param {string} id
 * @param {string} done
 * @param {(task: StoredTask) => Promise<unknown>} action
 */
async function act(id, done, action) {
  const task = store.tasks.get(id);
  if (task) await tryAction($("problem"), async () => mark(id, (await action(task), `“${task.title}” ${done}.`)));
}

/** @param {StoredTask} task */
function openMenu(task) {
  const moves = columnOf(task.status).next.map((status) => ({
    label: entryOf(enums().statuses, status).label,
    act: () => void move(task.id, status),
  }));
  showMenu(`Move “${task.title}” to`, moves, choicesOf(task));
}

/**
 * @param {StoredTask} task
 * @returns {Choice[]}
 */
function choicesOf({ id, assignee }) {
  const { name } = identity;
  const isMine = assignee === name;
  /** @param {string} to */
  const give = (to) => async (/** @type {StoredTask} */ task) => store.put(await assign(task, to));
  return [
    isMine
      ? { label: "Unassign", act: () => void act(id, "is unassigned", give("")) }
      : { label: "Assign to me", act: () => void act(id, "is assigned to you", give(name)) },
    store.runs.has(id)
      ? { label: "Stop its run", act: () => void act(id, "is asked to stop", stop) }
      : { label: "Run", act: () => void act(id, "is queued to run", runTask) },
    { label: selection.has(id) ? "Do not select" : "Select", act: () => selection.toggle(id) },
  ];
}

/**
 * The task of the card that an event happened in.
 *
 * @param {Event} event
 */
const taskOf = (event) => store.tasks.get(closest(event, ".card")?.dataset["id"] ?? "");

board.addEventListener("click", (event) => {
  const task = taskOf(event);
  if (task && closest(event, ".menu")) openMenu(task);
});

board.addEventListener("change", (event) => {
  const task = taskOf(event);
  if (task && closest(event, ".pick")) selection.toggle(task.id);
});

board.addEventListener("keydown", (event) => {
  const task = taskOf(event);
  const key = keyOf(event);
  if (!task || !key || !mayWork) return;
  event.preventDefault();
  if (key === "menu") openMenu(task);
  else if (key === "pick") selection.toggle(task.id);
  else step(task, key === "next" ? 1 : -1);
});

/**
 * Move a card to the next column in this direction to which it may go.
 *
 * @param {StoredTask} task
 * @param {number} direction
 */
function step(task, direction) {
  const order = enums().statuses.map(({ value }) => value);
  const { next } = columnOf(task.status);
  const ahead =
    direction > 0 ? order.slice(order.indexOf(task.status) + 1) : order.slice(0, order.indexOf(task.status)).reverse();
  const status = ahead.find((each) => next.includes(each));
  if (status) void move(task.id, status);
}

if (mayWork)
  dragging({
    board,
    columns: columns.values(),
    taskOf,
    nextOf: ({ status }) => columnOf(status).next,
    onDrop: (id, status) => void move(id, status),
  });

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
  newDialog.close();
  newForm.reset();
  mark(task.id, `“${task.title}” was created.`);
});

// --- Live --------------------------------------------------------------------------------------------------

/** @type {ReturnType<typeof setTimeout> | undefined} */
let soon;

/** @param {HubEvent} event */
function onEvent(event) {
  store.take(event);
  const id = "task_id" in event.data ? event.data.task_id : "";
  if (!mayWork || store.tasks.get(id)?.created_by !== null) return;
  soon ??= setTimeout(() => {
    soon = undefined;
    void store.lookAtFacts(); // who made it
  }, SOON_MS);
}

hubStream({ onSnapshot: () => void store.load(), onEvent }).connect();
setInterval(() => tick(document), 1000);
setInterval(() => {
  if (!document.hidden) void store.lookAtRuns();
}, LOOK_MS);
setInterval(() => {
  if (!document.hidden) void store.lookAtFacts();
}, FACTS_MS);
// Where no stream is available for the moment, a board without live changes is better than none.
setTimeout(() => {
  if (!store.isLoaded) void store.load();
}, STREAM_WAIT_MS);
