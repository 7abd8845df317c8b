// Notes on a task, the newest first, and the form that adds one or answers the open question.

import { api, call } from "./api.js";
import { $, element, timeElement } from "./dom.js";
import { onPress } from "./forms.js";
import { showMarkdown } from "./markdown.js";
import { NewestFirst } from "./newest-first.js";

/** @import { NoteCreateRequest, RenderedNote, RenderedTask } from "schemas" */

export class Notes {
  /** @type {NewestFirst<RenderedNote>} */
  #notes;
  /** The id of the open question. @type {number | null} */
  #asked = null;

  /**
   * @param {string} taskId
   * @param {() => void} onAdded
   */
  constructor(taskId, onAdded) {
    const address = api("tasks", taskId, "notes");
    this.#notes = new NewestFirst(`${address}?html=true`, "notes", row);
    onPress($("note-form"), $("note-problem"), async () => {
      const field = $("note-text", HTMLTextAreaElement);
      /** @type {NoteCreateRequest} */
      const body = { text: field.value };
      // By its id: in the meantime it may have been answered, and another one asked.
      if (this.#asked !== null) Object.assign(body, { kind: "answer", question: this.#asked });
      await call("POST", address, body);
      field.value = "";
      onAdded();
    });
  }

  /**
   * Ask for an answer where a question is open.
   *
   * @param {RenderedTask} task
   */
  show(task) {
    const asked = openQuestion(task);
    this.#asked = asked?.id ?? null;
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
    await this.#notes.refresh();
    $("no-notes").hidden = !this.#notes.isEmpty;
  }
}

/**
 * The question that waits for an answer; of a task that is held back too, which waits for a person first.
 *
 * @param {RenderedTask} task
 */
function openQuestion({ waiting_for: needs, notes }) {
  const newest = notes.find(({ kind }) => kind === "question");
  const isAnswered = notes.some(({ question }) => question !== null && question === newest?.id);
  return (needs === "answer" || needs === "person") && !isAnswered ? newest : undefined;
}

/** @param {string} text */
function option(text) {
  const button = element("button", text, "small");
  button.type = "button";
  button.addEventListener("click", () => ($("note-text", HTMLTextAreaElement).value = text));
  return button;
}

/** @param {RenderedNote} note */
function row({ kind, text, text_html: html, author, agent, at, assumed }) {
  const item = element("li");
  const head = element("p");
  const by = assumed ? "assumed at the deadline" : agent ? `${author}/${agent}` : author;
  head.append(element("strong", by), ` ${kind}, `, timeElement(at));
  const body = element("div", "", "markdown");
  showMarkdown(body, text, html);
  item.append(head, body);
  return item;
}
