// What needs the reader, in a strip above the board: questions, reviews, held-back tasks and failed runs of tasks that are
// assigned to the account or that it made. Each is answered right there.

import { api, call, isSignedIn, Refused } from "./api.js";
import { answer, changeStatus, release, runAgain } from "./board-actions.js";
import { isOf, needOf, outcomeText } from "./card-state.js";
import { showSince } from "./cards.js";
import { $, button, element, find, reconcileChildren } from "./dom.js";
import { afterReview } from "./enums.js";
import { onPress, tryAction } from "./forms.js";
import { showHandedIn } from "./handed-in.js";
import { showMarkdown } from "./markdown.js";
import { answerOf, NO_REMARK } from "./review.js";
import { guardUnsaved } from "./unsaved.js";

/**
 * @import { Page } from "./api.js"
 * @import { RenderedNote, RenderedTask } from "schemas"
 * @import { StoredTask } from "./task-facts.js"
 * @import { Question, TaskStore } from "./task-store.js"
 *
 * @typedef {Exclude<ReturnType<typeof needOf>, "">} Need
 * @typedef {{ task: StoredTask, need: Need }} Row
 */

const KEY = "taskhub-needs-hidden"; // in localStorage: of this browser
const MOST = 20; // in the strip
const NOTES = 20; // that are read of a task
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
    guardUnsaved(() => [...this.#list.querySelectorAll("textarea")].some(({ value }) => value !== ""));
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
      const need = isOf(task, this.#name) ? needOf(task, this.#store.runs.get(task.id), this.#name) : "";
      if (need) rows.push({ task, need });
    }
    return rows.sort(
      (one, other) =>
        ORDER.indexOf(one.need) - ORDER.indexOf(other.need) || (one.task.updated_at < other.task.updated_at ? -1 : 1),
    );
  }

  /** @param {Row} row */
  #itemOf({ task, need }) {
    const question = this.#questionOf(task.id, need);
    const key = `${task.id} ${need} ${question?.note_id ?? ""}`;
    const item = this.#items.get(key) ?? this.#made(task.id, need, question);
    this.#items.set(key, item);
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
    this.#showText(item, id, need, question);
    const field = find(item, "textarea", HTMLTextAreaElement);
    const name = need === "question" ? "Answer" : "Remark";
    find(item, "label span").textContent = name;
    field.placeholder = `${name} …`; // the label is for those who do not see the box
    const hasField = need === "question" || need === "review-of";
    find(item, "label").hidden = !hasField;
    const options = (question?.options ?? []).map((option) => this.#option(id, option, field));
    find(item, ".options").replaceChildren(...options.map(({ press }) => press));
    const presses = this.#presses(id, need, field);
    find(item, ".presses").replaceChildren(...presses.map(({ press }) => press));
    for (const { press, act } of [...options, ...presses]) onPress(press, find(item, ".refusal"), act);
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
    const { back, on } = afterReview(this.#store.tasks.get(id)?.status);
    if (!back || !on) throw new RangeError("A task to review is in a column between two others.");
    return [
      of("Accept", (task) => this.#put(changeStatus(task, on.value, field.value.trim()), "was accepted")),
      of("Send back", (task) => {
        const remark = field.value.trim();
        if (!remark) {
          field.focus();
          throw new Refused(NO_REMARK);
        }
        return this.#put(changeStatus(task, back.value, remark), "was sent back");
      }),
    ];
  }

  /**
   * A press answers at once, with what is written beside it.
   *
   * @param {string} id
   * @param {string} option
   * @param {HTMLTextAreaElement} field
   */
  #option(id, option, field) {
    const press = button(option, "small");
    press.title = `Answer “${option}”`;
    const act = async () => {
      const task = this.#store.tasks.get(id);
      if (task) this.#onDone(await this.#answer(task, field, option));
    };
    return { press, act };
  }

  /**
   * @param {HTMLElement} item
   * @param {string} id
   * @param {Need} need
   * @param {Question | null} question
   */
  #showText(item, id, need, question) {
    const text = find(item, ".text");
    text.hidden = need !== "question" && need !== "review-of";
    if (!text.hidden) text.tabIndex = 0; // it may be longer than its place
    if (need === "question") this.#showQuestion(item, id, question);
    if (need === "review-of") void this.#showWork(item, id);
  }

  /**
   * @param {HTMLElement} item
   * @param {string} id
   * @param {Question | null} question
   */
  #showQuestion(item, id, question) {
    const place = find(item, ".text");
    const end = question ? endText(question) : "";
    showMarkdown(place, question ? [question.text, end].filter(Boolean).join("\n\n") : "…", null);
    if (!question) return;
    const draw = (/** @type {string | null | undefined} */ html) => {
      if (html == null) return; // the words as they are
      showMarkdown(place, question.text, html);
      if (end) place.append(element("p", end, "note"));
    };
    if (question.text_html !== undefined) draw(question.text_html);
    else void quietly(async () => draw((await notesOf(id)).find((note) => note.id === question.note_id)?.text_html));
  }

  /**
   * What is to be reviewed.
   *
   * @param {HTMLElement} item
   * @param {string} id
   */
  #showWork(item, id) {
    return quietly(async () => {
      const notes = await notesOf(id);
      const task = this.#store.tasks.get(id);
      if (!task) return;
      const work = { id, notes, artifacts: task.artifacts, run: task.last_run?.execution_id ?? "" };
      await showHandedIn(find(item, ".text"), work, find(item, ".refusal"));
    });
  }

  /**
   * @param {StoredTask} task
   * @param {HTMLTextAreaElement} field
   * @param {string} [option] - The one that was pressed.
   */
  async #answer(task, field, option = "") {
    const question = this.#store.questions.get(task.id);
    if (!question) throw new Refused("The question has been answered meanwhile.");
    const text = answerOf(option, field.value);
    if (!text) {
      field.focus();
      throw new Refused("Write an answer.");
    }
    await answer(task, question.note_id, text);
    this.#store.answered(task.id);
    return `“${task.title}” was answered${option && `: ${option}`}.`;
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

  /** Read the open question of a task. Where it cannot be read, it is asked for when all tasks are. @param {string} id */
  async #ask(id) {
    if (this.#asking.has(id)) return;
    this.#asking.add(id);
    const { questions } = this.#store;
    await tryAction($("problem"), async () => {
      const asked = (await notesOf(id)).find(isQuestion) ?? (await olderQuestion(id));
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
const whatText = (need, question) =>
  question ? `question of ${question.agent || question.author || "the service"}` : WORDS[need].one;

/**
 * The last notes, the newest first.
 *
 * @param {string} id
 */
async function notesOf(id) {
  /** @type {Page<RenderedNote>} */
  const { results } = await call("GET", `${api("tasks", id, "notes")}?html=true&page_size=${NOTES}`);
  return results;
}

/** The open question where it is older than these. @param {string} id */
async function olderQuestion(id) {
  /** @type {RenderedTask} */
  const { notes } = await call("GET", api("tasks", id));
  return notes.find(isQuestion);
}

/** @param {{ kind: string }} note */
const isQuestion = ({ kind }) => kind === "question";

/**
 * Add to what is shown, if it can be read: the task's page has it too, and says why not.
 *
 * @param {() => Promise<void>} action
 */
async function quietly(action) {
  try {
    await action();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
  }
}

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

/** What becomes of a question that has a deadline. @param {Question} question */
const endText = ({ deadline, assumes }) =>
  deadline ? `Without an answer by ${new Date(deadline).toLocaleString()}: ${assumes ?? ""}` : "";

/** @param {Row[]} rows */
function countsText(rows) {
  const parts = ORDER.flatMap((need) => {
    const n = rows.filter((row) => row.need === need).length;
    return n ? `${n} ${n === 1 ? WORDS[need].one : WORDS[need].many}` : [];
  });
  const more = rows.length > MOST ? ` The first ${MOST} are shown.` : "";
  return parts.length ? parts.join(", ") + "." + more : "Nothing now.";
}
