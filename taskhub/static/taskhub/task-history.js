// What happened to a task, the newest first.

import { api, call } from "./api.js";
import { $, element } from "./forms.js";
import { moment } from "./words.js";

const LONG = 120; // characters of a value that are shown
const ACTIONS = {
  "task:create": "created the task",
  "task:update": "changed the task",
  "task:delete": "deleted the task",
  "execution:queue": "asked for an execution",
  "execution:start": "started the execution",
  "execution:stop": "asked to stop the execution",
  "execution:finish": "ended the execution",
};

export class History {
  constructor(taskId) {
    this.address = api("tasks", taskId, "history");
    this.entries = new Map();
    this.next = null;
    $("more-history").addEventListener("click", () => this.#readMore());
  }

  /** What is new on top of what is known. */
  async refresh() {
    const { results, next } = await call("GET", this.address);
    const newest = Math.max(0, ...this.entries.keys());
    // Where more has happened than a page holds, what is known does not join on: begin anew.
    const joins = results.some(({ id }) => id <= newest);
    if (!joins) {
      this.entries.clear();
      this.next = next;
    }
    this.#add(results);
  }

  async #readMore() {
    const { pathname, search } = new URL(this.next);
    const { results, next } = await call("GET", pathname + search);
    this.next = next;
    this.#add(results);
  }

  #add(results) {
    for (const entry of results) this.entries.set(entry.id, this.entries.get(entry.id) ?? row(entry));
    const ids = [...this.entries.keys()].sort((one, other) => other - one);
    $("history").replaceChildren(...ids.map((id) => this.entries.get(id)));
    $("more-history").hidden = !this.next;
  }
}

function row({ at, actor, door, token_name: token, action, changes }) {
  const item = element("li");
  const head = element("p");
  const how = [door === "job" ? "" : door, token && `token ${token}`].filter(Boolean).join(", ");
  head.append(
    element("strong", actor || "The service"),
    ` ${ACTIONS[action] ?? action}${how ? ` (${how})` : ""}, `,
    moment(at),
  );
  item.append(head);
  const fields = Object.entries(changes);
  if (fields.length) {
    const list = element("ul");
    list.append(...fields.map(([name, [before, after]]) => element("li", change(name, before, after))));
    item.append(list);
  }
  return item;
}

function change(name, before, after) {
  if (before === null) return `${name}: ${said(after)}`;
  return after === null ? `${name} was ${said(before)}` : `${name}: ${said(before)} → ${said(after)}`;
}

function said(value) {
  const text = Array.isArray(value) ? value.join(", ") : String(value);
  if (text === "") return "nothing";
  return text.length > LONG ? `${text.slice(0, LONG)}…` : text;
}
