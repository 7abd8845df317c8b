// What a task needs of people, above its description: the open question with a box to answer, a review, a release.

import { api, call, Refused } from "./api.js";
import { $, agoElement, button, element } from "./dom.js";
import { around, entryOf, enums } from "./enums.js";
import { onPress, showError } from "./forms.js";
import { guardUnsaved } from "./in-place.js";
import { showMarkdown } from "./markdown.js";
import { isConflict, putStatus, whoChanged } from "./task-form.js";
import { toast } from "./toasts.js";

/**
 * @import { Note, RenderedNote, RenderedTask } from "schemas"
 *
 * @typedef {{ onDone: () => void, mayWork: boolean }} AsksOptions
 */

export class Asks {
  #options;
  #answer = $("answer-text", HTMLTextAreaElement);
  #remark = $("remark-text", HTMLTextAreaElement);
  /** The open question. @type {Note | null} */
  #asked = null;
  /** @type {RenderedTask | null} */
  #task = null;

  /** @param {AsksOptions} options */
  constructor(options) {
    this.#options = options;
    guardUnsaved(() => this.#answer.value !== "" || this.#remark.value !== "");
    onPress($("answer-form"), $("answer-problem"), () => this.#send());
    onPress($("accept"), $("review-problem"), () => this.#move("on", "Accepted."));
    onPress($("send-back"), $("review-problem"), () => this.#move("back", "Sent back."));
    $("review-form").addEventListener("submit", (event) => event.preventDefault());
  }

  /**
   * @param {RenderedTask} task
   * @param {readonly RenderedNote[]} notes - With their texts as HTML, as far as they are read.
   */
  show(task, notes) {
    const needs = task.waiting_for;
    const asked = openQuestion(task) ?? null;
    this.#task = task;
    const hadFocus = $("asks").contains(document.activeElement);
    $("asks").hidden = !needs;
    if (needs)
      $("asks-title").textContent = entryOf(enums().asks, asked && needs !== "person" ? "answer" : needs).label;
    $("held-back").hidden = needs !== "person";
    this.#showQuestion(asked, notes);
    this.#showReview(isToReview(task));
    if (!asked) this.#showResult(task, notes);
    if (hadFocus && !$("asks").contains(visible(document.activeElement))) $("title").focus();
  }

  /**
   * What is to be reviewed, as it was written down.
   *
   * @param {RenderedTask} task
   * @param {readonly RenderedNote[]} notes
   */
  #showResult(task, notes) {
    const said = isToReview(task) ? task.notes.find(({ kind }) => kind === "result") : undefined;
    if (!said) return;
    $("question").hidden = false;
    showMarkdown($("question-text"), said.text, notes.find(({ id }) => id === said.id)?.text_html);
    const by = element("strong", said.agent ? `${said.author}/${said.agent}` : said.author);
    $("question-of").replaceChildren(by, " wrote down the result ", agoElement(said.at));
  }

  /** @param {boolean} isDue */
  #showReview(isDue) {
    $("review-form").hidden = !isDue || !this.#options.mayWork;
    if (!isDue) this.#keep(this.#remark, "It is no longer to be reviewed.");
  }

  /**
   * @param {Note | null} asked
   * @param {readonly RenderedNote[]} notes
   */
  #showQuestion(asked, notes) {
    const before = this.#asked;
    this.#asked = asked;
    $("question").hidden = !asked;
    $("answer-form").hidden = !asked || !this.#options.mayWork;
    if (!asked) {
      this.#keep(this.#answer, "The question was answered meanwhile.");
      return;
    }
    if (before && before.id !== asked.id && this.#answer.value)
      showError($("answer-problem"), "The question was answered meanwhile. This is another one.");
    showMarkdown($("question-text"), asked.text, notes.find(({ id }) => id === asked.id)?.text_html);
    $("question-of").replaceChildren(...originOf(asked));
    if (before?.id !== asked.id)
      $("answer-options").replaceChildren(...asked.options.map((each) => this.#option(each)));
  }

  /** @param {string} text */
  #option(text) {
    const press = button(text, "small");
    press.title = "Puts it into the box; “Answer” sends it";
    press.addEventListener("click", () => {
      this.#answer.value = text;
      this.#answer.focus();
    });
    return press;
  }

  /**
   * What was written into a box that goes is not lost.
   *
   * @param {HTMLTextAreaElement} field
   * @param {string} why
   */
  #keep(field, why) {
    const text = field.value;
    const box = $("note-text", HTMLTextAreaElement);
    if (!text) return;
    field.value = "";
    if (box.value.endsWith(text)) return; // it was sent, or is there already
    box.value = [box.value, text].filter(Boolean).join("\n\n");
    toast(`${why} What you wrote is in the box for a note.`);
  }

  async #send() {
    const asked = this.#asked;
    const task = this.#task;
    if (!asked || !task) return;
    const text = this.#answer.value;
    if (!text.trim()) {
      this.#answer.focus();
      throw new Refused("Write an answer.");
    }
    // In the meantime it may have been answered, and another one asked.
    await call("POST", api("tasks", task.id, "notes"), { kind: "answer", question: asked.id, text });
    this.#answer.value = "";
    toast("Answered.");
    this.#options.onDone();
  }

  /**
   * @param {"back" | "on"} where
   * @param {string} done
   */
  async #move(where, done) {
    const task = this.#task;
    const target = around(task?.status)[where];
    if (!task || !target) return;
    try {
      await putStatus(task, target.value, this.#remark.value.trim());
      this.#remark.value = "";
      toast(`${done} The task is in ${target.label}.`);
      this.#options.onDone();
    } catch (error) {
      if (isConflict(error)) {
        error.message = `${await whoChanged(task.id, task.version, error.details.version)} Look at it, and press again.`;
        this.#options.onDone();
      }
      throw error;
    }
  }
}

/** @param {Note} question @returns {(string | Node)[]} */
function originOf({ author, agent, at, deadline, assumes }) {
  const by = element("strong", agent ? `${author}/${agent}` : author);
  const end = deadline ? [". Without an answer it is “", assumes, "” ", agoElement(deadline)] : [];
  return [by, " asked ", agoElement(at), ...end];
}

/** @param {RenderedTask} task */
const isToReview = ({ waiting_for: needs }) => needs !== "" && needs !== "person" && needs !== "answer";

/** @param {Element | null} focused */
const visible = (focused) => (focused?.checkVisibility() ? focused : null);

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
