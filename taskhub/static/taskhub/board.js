// The live board: tasks by status. What others change moves by itself; what one may, one moves, makes and opens.

import { api, call } from "./api.js";
import { card, place, tick } from "./cards.js";
import { $, attempt, closable, complain, element, onPress } from "./forms.js";
import { hubStream } from "./hub.js";
import { may, me } from "./identity.js";
import { TaskStore } from "./task-store.js";
import { fieldsOf, whoChanged } from "./words.js";

const STEP = 50; // cards of a column, and as many again with each "Show more"
const RANK = { high: 0, medium: 1, low: 2 };
const NOBODY = "=";
const FRESH_MS = 3000;
const PATIENCE_MS = 5000;

const board = $("board");
const columns = new Map(
  Array.from(board.querySelectorAll("section"), (section) => [
    section.dataset.status,
    { section, limit: STEP, next: section.dataset.next.split(" "), label: section.dataset.label },
  ]),
);
const filters = $("filters").elements;
const cards = new Map(); // id to element
const store = new TaskStore({ onChange: soon, onTrouble: (words) => complain($("problem"), words) });
const mayWork = may(await me, "agent");
let frame = 0;
let moving = ""; // the task that the dialog is about, or that is being dragged

// --- Showing -------------------------------------------------------------------------------------------

function soon() {
  frame ||= requestAnimationFrame(draw);
}

function draw() {
  frame = 0;
  if (!store.isLoaded) return;
  const words = filters.q.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const { value: assignee } = filters.assignee;
  const { value: priority } = filters.priority;
  const isWanted = (task) =>
    (!priority || task.priority === priority) &&
    (!assignee || task.assignee === assignee.slice(NOBODY.length)) &&
    words.every((word) => task.text.includes(word));
  const shown = new Set();
  const focused = document.activeElement;
  for (const [status, column] of columns) {
    const all = [...store.tasks.values()].filter((task) => task.status === status);
    const wanted = all.filter(isWanted).sort(inOrder);
    const items = wanted.slice(0, column.limit).map(cardOf);
    for (const item of items) shown.add(item.dataset.id);
    place(column.section.querySelector("ul"), items);
    tell(status, column, all.length, wanted.length);
  }
  for (const id of cards.keys()) if (!shown.has(id)) cards.delete(id);
  // A card that moves to another column takes the focus along.
  if (focused !== document.activeElement && board.contains(focused)) focused.focus();
  board.removeAttribute("aria-busy");
  offerAssignees();
}

function cardOf(task) {
  const item = card(task, store.runs.get(task.id), { before: cards.get(task.id), mayMove: mayWork });
  cards.set(task.id, item);
  return item;
}

const inOrder = (one, other) =>
  RANK[one.priority] - RANK[other.priority] || (one.updated_at < other.updated_at ? 1 : -1);

function tell(status, { section, limit }, all, wanted) {
  const find = (selector) => section.querySelector(selector);
  const total = `${all.toLocaleString("en")}${store.cut.has(status) ? "+" : ""}`;
  find(".count").textContent = wanted === all ? total : `${wanted.toLocaleString("en")} of ${total}`;
  find(".empty").hidden = wanted > 0;
  find(".empty").textContent = all ? "Nothing here fits the search; Clear shows all." : emptiness(status);
  find(".more").hidden = wanted <= limit;
  find(".cut").hidden = !store.cut.has(status);
}

function emptiness(status) {
  if (!mayWork) return "Nothing here.";
  if (status === "todo") return "Nothing to do. “New task” makes one.";
  return "Nothing here. Drag a card to this column, or use its Move button.";
}

function offerAssignees() {
  const names = [...new Set(Array.from(store.tasks.values(), ({ assignee }) => assignee))].filter(Boolean).sort();
  const wanted = filters.assignee.value || wantedAssignee;
  if (wanted && wanted !== NOBODY && !names.includes(wanted.slice(NOBODY.length)))
    names.push(wanted.slice(NOBODY.length));
  const key = JSON.stringify(names);
  if (filters.assignee.dataset.names === key) return; // it may be open
  filters.assignee.dataset.names = key;
  const options = names.map((name) => new Option(name, NOBODY + name));
  filters.assignee.replaceChildren(new Option("anybody", ""), new Option("nobody", NOBODY), ...options);
  filters.assignee.value = wanted;
  if (wantedAssignee) soon();
  wantedAssignee = "";
}

/** Mark what the reader has just changed; what others change is not shouted about. */
function point(id, words) {
  $("note").textContent = words;
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
let wantedAssignee = asked.has("assignee") ? NOBODY + asked.get("assignee") : "";

function filter() {
  const query = new URLSearchParams();
  if (filters.q.value.trim()) query.set("q", filters.q.value.trim());
  if (filters.assignee.value) query.set("assignee", filters.assignee.value.slice(NOBODY.length));
  if (filters.priority.value) query.set("priority", filters.priority.value);
  history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
  for (const column of columns.values()) column.limit = STEP;
  soon();
}

$("filters").addEventListener("input", filter);
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("filters").addEventListener("reset", () => setTimeout(filter)); // the fields are empty only after the event
for (const column of columns.values())
  column.section.querySelector(".more").addEventListener("click", () => {
    column.limit += STEP;
    soon();
  });

// --- Moving ----------------------------------------------------------------------------------------------

async function move(id, status) {
  const task = store.tasks.get(id);
  if (!task || task.status === status) return;
  await attempt($("problem"), async () => {
    try {
      store.put(await call("PUT", api("tasks", "status", id), { new_status: status }, { version: task.version }));
    } catch (error) {
      if (error.status !== 412) throw error;
      error.message = `“${task.title}” was not moved. ${await whoChanged(id, task.version, error.details.version)}`;
      throw error;
    }
    soon();
    point(id, `“${task.title}” is now in ${columns.get(status).label}.`);
  });
}

const dialog = closable($("move-dialog"));

function askWhere(id) {
  const task = store.tasks.get(id);
  moving = id;
  $("move-title").textContent = `Move “${task.title}” to`;
  const buttons = columns.get(task.status).next.map((status) => {
    const button = element("button", columns.get(status).label, { type: "button" });
    button.addEventListener("click", async () => {
      dialog.close(); // gives the focus back to the card's button
      await move(id, status);
    });
    return button;
  });
  $("moves").replaceChildren(...buttons);
  dialog.showModal();
}

board.addEventListener("click", (event) => {
  const button = event.target.closest(".move");
  if (button) askWhere(button.closest(".card").dataset.id);
});

board.addEventListener("dragstart", (event) => {
  const item = event.target.closest(".card");
  if (!item || !mayWork) return;
  moving = item.dataset.id;
  event.dataTransfer.setData("text/plain", moving);
  event.dataTransfer.effectAllowed = "move";
  item.classList.add("dragged");
  board.classList.add("dragging");
  const { status } = store.tasks.get(moving);
  for (const [other, { section }] of columns)
    section.dataset.drop = columns.get(status).next.includes(other) ? "yes" : "no";
});

board.addEventListener("dragend", (event) => {
  event.target.closest(".card")?.classList.remove("dragged");
  board.classList.remove("dragging");
  for (const { section } of columns.values()) {
    section.classList.remove("over");
    delete section.dataset.drop;
  }
});

for (const [status, { section }] of columns) {
  section.addEventListener("dragover", (event) => {
    if (section.dataset.drop !== "yes") return;
    event.preventDefault(); // it may be dropped here
    section.classList.add("over");
  });
  section.addEventListener("dragleave", (event) => {
    if (!section.contains(event.relatedTarget)) section.classList.remove("over");
  });
  section.addEventListener("drop", (event) => {
    event.preventDefault();
    move(moving, status);
  });
}

// --- A new task --------------------------------------------------------------------------------------------

$("new-task").hidden = !mayWork;
const maker = closable($("new-dialog"));
$("new-task").addEventListener("click", () => {
  complain($("new-problem"), "");
  maker.showModal();
});
onPress($("new-form"), $("new-problem"), async () => {
  const task = await call("POST", api("tasks"), fieldsOf($("new-form")));
  store.put(task);
  soon();
  maker.close();
  $("new-form").reset();
  point(task.id, `“${task.title}” was created.`);
});

hubStream({
  onSnapshot: () => store.load(),
  onEvent: (name, data, { timestamp }) => store.take(name, data, timestamp),
}).connect();
setInterval(() => tick(board), 1000);
// Where no stream is to be had for the moment, a board that stands still is better than none.
setTimeout(() => store.isLoaded || store.load(), PATIENCE_MS);
