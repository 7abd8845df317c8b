// The audit history of a task, the newest entry first.

import { api } from "./api.js";
import { element, timeElement } from "./dom.js";
import { NewestFirst } from "./newest-first.js";

/** @import { AuditEntry } from "schemas" */

const LONG = 120; // characters of a value that are shown
/** The action of an entry from a time at which the reader could not see the task: its time is all that is told. */
const HIDDEN = "task:private";
/** The text for an action; others are shown as they are. @type {Record<string, string>} */
const ACTIONS = {
  "task:create": "created the task",
  "task:update": "changed the task",
  "task:delete": "deleted the task",
  "note:add": "added a note",
  "task:verify": "recorded what a verification says",
  "task:waive": "waived a blocker",
  "claim:override": "forced a change of a task that an agent holds",
  "task:private": "Something happened while the task was private",
  "execution:queue": "requested an execution",
  "execution:start": "started the execution",
  "execution:stop": "requested a stop of the execution",
  "execution:supersede": "ended a verification by a new execution",
  "execution:finish": "recorded the end of the execution",
};

/**
 * @param {string} taskId
 * @returns {NewestFirst<AuditEntry>}
 */
export const historyOf = (taskId) => new NewestFirst(api("tasks", taskId, "history"), "history", row);

/** @param {AuditEntry} entry */
function row({ at, actor, door, token_name: token, action, changes, private: isPrivate }) {
  const item = element("li");
  const head = element("p");
  if (action === HIDDEN) {
    head.append(`${ACTIONS[action]}, `, timeElement(at));
    item.append(head);
    return item;
  }
  const how = [door === "job" ? "" : door, token && `token ${token}`].filter(Boolean).join(", ");
  head.append(
    element("strong", actor || "The service"),
    ` ${ACTIONS[action] ?? action}${how ? ` (${how})` : ""}, `,
    timeElement(at),
    isPrivate ? " · private" : "",
  );
  item.append(head);
  const fields = Object.entries(/** @type {Record<string, [unknown, unknown]>} */ (changes));
  if (fields.length) {
    const list = element("ul");
    list.append(...fields.map(([name, [before, after]]) => element("li", change(name, before, after))));
    item.append(list);
  }
  return item;
}

/**
 * @param {string} name
 * @param {unknown} before
 * @param {unknown} after
 */
function change(name, before, after) {
  if (before === null) return `${name}: ${text(after)}`;
  return after === null ? `${name} was ${text(before)}` : `${name}: ${text(before)} → ${text(after)}`;
}

/** @param {unknown} value */
function text(value) {
  const whole = Array.isArray(value) ? value.join(", ") : String(value);
  if (whole === "") return "empty";
  return whole.length > LONG ? `${whole.slice(0, LONG)}…` : whole;
}
