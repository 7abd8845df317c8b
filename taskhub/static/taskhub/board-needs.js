// What needs the reader, in a strip above the board: questions, reviews, held-back tasks and failed runs of tasks that are
// assigned to the account or that it made. Each is answered right there.

import { api, call, isSignedIn, Refused } from "./api.js";
import { answer, changeStatus, release, runAgain } from "./board-actions.js";
import { isOf, needOf, outcomeText } from "./card-state.js";
import { showSince } from "./cards.js";
import { $, button, element, find, reconcileChildren } from "./dom.js";
import { around } from "./enums.js";
import { onPress, tryAction } from "./forms.js";

/**
 * @import { RenderedTask } from "schemas"
 * @import { StoredTask } from "./task-facts.js"
 * @import { Question, TaskStore } from "./task-store.js"
 *
 * @typedef {Exclude<ReturnType<typeof needOf>, "">} Need
 * @typedef {{ task: StoredTask, need: Need }} Row
 */

const KEY = "taskhub-needs-hidden"; // in localStorage: of this browser
const MOST = 20; // in the strip
/** In the order of the strip. @type {Record<Need, { one: string, many: string }>} */
const WORDS = {
  question: { one: "question", many: "questions" },
  held: { one: "held back", many: "held back" },
  failure: { one: "failed run", many: "failed runs" },
  "review-of": { one: "to review", many: "to review" },
};
const ORDER = /** @type {Need[]} */ (Object.keys(WORDS));
const template = $("need", HTMLTemplateElement).content.firstElementChild;

export class Needs {
  #store;
  #name;
  #onDone;
  #place = $("needs");
  #list = $("needs-list");
  /** By the task's id and the need. @type {Map<string, HTMLElement>} */
  #items = new Map();
  /** In the place of what is done. */
  #nothing = element(
    "li",
    "All is done. Questions, held-back tasks, failed runs and reviews of yours come here.",
    "note",
  );
  /** Tasks whose question is being read. @type {Set<string>} */
  #asking = new Set();

  /**
   * @param {object} options
   * @param {TaskStore} options.store
   * @param {string} options.name - The account; empty: nothing is shown.
   * @param {(text: string) => void} options.onDone - After something was answered.
   */
  constructor({ store, name, onDone }) {
    this.#store = store;
    this.#name = name;
    this.#onDone = onDone;
    const toggle = find(this.#place, ".toggle");
    toggle.addEventListener("click", () => {
      const isHidden = !this.#list.hidden;
      localStorage.setItem(KEY, isHidden ? "1" : "");
      this.#fold(isHidden);
    });
    // What is written and not sent is not lost unseen.
    addEventListener("beforeunload", (event) => {
      if ([...this.#list.querySelectorAll("textarea")].some(({ value }) => value !== "")) event.preventDefault();
    });
    // A narrow window has no room for both it and the tasks.
    this.#fold((localStorage.getItem(KEY) ?? (matchMedia("(max-width: 39.9rem)").matches ? "1" : "")) === "1");
  }

  /** @param {boolean} isHidden */
  #fold(isHidden) {
    const toggle = find(this.#place, ".toggle");
    this.#list.hidden = isHidden;
    toggle.textContent = isHidden ? "Show" : "Hide";
    toggle.ariaExpanded = String(!isHidden);
  }

  /** Show what needs the reader now. What is being written stays, and so does the focus. */
  draw() {
    if (!this.#name) return;
    const rows = this.#rows();
    const focused = document.activeElement;
    const at = [...this.#list.children].findIndex((item) => item.contains(focused));
    // Its place stays as it was at first: nothing below moves by itself. What comes into an empty one is counted.
    if (this.#place.hidden && !rows.length) this.#fold(true);
    this.#place.hidden = false;
    find(this.#place, ".toggle").hidden = !rows.length && this.#list.hidden;
    find(this.#place, ".counts").textContent = countsText(rows);
    this.#place.classList.toggle("none", rows.length === 0);
    const items = rows.slice(0, MOST).map((row) => this.#itemOf(row));
    reconcileChildren(this.#list, rows.length ? items : [this.#nothing]);
    for (const [key, item] of this.#items) if (!items.includes(item)) this.#items.delete(key);
    if (at >= 0 && document.activeElement !== focused) this.#refocus(focused, at);
  }

  /**
   * @param {Element | null} focused
   * @param {number} at - Where its item was.
   */
  #refocus(focused, at) {
    if (focused instanceof HTMLElement && this.#list.contains(focused)) focused.focus();
    else {
      const next = this.#list.children[Math.min(at, this.#list.children.length - 1)];
      (next && next !== this.#nothing ? find(next, "h3 a") : $("needs-title")).focus();
    }
  }

  /** @returns {Row[]} */
  #rows() {
    /** @type {Row[]} */
    const rows = [];
    for (const task of this.#store.tasks.values()) {
      const need = isOf(task, this.#name) ? needOf(task, this.#store.runs.get(task.id)) : "";
      if (need && !this.#isOwnQuestion(task.id, need)) rows.push({ task, need });
    }
    return rows.sort(
      (one, other) =>
        ORDER.indexOf(one.need) - ORDER.indexOf(other.need) || (one.task.updated_at < other.task.updated_at ? -1 : 1),
    );
  }

  /**
   * What the reader asks, others answer.
   *
   * @param {string} id
   * @param {Need} need
   */
  #isOwnQuestion(id, need) {
    const question = need === "question" ? this.#store.questions.get(id) : null;
    return question != null && question.author === this.#name && question.agent === "";
  }

  /** @param {Row} row */
  #itemOf({ task, need }) {
    const question = this.#questionOf(task.id, need);
    const key = `${task.id} ${need} ${question?.note_id ?? ""}`;
    const known = this.#items.get(key);
    const item = known ?? this.#made(task.id, need, question);
    this.#items.set(key, item);
    if (!known && need === "review-of") void this.#showResult(task.id, find(item, ".text"));
    const link = find(item, "h3 a", HTMLAnchorElement);
    if (link.textContent !== task.title) link.textContent = link.title = task.title;
    showSince(find(item, ".since"), sinceOf(task, need));
    if (need === "failure" && task.last_run) find(item, ".what strong").textContent = outcomeText(task.last_run);
    return item;
  }

  /**
   * The open question, null where there is none or it must be read first.
   *
   * @param {string} id
   * @param {Need} need
   */
  #questionOf(id, need) {
    if (need !== "question") return null;
    const question = this.#store.questions.get(id);
    if (question === undefined) void this.#ask(id);
    return question ?? null;
  }

  /**
   * @param {string} id
   * @param {Need} need
   * @param {Question | null} question
   */
  #made(id, need, question) {
    const item = /** @type {HTMLElement} */ (template?.cloneNode(true));
    item.dataset["need"] = need;
    find(item, ".what strong").textContent = whatText(need, question);
    find(item, "h3 a", HTMLAnchorElement).href = `/tasks/${id}/`;
    const text = find(item, ".text");
    text.textContent = question ? questionText(question) : need === "question" ? "…" : "";
    text.tabIndex = 0; // it may be longer than its place
    text.hidden = !text.textContent;
    if (text.hidden) text.removeAttribute("tabindex");
    const field = find(item, "textarea", HTMLTextAreaElement);
    const name = need === "question" ? "Answer" : "Remark";
    find(item, "label span").textContent = name;
    field.placeholder = `${name} …`; // the label is for those who do not see the box
    const hasField = need === "question" || need === "review-of";
    find(item, "label").hidden = !hasField;
    find(item, ".options").replaceChildren(...(question?.options ?? []).map((each) => optionOf(each, field)));
    const presses = this.#presses(id, need, field);
    find(item, ".presses").replaceChildren(...presses.map(({ press }) => press));
    for (const { press, act } of presses) onPress(press, find(item, ".refusal"), act);
    find(item, "form", HTMLFormElement).addEventListener("submit", (event) => event.preventDefault());
    return item;
  }

  /**
   * @param {string} id
   * @param {Need} need
   * @param {HTMLTextAreaElement} field
   * @returns {{ press: HTMLButtonElement, act: () => Promise<void> }[]}
   */
  #presses(id, need, field) {
    /**
     * @param {string} label
     * @param {(task: StoredTask) => Promise<string>} act - Answers what was done.
     */
    const of = (label, act) => ({
      press: button(label, "small"),
      act: async () => {
        const task = this.#store.tasks.get(id);
        if (task) this.#onDone(await act(task));
      },
    });
    if (need === "question") return [of("Answer", (task) => this.#answer(task, field))];
    // A token of this tab acts as an agent, and agents release nothing that is held back.
    if (need === "held") return isSignedIn() ? [of("Release", (task) => this.#put(release(task), "was released"))] : [];
    if (need === "failure") return [of("Run again", again)];
    const { back, on } = around(this.#store.tasks.get(id)?.status);
    if (!back || !on) throw new RangeError("A task to review is in a column between two others.");
    return [
      of("Accept", (task) => this.#put(changeStatus(task, on.value, field.value.trim()), "was accepted")),
      of("Send back", (task) => this.#put(changeStatus(task, back.value, field.value.trim()), "was sent back")),
    ];
  }

  /**
   * @param {StoredTask} task
   * @param {HTMLTextAreaElement} field
   */
  async #answer(task, field) {
    const question = this.#store.questions.get(task.id);
    if (!question) throw new Refused("The question has been answered meanwhile.");
    if (!field.value.trim()) {
      field.focus();
      throw new Refused("Write an answer.");
    }
    await answer(task, question.note_id, field.value);
    this.#store.answered(task.id);
    return `“${task.title}” was answered.`;
  }

  /**
   * @param {Promise<import("schemas").Task>} change
   * @param {string} what
   */
  async #put(change, what) {
    const task = await change;
    this.#store.put(task);
    return `“${task.title}” ${what}.`;
  }

  /**
   * Read and show what is to be reviewed: the result that was written down, else the last note.
   *
   * @param {string} id
   * @param {HTMLElement} place
   */
  async #showResult(id, place) {
    await tryAction($("problem"), async () => {
      /** @type {RenderedTask} */
      const { notes } = await call("GET", api("tasks", id));
      const said = notes.find(({ kind }) => kind === "result") ?? notes[0];
      if (!said) return;
      place.textContent = `${said.agent || said.author}: ${said.text}`;
      place.tabIndex = 0;
      place.hidden = false;
    });
  }

  /** Read the open question of a task. Where it cannot be read, it is asked for when all tasks are. @param {string} id */
  async #ask(id) {
    if (this.#asking.has(id)) return;
    this.#asking.add(id);
    const { questions } = this.#store;
    await tryAction($("problem"), async () => {
      /** @type {RenderedTask} */
      const { notes } = await call("GET", api("tasks", id));
      const asked = notes.find(({ kind }) => kind === "question");
      if (asked && !questions.has(id)) questions.set(id, { ...asked, note_id: asked.id });
    });
    this.#asking.delete(id);
    if (questions.get(id)) this.draw();
    else questions.set(id, null);
  }
}

/**
 * @param {Need} need
 * @param {Question | null} question
 */
const whatText = (need, question) => (question ? `question of ${question.agent || question.author}` : WORDS[need].one);

/** @param {StoredTask} task */
async function again(task) {
  await runAgain(task);
  return `“${task.title}” runs again.`;
}

/**
 * @param {StoredTask} task
 * @param {Need} need
 */
const sinceOf = (task, need) =>
  (need === "failure" ? task.last_run?.finished_at : need === "review-of" ? task.status_since : null) ??
  task.updated_at;

/** @param {Question} question */
const questionText = ({ text, deadline, assumes }) =>
  deadline ? `${text}\n\nWithout an answer by ${new Date(deadline).toLocaleString()}: ${assumes ?? ""}` : text;

/**
 * @param {string} text
 * @param {HTMLTextAreaElement} field
 */
function optionOf(text, field) {
  const press = button(text, "small");
  press.title = "Puts it into the box; “Answer” sends it";
  press.addEventListener("click", () => {
    field.value = text;
    field.focus();
    field.form?.querySelector(".presses button")?.classList.add("primary"); // it is not sent yet
  });
  return press;
}

/** @param {Row[]} rows */
function countsText(rows) {
  const parts = ORDER.flatMap((need) => {
    const n = rows.filter((row) => row.need === need).length;
    return n ? `${n} ${n === 1 ? WORDS[need].one : WORDS[need].many}` : [];
  });
  const more = rows.length > MOST ? ` The first ${MOST} are shown.` : "";
  return parts.length ? parts.join(", ") + "." + more : "Nothing now.";
}
