// What an audit entry says in words. No DOM.

import { enums } from "./enums.js";

/** @import { AuditEntry } from "schemas" */

const LONG = 160; // characters of a value that are shown
/** The action of an entry from a time at which the reader could not see the task: its time is all that is told. */
export const HIDDEN = "task:private";
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
/** What a change of these fields is called; that of others has their name. @type {Record<string, string>} */
const NAMES = {
  artifacts: "artifacts",
  blocked_by: "blockers",
  closed_as: "closed as",
  open_blockers: "open blockers",
  override_reason: "reason for done without a passed verification",
  verify: "verify script",
  verify_policy: "verify policy",
  held_back: "held back",
  waived_by: "waived by",
};

/** @typedef {{ name: string, before: string | null, after: string | null }} Field - Null: it says nothing of it. */

/**
 * What happened, without who did it: `moved it from To do to In progress`.
 *
 * @param {AuditEntry} entry
 */
export function actionText({ action, changes }) {
  const fields = Object.entries(/** @type {Record<string, [unknown, unknown]>} */ (changes));
  const [first] = fields;
  const isOne = action === "task:update" && fields.length === 1;
  return (isOne && first && changeText(...first)) || (ACTIONS[action] ?? action);
}

/**
 * A change of one field in a sentence; empty where it takes more.
 *
 * @param {string} name
 * @param {[unknown, unknown]} values
 */
function changeText(name, [before, after]) {
  if (name === "status") return `moved it from ${statusText(before)} to ${statusText(after)}`;
  if (name === "priority") return `set the priority from ${text(before)} to ${text(after)}`;
  if (name === "assignee") return after ? `assigned it to ${text(after)}` : `unassigned ${text(before)}`;
  if (name === "private") return after ? "made it private" : "made it visible to everyone";
  return "";
}

/** @param {unknown} value */
const statusText = (value) => enums().statuses.find((each) => each.value === value)?.label ?? text(value);

/**
 * The fields that `actionText` does not say.
 *
 * @param {AuditEntry} entry
 * @returns {Field[]}
 */
export function fieldsOf(entry) {
  const fields = Object.entries(/** @type {Record<string, [unknown, unknown]>} */ (entry.changes));
  const [first] = fields;
  if (entry.action === "task:update" && fields.length === 1 && first && changeText(...first)) return [];
  return fields.map(([name, [before, after]]) => ({
    name: NAMES[name] ?? name.replaceAll("_", " "),
    before: before === null ? null : name === "status" ? statusText(before) : text(before),
    after: after === null ? null : name === "status" ? statusText(after) : text(after),
  }));
}

/** @param {unknown} value */
function text(value) {
  const whole = Array.isArray(value) ? value.join(", ") : String(value);
  if (whole === "") return "empty";
  return whole.length > LONG ? `${whole.slice(0, LONG)}…` : whole;
}
