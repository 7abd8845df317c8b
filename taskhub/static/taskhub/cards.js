// Cards of the board: one element for each task that is shown.

import { $, element, find } from "./dom.js";
import { outcomeText, STATES } from "./card-state.js";
import { entryOf, enums, priorityRank } from "./enums.js";
import { stateText } from "./execution-state.js";
import { age, ago, dateTime, duration } from "./format.js";
import { hue, initials } from "./people.js";

/**
 * @import { StoredTask } from "./task-facts.js"
 * @import { Run } from "./task-store.js"
 */

const TAGS = 3; // on a card
/** What each card shows. @type {WeakMap<Element, string>} */
const shown = new WeakMap();
const template = $("card", HTMLTemplateElement).content.firstElementChild;

/**
 * The card of a task: `before` with its present state, or a new one.
 *
 * @param {StoredTask} task
 * @param {Run | undefined} run
 * @param {{ before: HTMLElement | undefined, mayMove: boolean, isPicked: boolean }} options - `mayMove`: the reader may
 *   change it: it can be dragged and picked, and has a menu.
 */
export function card(task, run, { before, mayMove, isPicked }) {
  const item = before ?? /** @type {HTMLElement} */ (template?.cloneNode(true));
  const key = JSON.stringify([{ ...task, text: "", description: "", artifacts: [] }, run, isPicked]);
  if (shown.get(item) === key) return item;
  shown.set(item, key);
  item.dataset["id"] = task.id;
  item.draggable = mayMove;
  fillTitle(item, task, mayMove, isPicked);
  fillRun(item, run);
  fillOutcome(item, task, run);
  fillHolder(item, task);
  fillMarks(item, task, run);
  fillFoot(item, task);
  return item;
}

/**
 * @param {HTMLElement} item
 * @param {StoredTask} task
 * @param {boolean} mayMove
 * @param {boolean} isPicked
 */
function fillTitle(item, task, mayMove, isPicked) {
  const link = find(item, "h3 a", HTMLAnchorElement);
  link.textContent = task.title;
  link.href = `/tasks/${task.id}/`;
  link.draggable = false; // or its address would be dragged
  find(item, ".menu").hidden = !mayMove;
  find(item, ".menu .unseen").textContent = `Actions for ${task.title}`;
  const pick = find(item, ".pick", HTMLInputElement);
  pick.hidden = !mayMove;
  pick.checked = isPicked;
  pick.ariaLabel = `Select ${task.title}`;
  item.classList.toggle("picked", isPicked);
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
 * @param {HTMLElement} item
 * @param {StoredTask} task
 * @param {Run | undefined} run
 */
function fillOutcome(item, task, run) {
  const place = find(item, ".outcome");
  place.hidden = !task.last_run || Boolean(run);
  if (!task.last_run) return;
  place.classList.toggle("bad", STATES.failed(task, run));
  place.classList.toggle("good", entryOf(enums().executionStatuses, task.last_run.status).isSuccess);
  find(place, ".words").textContent = outcomeText(task.last_run);
  showSince(find(place, ".since"), task.last_run.finished_at ?? task.updated_at);
}

/**
 * @param {HTMLElement} item
 * @param {StoredTask} task
 */
function fillHolder(item, task) {
  const place = find(item, ".holder");
  place.hidden = !task.holder;
  find(place, ".words").textContent = task.holder;
  showSince(find(place, ".since"), task.held_since ?? task.updated_at);
}

/**
 * @param {HTMLElement} item
 * @param {StoredTask} task
 * @param {Run | undefined} run
 */
function fillMarks(item, task, run) {
  const words = [
    task.closed_as && { text: task.closed_as, kind: "closed" },
    STATES.question(task, run) && { text: "question", kind: "asks" },
    STATES.held(task, run) && { text: "held back", kind: "asks" },
    STATES.blocked(task, run) && { text: "blocked", kind: "blocked" },
    STATES.stale(task, run) && { text: "stale", kind: "asks" },
    task.verified && { text: `check ${task.verified}`, kind: "verified" },
    task.private && { text: "private", kind: "private" },
  ];
  const marks = words.filter((each) => each !== false && each !== "" && each !== null);
  const list = find(item, ".marks");
  list.hidden = !marks.length;
  list.replaceChildren(...marks.map(({ text, kind }) => element("li", text, `mark ${kind}`)));
  item.classList.toggle("stale", STATES.stale(task, run));
  item.classList.toggle(
    "asks",
    marks.some(({ kind }) => kind === "asks"),
  );
}

/**
 * @param {HTMLElement} item
 * @param {StoredTask} task
 */
function fillFoot(item, task) {
  showPerson(find(item, ".assignee"), task.assignee);
  const priority = find(item, ".priority");
  priority.textContent = priority.dataset["priority"] = task.priority;
  priority.dataset["rank"] = priorityRank(task.priority);
  fillTags(find(item, ".tags"), task.tags);
  const since = find(item, ".age");
  showSince(since, task.status_since);
  since.title = `In this column since ${dateTime(task.status_since)}`;
}

/**
 * Initials with a colour; the name is read out, and shown on hover.
 *
 * @param {HTMLElement} place
 * @param {string} name - Empty: unassigned.
 */
export function showPerson(place, name) {
  const letters = element("span", name ? initials(name) : "–", "initials");
  letters.ariaHidden = "true";
  if (name) letters.dataset["hue"] = String(hue(name));
  place.title = name || "unassigned";
  place.replaceChildren(letters, element("span", name || "unassigned", "unseen"));
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
 * @param {HTMLElement} place - With `data-form="ago"` the text ends with “ago”.
 * @param {string} iso
 */
export function showSince(place, iso) {
  place.dataset["since"] = iso;
  const text = place.dataset["form"] === "ago" ? ago(iso) : age(iso);
  if (place.textContent !== text) place.textContent = text;
}

/**
 * Update the clocks of all running executions, and the ages.
 *
 * @param {ParentNode} page
 */
export function tick(page) {
  /** @type {NodeListOf<HTMLElement>} */
  const clocks = page.querySelectorAll(".run:not([hidden]) .elapsed");
  for (const clock of clocks) clock.textContent = duration(clock.dataset["since"] ?? "");
  /** @type {NodeListOf<HTMLElement>} */
  const ages = page.querySelectorAll(".since[data-since]");
  for (const each of ages) showSince(each, each.dataset["since"] ?? "");
}
