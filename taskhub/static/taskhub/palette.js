// Command palette (Ctrl+K): tasks, pages and actions by a few letters.

import { api, call, Refused } from "./api.js";
import { $, element } from "./dom.js";
import { hasDialog } from "./keys.js";

/**
 * @import { Task } from "schemas"
 * @import { Page } from "./api.js"
 *
 * @typedef {{ label: string, hint: string, act: () => void }} Offer
 */

const TASKS = "8";
const WAIT_MS = 150;
/** @type {(() => Offer[])[]} */
const sources = [];

/**
 * Let the palette offer what this answers whenever it is opened.
 *
 * @param {() => Offer[]} source
 */
export const addOffers = (source) => void sources.push(source);

/** @type {Offer[]} */
let offers = [];
let at = 0;
let turn = 0;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
/** @type {HTMLDialogElement | undefined} */
let dialog;

export function openPalette() {
  if (hasDialog()) return;
  dialog ??= madeDialog();
  field().value = "";
  dialog.showModal();
  look();
}

const field = () => $("palette-field", HTMLInputElement);

function madeDialog() {
  const made = element("dialog", "", "palette");
  made.ariaLabel = "Go to, or do";
  const input = element("input");
  const list = element("ul");
  const none = element("p", "", "note");
  input.id = "palette-field";
  input.type = "text";
  input.autocomplete = "off";
  input.maxLength = 200;
  input.placeholder = "Search tasks, pages and actions";
  list.id = "palette-list";
  none.id = "palette-none";
  for (const [name, value] of [
    ["role", "combobox"],
    ["aria-expanded", "true"],
    ["aria-controls", "palette-list"],
    ["aria-autocomplete", "list"],
    ["aria-label", "Search tasks, pages and actions"],
  ])
    input.setAttribute(name ?? "", value ?? "");
  list.role = "listbox";
  list.ariaLabel = "Found";
  none.role = "status";
  input.addEventListener("input", look);
  made.addEventListener("keydown", onKey);
  list.addEventListener("click", ({ target }) => {
    const item = target instanceof Element ? target.closest("li") : null;
    if (item) take([...list.children].indexOf(item));
  });
  made.append(input, list, none);
  document.body.append(made);
  return made;
}

/** @param {KeyboardEvent} event */
function onKey(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && offers.length) show((at + step + offers.length) % offers.length);
  else if (event.key === "Enter" && !event.isComposing) take(at);
  else return;
  event.preventDefault();
}

/** Offer what matches now, and the tasks when the service has answered. */
function look() {
  const text = field().value.trim();
  const mine = ++turn;
  at = 0;
  clearTimeout(timer);
  const words = text.toLowerCase().split(/\s+/);
  const near = [...sources.flatMap((source) => source()), ...pages()].filter(({ label }) =>
    words.every((word) => label.toLowerCase().includes(word)),
  );
  offer(near, Boolean(text));
  if (!text) return;
  timer = setTimeout(async () => {
    const tasks = await tasksWith(text);
    if (mine === turn) offer([...near, ...tasks], false);
  }, WAIT_MS);
}

/**
 * @param {Offer[]} now
 * @param {boolean} isLooking
 */
function offer(now, isLooking) {
  offers = now;
  const list = $("palette-list");
  list.replaceChildren(
    ...now.map(({ label, hint }, n) => {
      const item = element("li", label);
      item.id = `palette-${n}`;
      item.role = "option";
      item.append(" ", element("span", hint, "note"));
      return item;
    }),
  );
  list.hidden = !now.length;
  field().ariaExpanded = String(now.length > 0);
  $("palette-none").textContent = now.length ? "" : isLooking ? "Searching …" : "Nothing has these words.";
  show(Math.min(at, Math.max(0, now.length - 1)));
}

/** @param {number} now */
function show(now) {
  at = now;
  const list = $("palette-list");
  for (const [n, item] of [...list.children].entries()) item.ariaSelected = String(n === now);
  const item = list.children[now];
  if (item) {
    field().setAttribute("aria-activedescendant", item.id);
    item.scrollIntoView({ block: "nearest" });
  } else field().removeAttribute("aria-activedescendant");
}

/** @param {number} n */
function take(n) {
  const chosen = offers[n];
  if (!chosen) return;
  dialog?.close(); // which gives the focus back; what is done may move it on
  at = 0;
  chosen.act();
}

/** @returns {Offer[]} */
function pages() {
  /** @type {NodeListOf<HTMLAnchorElement>} */
  const links = document.querySelectorAll(".site nav a, .who a");
  return [...links]
    .filter((link) => link.checkVisibility())
    .map((link) => ({ label: link.textContent.trim(), hint: "page", act: () => location.assign(link.href) }));
}

/**
 * @param {string} text
 * @returns {Promise<Offer[]>}
 */
async function tasksWith(text) {
  const query = new URLSearchParams({ q: text, page_size: TASKS });
  try {
    /** @type {Page<Task>} */
    const { results } = await call("GET", `${api("tasks")}?${query.toString()}`);
    return results.map(({ id, title }) => ({
      label: title,
      hint: "task",
      act: () => location.assign(`/tasks/${id}/`),
    }));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return [{ label: error.message, hint: "the tasks could not be read", act: () => {} }];
  }
}

/** Ctrl+K, and ⌘K. */
export function startPalette() {
  document.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return;
    event.preventDefault();
    if (dialog?.open) dialog.close();
    else openPalette();
  });
}

/** Focus the search of this page; where it has none, the palette. */
export function search() {
  /** @type {NodeListOf<HTMLInputElement>} */
  const fields = document.querySelectorAll("main input[type=search]");
  const shown = [...fields].find((each) => each.checkVisibility());
  if (!shown) openPalette();
  shown?.focus();
  shown?.select();
}
