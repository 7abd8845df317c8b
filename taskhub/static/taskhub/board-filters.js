// The form of the board's filters. The view is a part of the address: back and forward work, and a link opens it.

import { countOf, filterQuery, ME, readFilter, UNASSIGNED } from "./board-filter.js";
import { $, closest, element, field, find } from "./dom.js";

/**
 * @import { Filter } from "./board-filter.js"
 */

const BY_NAME = "="; // before a name in the assignee's values: an account may be called like one of the others

const form = $("filters", HTMLFormElement);
const fields = {
  q: field(form, "q", HTMLInputElement),
  assignee: field(form, "assignee", HTMLSelectElement),
  priority: field(form, "priority", HTMLSelectElement),
};
const tagMenu = $("tag-menu", HTMLDetailsElement);
const choices = $("tag-choices");

/** @param {string} selector @returns {HTMLInputElement[]} */
const boxes = (selector) => [...form.querySelectorAll(selector)].filter((box) => box instanceof HTMLInputElement);

/** @param {string | null} assignee */
const valueOf = (assignee) =>
  assignee === null ? "" : assignee === ME || assignee === UNASSIGNED ? assignee : BY_NAME + assignee;

/**
 * @param {(filter: Filter) => void} onChange - After each change, also by the browser's back and forward.
 * @param {{ hasName: boolean }} reader - A reader without an account has no “me”.
 */
export function filterForm(onChange, { hasName }) {
  let filter = readFilter(new URLSearchParams(location.search));
  let isTyping = false; // one entry in the browser's history for a search, not one for each letter
  let names = /** @type {string[]} */ ([]);
  let tags = /** @type {string[]} */ ([]);
  let column = new URLSearchParams(location.search).get("column") ?? "";

  function fill() {
    fields.q.value = filter.q;
    fields.priority.value = filter.priority;
    for (const box of boxes("[name=state]")) box.checked = filter.states.includes(box.value);
    for (const box of boxes("[name=old]")) box.checked = filter.old;
    drawNames();
    drawTags();
    showCount();
  }

  /** @returns {Filter} */
  function read() {
    const { value } = fields.assignee;
    return {
      q: fields.q.value,
      assignee: value ? (value.startsWith(BY_NAME) ? value.slice(BY_NAME.length) : value) : null,
      priority: fields.priority.value,
      tags: boxes("[name=tags]:checked").map((box) => box.value),
      states: boxes("[name=state]:checked").map((box) => box.value),
      old: boxes("[name=old]:checked").length > 0,
    };
  }

  function drawNames() {
    const options = [
      new Option("any", ""),
      ...(hasName ? [new Option("me", ME)] : []),
      new Option("unassigned", UNASSIGNED),
      ...withWanted(names, isName(filter.assignee)).map((name) => new Option(name, BY_NAME + name)),
    ];
    fields.assignee.replaceChildren(...options);
    fields.assignee.value = valueOf(filter.assignee);
  }

  function drawTags() {
    const rows = withWanted(tags, filter.tags).map((tag) => {
      const row = element("label", "", "check");
      const box = element("input");
      box.type = "checkbox";
      box.name = "tags";
      box.value = tag;
      box.checked = filter.tags.includes(tag);
      row.append(box, tag);
      return row;
    });
    const legend = find(choices, "legend");
    choices.replaceChildren(legend, ...(rows.length ? rows : [element("p", "No task has a tag.", "note")]));
  }

  function showCount() {
    const n = countOf(filter);
    find(form, "#filters-more .count").textContent = n ? `(${n})` : "";
    find(tagMenu, ".count").textContent = filter.tags.length ? `(${filter.tags.length})` : "";
  }

  /** @param {boolean} isNew - An entry of its own in the browser's history. */
  function writeAddress(isNew) {
    const query = filterQuery(filter);
    if (column) query.set("column", column);
    const address = query.size ? `?${query.toString()}` : location.pathname;
    if (isNew) history.pushState(null, "", address);
    else history.replaceState(null, "", address);
  }

  form.addEventListener("input", (event) => {
    const isText = event.target === fields.q;
    filter = read();
    writeAddress(!(isText && isTyping));
    isTyping = isText;
    showCount();
    onChange(filter);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => {
    event.preventDefault(); // the fields would get what they had when the page was loaded
    filter = readFilter(new URLSearchParams());
    isTyping = false;
    writeAddress(true);
    fill();
    onChange(filter);
  });
  addEventListener("popstate", () => {
    filter = readFilter(new URLSearchParams(location.search));
    isTyping = false;
    fill();
    onChange(filter);
  });
  $("filters-more").addEventListener("click", () => {
    const isOpen = form.classList.toggle("open");
    $("filters-more").ariaExpanded = String(isOpen);
  });
  tagMenu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !tagMenu.open) return;
    tagMenu.open = false;
    find(tagMenu, "summary").focus();
  });
  document.addEventListener("click", (event) => {
    if (closest(event, "#tag-menu") === null) tagMenu.open = false;
  });
  fill();

  return {
    filter: () => filter,

    /**
     * Offer the assignees and tags of the tasks that are known. Unchanged lists are not touched: they may be open.
     *
     * @param {string[]} newNames
     * @param {string[]} newTags
     */
    offer(newNames, newTags) {
      if (!isSame(names, newNames) && document.activeElement !== fields.assignee) {
        names = newNames;
        drawNames();
      }
      if (!isSame(tags, newTags) && !tagMenu.contains(document.activeElement)) {
        tags = newTags;
        drawTags();
      }
    },

    /** Whether all tasks on the board are wanted. */
    isAny: () => !filter.q.trim() && countOf(filter) === Number(filter.old),

    column: () => column,

    /** @param {string} now - The column that phones show. */
    showColumn(now) {
      column = now;
      writeAddress(false);
    },
  };
}

/** @param {string | null} assignee */
const isName = (assignee) => (assignee && assignee !== ME && assignee !== UNASSIGNED ? [assignee] : []);

/**
 * @param {string[]} known
 * @param {string[]} wanted - By the address; no task may have it.
 */
const withWanted = (known, wanted) => [...new Set([...known, ...wanted])].sort();

/**
 * @param {string[]} one
 * @param {string[]} other
 */
const isSame = (one, other) => JSON.stringify(one) === JSON.stringify(other);
