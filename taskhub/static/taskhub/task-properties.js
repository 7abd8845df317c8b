// Properties of a task below its title: status, priority, assignee, tags, who sees it. Changed in their place.

import { api, call } from "./api.js";
import { confirmed } from "./confirm-dialog.js";
import { $, button, element, reconcileChildren } from "./dom.js";
import { entryOf, enums, priorityRank } from "./enums.js";
import { tryAction } from "./forms.js";
import { hue, initials, strangerText } from "./people.js";
import { Popup } from "./popup.js";
import { Draft, save } from "./task-save.js";
import { tellChange } from "./task-undo.js";

/**
 * @import { Board, Task } from "schemas"
 * @import { Choice } from "./popup.js"
 * @import { Fields } from "./task-save.js"
 *
 * @typedef {object} PropertiesOptions
 * @property {() => Task | null} task - As it is shown.
 * @property {string} name - The reader's account.
 * @property {HTMLElement} problem
 * @property {(task: Task) => void} onSaved
 */

const NAME_LENGTH = 150; // characters, as the fields of the forms have them
const TAG_LENGTH = 50;

const MAKE_PUBLIC = [
  "Everyone will see it as it is now: its title, description and all other fields.",
  "What was made while it was private (changes, executions, logs, files) stays with operators and those who could " +
    "read it then; others see only that something happened, and when.",
];

/** @param {Task} task */
export function showProperties(task) {
  const { label } = entryOf(enums().statuses, task.status);
  $("status").textContent = label;
  $("status").dataset["closed"] = task.closed_as;
  $("closed-as").textContent = task.closed_as;
  $("priority").textContent = $("priority").dataset["priority"] = task.priority;
  $("priority").dataset["rank"] = priorityRank(task.priority);
  $("assignee").textContent = task.assignee || "unassigned";
  $("assignee-initials").textContent = task.assignee ? initials(task.assignee) : "–";
  if (task.assignee) $("assignee-initials").dataset["hue"] = String(hue(task.assignee));
  else delete $("assignee-initials").dataset["hue"];
  $("seen-by").textContent = task.private ? "Private" : "Visible to everyone";
  $("seen-by").dataset["private"] = String(task.private);
  showTags(task.tags);
}

// --- Tags --------------------------------------------------------------------------------------------------

/** By the tag. @type {Map<string, HTMLElement>} */
const chips = new Map();
/** @type {((tag: string) => void) | null} */
let remove = null;

/** @param {string[]} tags */
function showTags(tags) {
  const before = [...$("tags").children];
  const at = before.findIndex((chip) => chip.contains(document.activeElement));
  for (const tag of chips.keys()) if (!tags.includes(tag)) chips.delete(tag);
  for (const tag of tags) if (!chips.has(tag)) chips.set(tag, chipOf(tag));
  const shown = tags.flatMap((tag) => chips.get(tag) ?? []);
  reconcileChildren($("tags"), shown);
  $("tags").hidden = !tags.length;
  if (at >= 0 && !before[at]?.isConnected) focusIn(shown[at] ?? shown.at(-1) ?? $("more-tags"));
}

/** @param {HTMLElement} place */
const focusIn = (place) => place.querySelector("button")?.focus();

/** @param {string} tag */
function chipOf(tag) {
  const chip = element("li", "", "tag");
  chip.append(element("bdi", tag));
  if (!remove) return chip;
  const press = button("×");
  press.ariaLabel = `Remove the tag ${tag}`;
  press.addEventListener("click", () => remove?.(tag));
  chip.append(press);
  return chip;
}

// --- Changing ------------------------------------------------------------------------------------------------

/**
 * Let the properties be changed.
 *
 * @param {PropertiesOptions} options
 */
export function changeProperties({ task, name, problem, onSaved }) {
  /** @type {Draft | null} */
  let draft = null;
  const begin = () => {
    const now = task();
    draft = now && new Draft(now);
  };
  /** @param {Fields} fields */
  const set = async (fields) => {
    if (!draft) return;
    const before = draft.task;
    const after = await draft.save(fields);
    onSaved(after);
    tellChange(fields, { before, after, onSaved });
  };
  const known = () => draft?.task ?? task();
  /** @type {string[]} */
  let accountNames = [];

  new Popup({
    place: $("status-property"),
    label: "Status",
    field: null,
    onOpen: begin,
    choices: () => statusChoices(known()),
    take: (value) => set({ status: /** @type {Task["status"]} */ (value) }),
  });
  new Popup({
    place: $("priority-property"),
    label: "Priority",
    field: null,
    onOpen: begin,
    choices: () =>
      enums().priorities.map(({ value, label }) => ({ value, label, isCurrent: value === known()?.priority })),
    take: (value) => set({ priority: /** @type {Task["priority"]} */ (value) }),
  });
  new Popup({
    place: $("assignee-property"),
    label: "Assignee",
    field: { label: "A name, or choose one", maxLength: NAME_LENGTH },
    onOpen: begin,
    choices: async () => {
      const { assignees, accounts } = await summary();
      accountNames = accounts;
      return peopleChoices([...new Set([...accounts, ...assignees])].sort(), name, known()?.assignee ?? "");
    },
    hint: (typed) => strangerText(typed, accountNames),
    take: (assignee) => set({ assignee }),
  });
  new Popup({
    place: $("seen-by-property"),
    label: "Who sees it",
    field: null,
    onOpen: begin,
    choices: () => [
      { label: "Visible to everyone", value: "", isCurrent: !known()?.private },
      {
        label: "Private: its assignee and operators; runs, notes and files of that time stay private later on",
        value: "1",
        isCurrent: Boolean(known()?.private),
      },
    ],
    take: async (value) => {
      const question = { title: "Make the task public?", text: MAKE_PUBLIC, action: "Make it public" };
      if (!value && draft?.task.private && !(await confirmed(question))) return;
      await set({ private: value === "1" });
    },
  });
  changeTags({ task, problem, onSaved });
}

/** @param {Omit<PropertiesOptions, "name">} options */
function changeTags({ task, problem, onSaved }) {
  /** @param {(tags: string[]) => string[]} edit */
  const edit = async (edit) => {
    const before = task();
    if (!before) return;
    let { tags: old } = before;
    const after = await save(before, ({ tags }) => {
      old = tags; // with those of others
      return { tags: edit(tags) };
    });
    onSaved(after);
    tellChange({ tags: after.tags }, { before: { ...before, tags: old }, after, onSaved });
  };
  remove = (tag) => void tryAction(problem, () => edit((tags) => tags.filter((each) => each !== tag)));
  chips.clear(); // those that are shown have no buttons
  new Popup({
    place: $("more-tags"),
    label: "Tags",
    field: { label: "A new tag, or choose one", maxLength: TAG_LENGTH },
    onOpen: () => {},
    choices: async () => {
      const known = (await summary()).tags.filter((tag) => !task()?.tags.includes(tag));
      return known.map((tag) => ({ label: tag, value: tag, isCurrent: false }));
    },
    take: (tag) => edit((tags) => (tags.includes(tag) ? tags : [...tags, tag])),
    stays: true,
  });
  $("more-tags").hidden = false;
}

/**
 * Names and tags that the hub knows.
 *
 * @returns {Promise<NonNullable<Board["summary"]>>}
 * @throws {Refused}
 */
async function summary() {
  /** @type {Board} */
  const board = await call("GET", `${api("tasks", "board")}?page_size=0`);
  return board.summary ?? { states: {}, assignees: [], accounts: [], tags: [], needs: [] };
}

/**
 * @param {Task | null} task
 * @returns {Choice[]}
 */
function statusChoices(task) {
  if (!task) return [];
  const { next } = entryOf(enums().statuses, task.status);
  return enums()
    .statuses.filter(({ value }) => value === task.status || next.includes(value))
    .map(({ value, label }) => ({ value, label, isCurrent: value === task.status }));
}

/**
 * @param {string[]} names
 * @param {string} me
 * @param {string} assignee
 * @returns {Choice[]}
 */
function peopleChoices(names, me, assignee) {
  const others = [...new Set([...names, assignee])].filter((name) => name && name !== me);
  return [
    { label: `me (${me})`, value: me, isCurrent: assignee === me },
    { label: "unassigned", value: "", isCurrent: !assignee },
    ...others.map((name) => ({ label: name, value: name, isCurrent: name === assignee })),
  ];
}
