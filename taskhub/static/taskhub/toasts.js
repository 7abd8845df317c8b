// Toasts: what was done, in a corner of the page, with “Undo” where it can be undone.

import { Refused } from "./api.js";
import { $, button, element } from "./dom.js";

/**
 * @typedef {() => Promise<unknown>} Undo
 * @typedef {{ item: HTMLElement, undo: Undo | null }} Toast
 */

const SHOWN_MS = 10_000;
const MOST = 3;
/** Those that are shown, the newest last. @type {Toast[]} */
const shown = [];

/**
 * Say what was done. It goes by itself, but not while the pointer or the focus is on it.
 *
 * @param {string} text
 * @param {{ undo?: Undo | null, href?: string, isBad?: boolean }} [options] - `href`: of a page that “Open” leads to.
 */
export function toast(text, { undo = null, href = "", isBad = false } = {}) {
  const item = element("div", "", isBad ? "toast bad" : "toast");
  item.append(element("p", text));
  /** @type {Toast} */
  const entry = { item, undo };
  if (undo) item.append(pressOf("Undo", () => void take(entry)));
  if (href) item.append(linkTo(href));
  const dismiss = pressOf("×", () => drop(entry));
  dismiss.ariaLabel = "Dismiss";
  item.append(dismiss);
  keepWhileUsed(entry);
  $("toasts").append(item);
  shown.push(entry);
  while (shown.length > MOST && shown[0]) drop(shown[0]);
}

/** Undo what was said last, if that can be undone. */
export function undoLast() {
  const entry = shown.findLast(({ undo }) => undo !== null);
  if (entry) void take(entry);
}

/**
 * @param {string} label
 * @param {() => void} act
 */
function pressOf(label, act) {
  const press = button(label, "small");
  press.addEventListener("click", act);
  return press;
}

/** @param {string} href */
function linkTo(href) {
  const link = element("a", "Open", "button small");
  link.href = href;
  return link;
}

/** @param {Toast} entry */
function keepWhileUsed(entry) {
  const { item } = entry;
  let timer = setTimeout(end, SHOWN_MS);
  function end() {
    if (item.matches(":hover, :focus-within")) timer = setTimeout(end, SHOWN_MS);
    else drop(entry);
  }
  item.addEventListener("focusin", ({ relatedTarget }) => {
    if (relatedTarget instanceof HTMLElement && !$("toasts").contains(relatedTarget)) before = relatedTarget;
  });
  item.addEventListener("pointerleave", () => {
    clearTimeout(timer);
    timer = setTimeout(end, SHOWN_MS);
  });
}

/** What had the focus before a toast did. @type {HTMLElement | null} */
let before = null;

/** @param {Toast} entry */
function drop(entry) {
  const at = shown.indexOf(entry);
  if (at < 0) return;
  shown.splice(at, 1);
  const hadFocus = entry.item.contains(document.activeElement);
  entry.item.remove();
  if (hadFocus) (before?.isConnected && before.checkVisibility() ? before : $("main")).focus();
}

/** @param {Toast} entry */
async function take(entry) {
  const { undo } = entry;
  entry.undo = null; // a second press does nothing
  drop(entry);
  try {
    await undo?.();
    toast("Undone.");
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    toast(`Not undone: ${error.message}`, { isBad: true });
  }
}
