// Timeline of a task: changes, runs and notes in one list, the newest first, and the box to write a note or to ask.

import { api, call, Refused } from "./api.js";
import { $, agoElement, button, element, find, reconcileChildren } from "./dom.js";
import { headOf } from "./execution-head.js";
import { onPress } from "./forms.js";
import { split } from "./format.js";
import { showMarkdown } from "./markdown.js";
import { PagedRows } from "./paged-rows.js";
import { hue, initials } from "./people.js";
import { actionOf, agentOf, HIDDEN } from "./task-changes.js";
import { knownSince, merged } from "./timeline.js";
import { guardUnsaved } from "./unsaved.js";
import { whoElements } from "./who.js";

/**
 * @import { AuditEntry, Execution, NoteCreateRequest, RenderedNote } from "schemas"
 *
 * @typedef {{ key: string, at: string, look: string, draw: () => HTMLElement }} Item - `look`: what its row depends on.
 * @typedef {{ onAdded: () => void, onRun: (id: string) => void }} TimelineOptions - `onRun`: show this run and its log.
 */

const PAGE = "30";
/** Steps of an execution, which its own row tells. */
const OF_RUNS = new Set(["execution:queue", "execution:start", "execution:finish"]);
const KINDS = {
  note: "wrote",
  result: "wrote down the result",
  review: "remarked",
  question: "asked",
  answer: "answered",
};

export class Timeline {
  #taskId;
  #options;
  /** @type {PagedRows<AuditEntry>} */
  #changes;
  /** @type {PagedRows<RenderedNote>} */
  #notes;
  /** @type {Execution[]} */
  #runs = [];
  /** By the item's key. @type {Map<string, { look: string, row: HTMLElement }>} */
  #rows = new Map();

  /**
   * @param {string} taskId
   * @param {TimelineOptions} options
   */
  constructor(taskId, options) {
    this.#taskId = taskId;
    this.#options = options;
    this.#changes = new PagedRows(`${api("tasks", taskId, "history")}?page_size=${PAGE}`);
    this.#notes = new PagedRows(`${api("tasks", taskId, "notes")}?html=true&page_size=${PAGE}`);
    onPress($("more-timeline"), $("problem"), () => this.#more());
    this.#listen();
  }

  /** As far as they are read, the newest first. */
  get notes() {
    return this.#notes.items;
  }

  /**
   * Read what is new.
   *
   * @throws {Refused}
   */
  async refresh() {
    await Promise.all([this.#changes.refresh(), this.#notes.refresh()]);
    this.draw();
  }

  /** @param {Execution[]} runs - All of them. */
  showRuns(runs) {
    this.#runs = runs;
    this.draw();
  }

  async #more() {
    const oldest = $("timeline").lastElementChild;
    await Promise.all([this.#changes.more(), this.#notes.more()]);
    this.draw();
    // Where the button has gone, its place is where the new rows begin.
    if ($("more-timeline").hidden) {
      const next = oldest?.nextElementSibling;
      if (next instanceof HTMLElement) {
        next.tabIndex = -1;
        next.focus({ preventScroll: true });
      }
    }
  }

  draw() {
    const [changes, notes] = [this.#changes, this.#notes];
    const known = new Set(this.#runs.map(({ execution_id: id }) => id));
    const told = changes.items.filter(
      ({ action, execution_id: id }) => action !== "note:add" && !(OF_RUNS.has(action) && id && known.has(id)),
    );
    const since = knownSince([changes, notes].map(({ items, hasMore }) => ({ items, hasMore })));
    const items = merged(
      [told.map(changeItem), this.#runs.map((run) => this.#runItem(run)), notes.items.map(noteItem)],
      since,
    );
    const rows = items.map((item) => this.#row(item));
    reconcileChildren($("timeline"), rows);
    $("more-timeline").hidden = !(changes.hasMore || notes.hasMore);
  }

  /** @param {Item} item */
  #row({ key, look, draw }) {
    const before = this.#rows.get(key);
    if (before?.look === look) return before.row;
    const row = draw();
    const focused = before?.row.contains(document.activeElement);
    before?.row.replaceWith(row); // the others stay where they are
    this.#rows.set(key, { look, row });
    if (focused) row.querySelector("button")?.focus();
    return row;
  }

  /**
   * @param {Execution} run
   * @returns {Item}
   */
  #runItem(run) {
    const { execution_id: id, queued_at: at } = run;
    const asked = this.#changes.items.find(
      ({ action, execution_id: of }) => of === id && (action === "execution:queue" || action === HIDDEN),
    );
    const by = { author: asked?.actor ?? "", agent: asked ? agentOf(asked) : "" };
    return {
      key: `run ${id}`,
      at,
      look: JSON.stringify([by, run.status, run.ending, run.waiting, run.exit_code, run.verdict, run.leftover]),
      draw: () => {
        const { row, head } = rowOf("run", by, [run.kind === "verify" ? " verified it " : " ran a script "], at);
        const text = element("p", "", "outcome");
        text.append(...headOf(run, { hasClock: false }));
        if (run.error?.["message"]) text.append(`. ${run.error["message"]}`);
        const show = button("Log", "small");
        show.append(element("span", ` of what ran at ${at}`, "unseen"));
        show.addEventListener("click", () => this.#options.onRun(id));
        head.after(text);
        text.append(" ", show);
        return row;
      },
    };
  }

  // --- The box ---------------------------------------------------------------------------------------------

  #listen() {
    const text = $("note-text", HTMLTextAreaElement);
    const asks = $("note-asks", HTMLInputElement);
    const options = $("note-options", HTMLInputElement);
    guardUnsaved(() => text.value !== "");
    asks.addEventListener("change", () => {
      $("note-options-part").hidden = !asks.checked;
      $("note-send").textContent = asks.checked ? "Ask" : "Add note";
    });
    text.addEventListener("keydown", ({ key, ctrlKey, metaKey, isComposing }) => {
      if (key === "Enter" && (ctrlKey || metaKey) && !isComposing) $("note-form", HTMLFormElement).requestSubmit();
    });
    onPress($("note-form"), $("note-problem"), async () => {
      if (!text.value.trim()) {
        text.focus();
        throw new Refused(asks.checked ? "Write a question." : "Write a note.");
      }
      /** @type {NoteCreateRequest} */
      const body = { text: text.value };
      if (asks.checked) body.kind = "question";
      const choices = split(options.value, ",");
      if (asks.checked && choices.length) body.options = choices;
      await call("POST", api("tasks", this.#taskId, "notes"), body);
      text.value = options.value = "";
      asks.checked = false;
      asks.dispatchEvent(new Event("change"));
      this.#options.onAdded();
    });
  }
}

// --- Rows ----------------------------------------------------------------------------------------------------

/**
 * @param {string} kind
 * @param {{ author: string, agent: string }} by - Without an author: the service.
 * @param {(string | Node)[]} words
 * @param {string} at
 */
function rowOf(kind, by, words, at) {
  const actor = by.agent || by.author;
  const row = element("li");
  row.dataset["kind"] = kind;
  const mark = element("span", actor ? initials(actor) : "·", "initials");
  mark.ariaHidden = "true";
  if (actor) mark.dataset["hue"] = String(hue(actor));
  const head = element("p", "", "entry-head");
  head.append(...whoElements(by), ...words, agoElement(at));
  row.append(mark, head);
  return { row, head };
}

/** @param {RenderedNote} note @returns {Item} */
function noteItem(note) {
  const { id, kind, text, text_html: html, author, agent, at, assumed, options } = note;
  return {
    key: `note ${id}`,
    at,
    look: "",
    draw: () => {
      const by = assumed ? { author: "The deadline", agent: "" } : { author, agent };
      const { row } = rowOf(kind, by, [` ${KINDS[kind]} `], at);
      if (kind !== "note") row.classList.add(kind === "question" ? "asks" : "answers");
      const body = element("div", "", "markdown");
      showMarkdown(body, text, html);
      row.append(body);
      if (options.length) row.append(element("p", `Choices: ${options.join(", ")}`, "note"));
      return row;
    },
  };
}

/** @param {AuditEntry} entry @returns {Item} */
function changeItem(entry) {
  const { id, at, actor, door, token_name: token, action, private: isPrivate } = entry;
  return {
    key: `change ${id}`,
    at,
    look: "",
    draw: () => {
      const { words, fields } = actionOf(entry);
      const { row, head } = rowOf("change", { author: actor, agent: agentOf(entry) }, [` ${words} `], at);
      if (action === HIDDEN) {
        find(head, "strong").remove();
        return row;
      }
      const how = [door === "job" ? "" : door, token && `token ${token}`].filter(Boolean).join(", ");
      if (how) find(head, "time").title += `, ${how}`;
      if (isPrivate) head.append(" · private");
      if (fields.length) row.append(fieldsElement(fields));
      return row;
    },
  };
}

/** @param {import("./task-changes.js").Field[]} fields */
function fieldsElement(fields) {
  const place = element("details");
  const list = element("ul");
  place.append(element("summary", fields.map(({ name }) => name).join(", ")), list);
  for (const { name, before, after } of fields) {
    const row = element("li", `${name}: `);
    if (before !== null) row.append(element("del", before));
    if (before !== null && after !== null) row.append(" → ");
    if (after !== null) row.append(element("ins", after));
    list.append(row);
  }
  return place;
}
