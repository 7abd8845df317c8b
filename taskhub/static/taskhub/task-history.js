// The audit history of a task, the newest entry first.

import { api, call, pathOf } from "./api.js";
import { $, element, timeElement } from "./dom.js";
import { tryAction } from "./forms.js";

/**
 * @import { Page } from "./api.js"
 * @import { AuditEntry } from "schemas"
 */

const LONG = 120; // characters of a value that are shown
/** The action of an entry from a time at which the reader could not see the task: its time is all that is told. */
const HIDDEN = "task:private";
/** The text for an action; others are shown as they are. @type {Record<string, string>} */
const ACTIONS = {
  "task:create": "created the task",
  "task:update": "changed the task",
  "task:delete": "deleted the task",
  "note:add": "added a note",
  "task:waive": "waived a blocker",
  "claim:override": "forced a change of a task that an agent holds",
  "task:private": "Something happened while the task was private",
  "execution:queue": "requested an execution",
  "execution:start": "started the execution",
  "execution:stop": "requested a stop of the execution",
  "execution:finish": "recorded the end of the execution",
};

export class History {
  #address;
  /** By the entry's id. @type {Map<number, HTMLElement>} */
  #entries = new Map();
  /** The address of the next page. @type {string | null} */
  #next = null;

  /** @param {string} taskId */
  constructor(taskId) {
    this.#address = api("tasks", taskId, "history");
    $("more-history").addEventListener("click", () => void tryAction($("problem"), () => this.#readMore()));
  }

  /**
   * Read the newest entries.
   *
   * @throws {Refused}
   */
  async refresh() {
    /** @type {Page<AuditEntry>} */
    const { results, next } = await call("GET", this.#address);
    const newest = Math.max(0, ...this.#entries.keys());
    // Where more has happened than a page holds, the known entries do not adjoin: begin anew.
    if (!results.some(({ id }) => id <= newest)) {
      this.#entries.clear();
      this.#next = next;
    }
    this.#add(results);
  }

  async #readMore() {
    if (!this.#next) return;
    /** @type {Page<AuditEntry>} */
    const { results, next } = await call("GET", pathOf(this.#next));
    this.#next = next;
    this.#add(results);
  }

  /** @param {AuditEntry[]} results */
  #add(results) {
    for (const entry of results) if (!this.#entries.has(entry.id)) this.#entries.set(entry.id, row(entry));
    const newestFirst = [...this.#entries].sort(([one], [other]) => other - one);
    $("history").replaceChildren(...newestFirst.map(([, item]) => item));
    $("more-history").hidden = !this.#next;
  }
}

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
