// Filters of the board: read from an address, written to one, and applied to a task. No DOM.

import { STATES } from "./card-state.js";
import { enums } from "./enums.js";

/**
 * @import { StateName } from "./card-state.js"
 * @import { StoredTask } from "./task-facts.js"
 * @import { Run } from "./task-store.js"
 *
 * @typedef {object} Filter
 * @property {string} q
 * @property {string | null} assignee - A name, `me`, or `nobody` (unassigned); null: any.
 * @property {string} priority - Empty: any.
 * @property {string[]} tags - All of these.
 * @property {string[]} states - One of these; none: any.
 * @property {boolean} old - Also tasks that have left the board.
 */

export const ME = "me"; // as in the API: no account has these names
export const UNASSIGNED = "nobody";

/**
 * @param {URLSearchParams} query
 * @returns {Filter}
 */
export function readFilter(query) {
  const assignee = query.get("assignee");
  return {
    q: query.get("q") ?? "",
    assignee: assignee === "" ? UNASSIGNED : assignee,
    priority: enums().priorities.some(({ value }) => value === query.get("priority"))
      ? (query.get("priority") ?? "")
      : "",
    tags: query.getAll("tags").filter(Boolean),
    states: query.getAll("state").filter((name) => name in STATES),
    old: query.has("old"),
  };
}

/**
 * @param {Filter} filter
 * @returns {URLSearchParams}
 */
export function filterQuery({ q, assignee, priority, tags, states, old }) {
  const query = new URLSearchParams();
  if (q.trim()) query.set("q", q.trim());
  if (assignee !== null) query.set("assignee", assignee);
  if (priority) query.set("priority", priority);
  for (const tag of tags) query.append("tags", tag);
  for (const state of states) query.append("state", state);
  if (old) query.set("old", "1");
  return query;
}

const TEXT_MOST = 200;
const NO_TASK = "00000000-0000-0000-0000-000000000000";

/**
 * The filter as parameters of `/api/tasks/board/`.
 *
 * @param {Filter} filter
 * @param {string} me - The reader's name; empty for readers without an account, to whom no task is assigned.
 */
export function apiQuery(filter, me) {
  const query = filterQuery({ ...filter, q: filter.q.slice(0, TEXT_MOST) });
  if (filter.old) query.set("old", "true");
  if (filter.assignee === ME && !me) {
    query.delete("assignee");
    query.set("ids", NO_TASK);
  }
  return query;
}

/**
 * How many filters beside the search are in use.
 *
 * @param {Filter} filter
 */
export const countOf = ({ assignee, priority, tags, states, old }) =>
  Number(assignee !== null) + Number(priority !== "") + tags.length + states.length + Number(old);

/**
 * The condition on tasks; `old` is the caller's.
 *
 * @param {Filter} filter
 * @param {string} me - The reader's name; empty for readers without an account, to whom no task is assigned.
 * @param {Set<string> | null} found - The ids of the tasks that the service has found for `q`; null: not known, so what is
 *   known of the texts counts.
 * @returns {(task: StoredTask, run: Run | undefined) => boolean}
 */
export function matcher({ q, assignee, priority, tags, states }, me, found = null) {
  const words = q.toLowerCase().split(/\s+/).filter(Boolean);
  const isAssignee = assigneeIs(assignee, me);
  const wanted = states.map((name) => STATES[/** @type {StateName} */ (name)]);
  return (task, run) =>
    (!priority || task.priority === priority) &&
    isAssignee(task.assignee) &&
    tags.every((tag) => task.tags.includes(tag)) &&
    (found ? found.has(task.id) : words.every((word) => task.text.includes(word))) &&
    (!wanted.length || wanted.some((isState) => isState(task, run)));
}

/**
 * @param {string | null} wanted
 * @param {string} me
 * @returns {(name: string) => boolean}
 */
function assigneeIs(wanted, me) {
  if (wanted === null) return () => true;
  if (wanted === ME) return (name) => me !== "" && name === me;
  return (name) => name === (wanted === UNASSIGNED ? "" : wanted);
}
