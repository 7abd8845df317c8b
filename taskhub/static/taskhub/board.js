// The live board: tasks by status. Changes of others appear by themselves; who may work moves, creates and opens tasks.

import { assign, changeStatus, run as runTask, stop } from "./board-actions.js";
import { Selection } from "./board-bulk.js";
import { dragging } from "./board-drag.js";
import { apiQuery, matcher } from "./board-filter.js";
import { filterForm } from "./board-filters.js";
import { keepFocus } from "./board-focus.js";
import { boardKeys } from "./board-keys.js";
import { Needs } from "./board-needs.js";
import { columnTabs } from "./board-tabs.js";
import { undoOf } from "./board-undo.js";
import { keyOf, showMenu } from "./card-menu.js";
import { isOld } from "./card-state.js";
import { card, tick } from "./cards.js";
import { $, closest, find, reconcileChildren } from "./dom.js";
import { entryOf, enums, priorityOrder } from "./enums.js";
import { showError, tryAction } from "./forms.js";
import { firstTask } from "./first-task.js";
import { hubStream } from "./hub.js";
import { mayWork as worksAs, me } from "./identity.js";
import { newTask } from "./new-task.js";
import { suggest } from "./suggestions.js";
import { addOffers } from "./palette.js";
import { TaskStore } from "./task-store.js";
import { toast } from "./toasts.js";

/**
 * @import { TaskStatusEnum } from "schemas"
 * @import { Choice } from "./card-menu.js"
 * @import { Filter } from "./board-filter.js"
 * @import { Status } from "./enums.js"
 * @import { HubEvent } from "./hub.js"
 * @import { ListedTask, StoredTask } from "./task-facts.js"
 *
 * @typedef {Status & { section: HTMLElement }} Place
 */

const NARROW = matchMedia("(max-width: 39.9rem)"); // as in board.css
const STEP = NARROW.matches ? 20 : 50; // cards of a column, and as many again when its end comes near
const NEAR = "800px";
const FEW = 5; // tasks, with which a hub is new while none has been run
const TYPING_MS = 250;
const FRESH_MS = 3000;
const STREAM_WAIT_MS = 5000;
const LOOK_MS = 5000; // positions in the queue, and what is being ended, change without an event
const FACTS_MS = 60_000; // tasks become stale without one
const SOON_MS = 2000;

const board = $("board");
const doneDays = Number(board.dataset["doneDays"]);
const store = new TaskStore({ onChange: redraw, onError: (text) => showError($("problem"), text), step: STEP });
/** By the task's id. @type {Map<string, HTMLElement>} */
const cards = new Map();
const identity = await me;
const mayWork = worksAs(identity);
const offerFirst = mayWork ? firstTask() : () => {};
/** @type {Map<string, Place>} */
const columns = new Map(
  enums().statuses.map((status) => [
    status.value,
    { ...status, section: find(board, `[data-status="${status.value}"]`) },
  ]),
);
const filters = filterForm(onFilter, { hasName: identity.name !== "" });
const tabs = columnTabs(columns, { first: filters.column(), onShow: (status) => filters.showColumn(status) });
const selection = new Selection(store, redraw);
const needs = mayWork ? new Needs({ store, name: identity.name, onDone: note }) : null;
const ends = new IntersectionObserver(
  (seen) => {
    for (const { target, isIntersecting } of seen) if (isIntersecting) void store.more(statusOf(target));
  },
  { rootMargin: NEAR },
);
let frame = 0;
/** The task of the card that last had the focus. */
let focusedId = "";

/** @param {string} status */
const columnOf = (status) => /** @type {Place} */ (columns.get(status));

/** @param {Element} inColumn */
const statusOf = (inColumn) => inColumn.closest("section")?.dataset["status"] ?? "";

// --- Drawing -------------------------------------------------------------------------------------------

function redraw() {
  frame ||= requestAnimationFrame(draw);
}

function draw() {
  frame = 0;
  if (!store.isLoaded) return;
  const filter = filters.filter();
  const isWanted = matcher(filter, identity.name, store.found);
  const tasks = [...store.tasks.values()].filter((task) => filter.old || !isOld(task, doneDays));
  const wanted = tasks.filter((task) => isWanted(task, store.runs.get(task.id)));
  selection.keep(new Set(wanted.map(({ id }) => id)));
  const giveFocusBack = keepFocus(board);
  const total = Math.max(
    store.tasks.size,
    [...store.columns.values()].reduce((sum, column) => sum + column.total, 0),
  );
  offerFirst({ isEmpty: !total, isNew: total <= FEW && !hasRun() });
  if (total) $("filters").hidden = false;
  needs?.draw();
  /** @type {Set<string>} */
  const shown = new Set();
  for (const column of columns.values()) for (const { id } of drawColumn(column, wanted)) shown.add(id);
  for (const id of cards.keys()) if (!shown.has(id)) cards.delete(id);
  giveFocusBack();
  board.removeAttribute("aria-busy");
  offerFilters();
}

/** Whether a task has been run, as far as is known. */
const hasRun = () => store.runs.size > 0 || [...store.tasks.values()].some(({ last_run: last }) => last !== null);

/**
 * The tasks that it shows.
 *
 * @param {Place} column
 * @param {StoredTask[]} wanted
 */
function drawColumn(column, wanted) {
  const { last = null, cursor = null } = store.columns.get(column.value) ?? {};
  const ofColumn = wanted.filter(({ status }) => status === column.value).sort(inOrder);
  // Of those after the last one that was read some are missing.
  const visible = cursor && last ? ofColumn.filter((task) => inOrder(task, last) <= 0) : ofColumn;
  reconcileChildren(find(column.section, "ul"), visible.map(cardOf));
  showCounts(column, ofColumn.length);
  return visible;
}

/** @param {StoredTask} task */
function cardOf(task) {
  const options = { before: cards.get(task.id), mayMove: mayWork, isPicked: selection.has(task.id) };
  const item = card(task, store.runs.get(task.id), options);
  cards.set(task.id, item);
  return item;
}

/**
 * @param {Pick<StoredTask, "priority" | "updated_at">} one
 * @param {Pick<StoredTask, "priority" | "updated_at">} other
 */
const inOrder = (one, other) =>
  priorityOrder(one.priority) - priorityOrder(other.priority) || (one.updated_at < other.updated_at ? 1 : -1);

/**
 * The service counts. Where all tasks of a column are known, what is shown is counted: an event may be newer.
 *
 * @param {Place} column
 * @param {number} known - By the filters.
 */
function showCounts({ section, value }, known) {
  const { count = 0, total = 0, cursor = null } = store.columns.get(value) ?? {};
  const wanted = cursor ? count : known;
  const all = filters.isAny() ? wanted : Math.max(total, wanted);
  const words = wanted.toLocaleString("en");
  find(section, ".count").textContent = wanted === all ? words : `${words} of ${all.toLocaleString("en")}`;
  tabs.count(value, words);
  find(section, ".empty").hidden = wanted > 0;
  find(section, ".empty").textContent = all ? "No task here matches the filters. Clear shows all." : emptyText(value);
  const more = find(section, ".more");
  more.hidden = !cursor;
  ends.unobserve(more);
  if (cursor) ends.observe(more); // also for one that is in sight already
}

/** @param {TaskStatusEnum} status */
function emptyText(status) {
  if (!mayWork) return "No tasks.";
  if (status === enums().statuses[0]?.value) return "No tasks. “New task” creates one.";
  return "No tasks. Drag a card to this column, or use its menu.";
}

function offerFilters() {
  const { assignees, accounts, tags, states } = store.summary;
  const names = [...new Set([...accounts, ...assignees])].sort();
  filters.offer(names, tags);
  suggest(names, accounts);
  for (const [name, count] of Object.entries(states))
    find($("filters"), `[data-of="${name}"]`).textContent = count.toLocaleString("en");
}

/** @param {string} text */
function note(text) {
  toast(text);
  redraw();
}

/** @param {ListedTask} task */
const put = (task) => store.put(task);

/**
 * Mark the card that the reader has just changed. Changes of others are not marked.
 *
 * @param {string} id
 * @param {Parameters<typeof toast>} said
 */
function mark(id, ...said) {
  toast(...said);
  redraw();
  requestAnimationFrame(() =>
    requestAnimationFrame(() => {
      cards.get(id)?.classList.add("fresh");
      setTimeout(() => cards.get(id)?.classList.remove("fresh"), FRESH_MS);
    }),
  );
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let typing;

/** What is known is filtered at once, the rest when the service has answered. @param {Filter} filter */
function onFilter(filter) {
  store.filter(apiQuery(filter, identity.name));
  clearTimeout(typing);
  typing = setTimeout(() => void store.load(), TYPING_MS);
  redraw();
}
store.filter(apiQuery(filters.filter(), identity.name));

board.addEventListener("focusin", (event) => {
  focusedId = taskOf(event)?.id ?? "";
});
for (const { section } of columns.values())
  find(section, ".more").addEventListener("click", () => void store.more(statusOf(section)));

// --- Changing ------------------------------------------------------------------------------------------

/**
 * @param {string} id
 * @param {TaskStatusEnum} status
 */
async function move(id, status) {
  const task = store.tasks.get(id);
  if (!task || task.status === status) return;
  await tryAction($("problem"), async () => {
    const after = await changeStatus(task, status);
    put(after);
    mark(id, `“${task.title}” is now in ${columnOf(status).label}.`, { undo: undoOf([{ before: task, after }], put) });
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

/**
 * @param {string} id
 * @param {string} name - Empty: unassigned.
 */
async function give(id, name) {
  const task = store.tasks.get(id);
  if (!task) return;
  await tryAction($("problem"), async () => {
    const after = await assign(task, name);
    put(after);
    const undo = undoOf([{ before: task, after }], put);
    mark(id, `“${task.title}” is ${name ? "assigned to you" : "unassigned"}.`, { undo });
  });
}

/** @param {StoredTask} task */
function openMenu(task) {
  showMenu(task.title, movesOf(task), choicesOf(task));
}

/**
 * @param {StoredTask} task
 * @returns {Choice[]}
 */
const movesOf = ({ id, status: from }) =>
  columnOf(from).next.map((status) => ({
    label: entryOf(enums().statuses, status).label,
    act: () => void move(id, status),
  }));

/**
 * @param {StoredTask} task
 * @returns {Choice[]}
 */
function choicesOf({ id, assignee }) {
  const { name } = identity;
  const isMine = assignee === name;
  return [
    isMine
      ? { label: "Unassign", act: () => void give(id, "") }
      : { label: "Assign to me", act: () => void give(id, name) },
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
  else if (task && mayWork && event.shiftKey && !closest(event, ".pick")) {
    event.preventDefault(); // a browser would open another window
    selection.toggle(task.id);
    return;
  }
  // They lie above the card's link, for what they say on hover.
  if (closest(event, ".age, .assignee"))
    closest(event, ".card")?.querySelector("h3 a")?.dispatchEvent(new MouseEvent("click", event));
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

$("new-task").hidden = !mayWork;
const openNew = newTask((task) => {
  put(task);
  mark(task.id, `“${task.title}” was created.`, { href: `/tasks/${task.id}/` });
  requestAnimationFrame(() => {
    const item = cards.get(task.id);
    if (item?.checkVisibility()) find(item, "h3 a").focus();
  });
});
boardKeys({ board, mayWork, onClear: () => selection.clear() });
addOffers(() => {
  if (!mayWork) return [];
  const task = store.tasks.get(focusedId);
  const ofCard = task
    ? [...movesOf(task).map(({ label, act }) => ({ label: `Move to ${label}`, act })), ...choicesOf(task)]
    : [];
  return [
    ...ofCard.map(({ label, act }) => ({ label, hint: `“${task?.title ?? ""}”`, act })),
    { label: "New task", hint: "action", act: openNew },
    { label: "Clear the filters", hint: "action", act: () => $("filters", HTMLFormElement).reset() },
  ];
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
