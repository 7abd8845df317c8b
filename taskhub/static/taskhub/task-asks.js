// What a task needs of people, above its description: the open question with a box to answer, a review, a release.

import { api, call, Refused } from "./api.js";
import { $, agoElement, button } from "./dom.js";
import { afterReview, entryOf, enums } from "./enums.js";
import { onPress, showError } from "./forms.js";
import { lastOf, showHandedIn } from "./handed-in.js";
import { showMarkdown } from "./markdown.js";
import { answerOf, NO_REMARK } from "./review.js";
import { isConflict, putStatus, whoChanged } from "./task-form.js";
import { toast } from "./toasts.js";
import { guardUnsaved } from "./unsaved.js";
import { whoElements } from "./who.js";

/**
 * @import { Note, RenderedNote, RenderedTask } from "schemas"
 * @import { Work } from "./handed-in.js"
 *
 * @typedef {{ onDone: () => void, mayWork: boolean, name: string }} AsksOptions - `name`: the reader's account.
 */

export class Asks {
  #options;
  #answer = $("answer-text", HTMLTextAreaElement);
  #remark = $("remark-text", HTMLTextAreaElement);
  /** The open question. @type {Note | null} */
  #asked = null;
  /** @type {RenderedTask | null} */
  #task = null;
  /** The reader answers a question of their own. */
  #answersOwn = false;
  /** What is shown of the work to review, as text. */
  #work = "";

  /** @param {AsksOptions} options */
  constructor(options) {
    this.#options = options;
    guardUnsaved(() => this.#answer.value !== "" || this.#remark.value !== "");
    onPress($("answer-form"), $("answer-problem"), () => this.#send());
    $("answer-mine").addEventListener("click", () => {
      this.#answersOwn = true;
      $("answer-mine").hidden = true;
      $("answer-form").hidden = false;
      this.#answer.focus();
    });
    onPress($("accept"), $("review-problem"), () => this.#move("on", "Accepted."));
    onPress($("send-back"), $("review-problem"), () => this.#move("back", "Sent back."));
    $("review-form").addEventListener("submit", (event) => event.preventDefault());
  }

  /**
   * @param {RenderedTask} task
   * @param {readonly RenderedNote[]} notes - With their texts as HTML, as far as they are read.
   * @param {string} run - Id of the newest run that has ended; empty: none.
   */
  show(task, notes, run) {
    const needs = task.waiting_for;
    const asked = openQuestion(task) ?? null;
    this.#task = task;
    const hadFocus = $("asks").contains(document.activeElement);
    $("asks").hidden = !needs;
    if (needs) $("asks-title").textContent = this.#titleOf(needs, asked);
    $("held-back").hidden = needs !== "person";
    this.#showQuestion(asked, notes);
    const isToReview = needs !== "" && needs !== "person" && needs !== "answer";
    this.#showReview(isToReview);
    this.#showWork(isToReview ? { id: task.id, artifacts: task.artifacts, notes, run } : null);
    if (hadFocus && !$("asks").contains(visible(document.activeElement))) $("title").focus();
  }

  /**
   * @param {Exclude<RenderedTask["waiting_for"], "">} needs
   * @param {Note | null} asked
   */
  #titleOf(needs, asked) {
    const isQuestion = asked !== null && needs !== "person";
    const own = isQuestion && this.#isOwn(asked) ? "own" : "answer";
    return entryOf(enums().asks, isQuestion ? own : needs).label;
  }

  /**
   * What is to be reviewed stands above the remark; unchanged, it is not touched.
   *
   * @param {Work | null} work
   */
  #showWork(work) {
    const place = $("handed-in");
    place.hidden = !work;
    const last = work ? lastOf(work.notes) : undefined;
    const now = work ? JSON.stringify([last?.id, work.artifacts, work.run]) : "";
    if (now === this.#work) return;
    const keeps = !last && !this.#work; // as the server has drawn it
    this.#work = now;
    if (work) void showHandedIn(place, work, $("review-problem"), { keeps });
  }

  /** Where it is the reader's own question, behind a button. @param {Note | null} asked */
  #showAnswerForm(asked) {
    const mayAnswer = asked !== null && this.#options.mayWork;
    const waits = asked !== null && this.#isOwn(asked) && !this.#answersOwn;
    $("answer-form").hidden = !mayAnswer || waits;
    $("answer-mine").hidden = !mayAnswer || !waits;
  }

  /**
   * Whether the reader has asked it. An agent of the account is another one.
   *
   * @param {Note} asked
   */
  #isOwn = ({ author, agent }) => author !== "" && author === this.#options.name && !agent;

  /** @param {boolean} isToReview */
  #showReview(isToReview) {
    $("review-form").hidden = !isToReview || !this.#options.mayWork;
    if (!isToReview) this.#keep(this.#remark, "It is no longer to be reviewed.");
  }

  /**
   * @param {Note | null} asked
   * @param {readonly RenderedNote[]} notes
   */
  #showQuestion(asked, notes) {
    const before = this.#asked;
    this.#asked = asked;
    $("question").hidden = !asked;
    const isNew = before?.id !== asked?.id;
    if (isNew) this.#answersOwn = false;
    this.#showAnswerForm(asked);
    if (!asked) {
      this.#keep(this.#answer, "The question was answered meanwhile.");
      return;
    }
    if (before && isNew && this.#answer.value)
      showError($("answer-problem"), "The question was answered meanwhile. This is another one.");
    this.#drawQuestion(asked, htmlOf(asked, notes), isNew && before !== null);
    $("question-of").replaceChildren(...originOf(asked));
    if (isNew) $("answer-options").replaceChildren(...asked.options.map((each) => this.#option(each)));
  }

  /**
   * One that is older than the notes that were read stays as the server has drawn it.
   *
   * @param {Note} asked
   * @param {string | null | undefined} html - Undefined: not read.
   * @param {boolean} isAnother - Than the one that is shown.
   */
  #drawQuestion(asked, html, isAnother) {
    if (html !== undefined || isAnother) showMarkdown($("question-text"), asked.text, html);
  }

  /**
   * A press answers at once, with what is written in the box.
   *
   * @param {string} text
   */
  #option(text) {
    const press = button(text, "small");
    press.title = `Answer “${text}”`;
    onPress(press, $("answer-problem"), () => this.#send(text));
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

  /** @param {string} [option] - The one that was pressed. */
  async #send(option = "") {
    const asked = this.#asked;
    const task = this.#task;
    if (!asked || !task) return;
    const text = answerOf(option, this.#answer.value);
    if (!text) {
      this.#answer.focus();
      throw new Refused("Write an answer.");
    }
    // In the meantime it may have been answered, and another one asked.
    await call("POST", api("tasks", task.id, "notes"), { kind: "answer", question: asked.id, text });
    this.#answer.value = "";
    toast(`Answered${option && `: ${option}`}.`);
    this.#options.onDone();
  }

  /**
   * @param {"back" | "on"} where
   * @param {string} done
   */
  async #move(where, done) {
    const task = this.#task;
    const target = afterReview(task?.status)[where];
    if (!task || !target) return;
    const remark = this.#remark.value.trim();
    if (where === "back" && !remark) {
      this.#remark.focus();
      throw new Refused(NO_REMARK);
    }
    try {
      await putStatus(task, target.value, remark);
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

/**
 * @param {Note} asked
 * @param {readonly RenderedNote[]} notes
 */
const htmlOf = (asked, notes) => notes.find(({ id }) => id === asked.id)?.text_html;

/** @param {Note} question @returns {(string | Node)[]} */
function originOf({ author, agent, at, deadline, assumes }) {
  const end = deadline ? [". Without an answer it is “", assumes, "” ", agoElement(deadline)] : [];
  return [...whoElements({ author, agent }), " asked ", agoElement(at), ...end];
}

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
