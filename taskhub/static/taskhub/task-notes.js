// Notes on a task, the newest first, and the form that adds one or answers the open question.

import { api, call, pathOf } from "./api.js";
import { $, element, timeElement } from "./dom.js";
import { onPress, tryAction } from "./forms.js";

/**
 * @import { Page } from "./api.js"
 * @import { Note, NoteCreateRequest, TaskDetail } from "schemas"
 */

export class Notes {
  #address;
  /** By the note's id. @type {Map<number, HTMLElement>} */
  #notes = new Map();
  /** The address of the next page. @type {string | null} */
  #next = null;
  #isAsked = false;

  /**
   * @param {string} taskId
   * @param {() => void} onAdded
   */
  constructor(taskId, onAdded) {
    this.#address = api("tasks", taskId, "notes");
    $("more-notes").addEventListener("click", () => void tryAction($("problem"), () => this.#readMore()));
    onPress($("note-form"), $("note-problem"), async () => {
      const field = $("note-text", HTMLTextAreaElement);
      /** @type {NoteCreateRequest} */
      const body = { kind: this.#isAsked ? "answer" : "note", text: field.value };
      await call("POST", this.#address, body);
      field.value = "";
      onAdded();
    });
  }

  /**
   * Ask for an answer where a question is open.
   *
   * @param {TaskDetail} task
   */
  show(task) {
    const asked = task.waiting_for === "answer" ? task.notes.find(({ kind }) => kind === "question") : undefined;
    this.#isAsked = Boolean(asked);
    $("question").hidden = !asked;
    $("note-label").textContent = asked ? "Answer" : "Note";
    $("note-send").textContent = asked ? "Answer" : "Add";
    $("note-options").replaceChildren(...(asked?.options ?? []).map(option));
    if (!asked) return;
    const deadline = asked.deadline ? ["Without an answer by ", timeElement(asked.deadline), `: ${asked.assumes}`] : [];
    $("question").replaceChildren(`${asked.text} `, ...deadline);
  }

  /**
   * Read the newest notes.
   *
   * @throws {Refused}
   */
  async refresh() {
    /** @type {Page<Note>} */
    const { results, next } = await call("GET", this.#address);
    const newest = Math.max(0, ...this.#notes.keys());
    // Where more was written than a page holds, the known notes do not adjoin: begin anew.
    if (!results.some(({ id }) => id <= newest)) {
      this.#notes.clear();
      this.#next = next;
    }
    this.#add(results);
  }

  async #readMore() {
    if (!this.#next) return;
    /** @type {Page<Note>} */
    const { results, next } = await call("GET", pathOf(this.#next));
    this.#next = next;
    this.#add(results);
  }

  /** @param {Note[]} results */
  #add(results) {
    for (const note of results) if (!this.#notes.has(note.id)) this.#notes.set(note.id, row(note));
    const newestFirst = [...this.#notes].sort(([one], [other]) => other - one);
    $("notes").replaceChildren(...newestFirst.map(([, item]) => item));
    $("no-notes").hidden = this.#notes.size > 0;
    $("more-notes").hidden = !this.#next;
  }
}

/** @param {string} text */
function option(text) {
  const button = element("button", text, "small");
  button.type = "button";
  button.addEventListener("click", () => ($("note-text", HTMLTextAreaElement).value = text));
  return button;
}

/** @param {Note} note */
function row({ kind, text, author, agent, at, assumed }) {
  const item = element("li");
  const head = element("p");
  const by = assumed ? "assumed at the deadline" : agent ? `${author}/${agent}` : author;
  head.append(element("strong", by), ` ${kind}, `, timeElement(at));
  item.append(head, element("pre", text));
  return item;
}
