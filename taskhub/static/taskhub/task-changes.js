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
 * What happened, without who did it (`moved it from To do to In progress`), and the fields that this does not say.
 *
 * @param {AuditEntry} entry
 * @returns {{ words: string, fields: Field[] }}
 */
export function actionOf({ action, changes }) {
  const all = Object.entries(/** @type {Record<string, [unknown, unknown]>} */ (changes));
  const said = action === "task:update" ? all.filter((field) => changeText(...field)) : [];
  const fields = all.filter((field) => !said.includes(field)).map(fieldOf);
  const words = said.map((field) => changeText(...field));
  if (said.length && fields.length) words.push("changed more");
  return { words: words.join(", ") || (ACTIONS[action] ?? action), fields };
}

/**
 * A change of one field in words; empty where it takes more.
 *
 * @param {string} name
 * @param {[unknown, unknown]} values
 */
function changeText(name, [before, after]) {
  if (name === "status") return `moved it from ${statusText(before)} to ${statusText(after)}`;
  if (name === "priority") return `set the priority from ${text(before)} to ${text(after)}`;
  if (name === "assignee") return after ? `assigned it to ${text(after)}` : `unassigned ${text(before)}`;
  if (name === "private") return after ? "made it private" : "made it visible to everyone";
  if (name === "holder") return after ? "claimed it" : "ended the claim on it";
  if (name === "tags") return tagsText(listOf(before), listOf(after));
  return "";
}

/**
 * @param {unknown[]} before
 * @param {unknown[]} after
 */
function tagsText(before, after) {
  const [added, removed] = [after.filter((tag) => !before.includes(tag)), before.filter((tag) => !after.includes(tag))];
  /**
   * @param {string} verb
   * @param {unknown[]} tags
   */
  const part = (verb, tags) => (tags.length ? `${verb} the tag${tags.length === 1 ? "" : "s"} ${text(tags)}` : "");
  return [part("added", added), part("removed", removed)].filter(Boolean).join(", ");
}

/** @param {unknown} value @returns {unknown[]} */
const listOf = (value) => (Array.isArray(value) ? value : []);

/** @param {unknown} value */
const statusText = (value) => enums().statuses.find((each) => each.value === value)?.label ?? text(value);

/** @param {[string, [unknown, unknown]]} field @returns {Field} */
function fieldOf([name, [before, after]]) {
  const words = name === "status" ? statusText : text;
  return {
    name: NAMES[name] ?? name.replaceAll("_", " "),
    before: before === null ? null : words(before),
    after: after === null ? null : words(after),
  };
}

/** @param {unknown} value */
function text(value) {
  const whole = Array.isArray(value) ? value.join(", ") : String(value);
  if (whole === "") return "empty";
  return whole.length > LONG ? `${whole.slice(0, LONG)}…` : whole;
}

/**
 * The agent that made a change; empty for people and the service. Entries from before agents' names were kept have the
 * token alone.
 *
 * @param {AuditEntry} entry
 */
export const agentOf = ({ agent, token_name: token }) => agent || token;
