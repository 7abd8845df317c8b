// The menu of a card, and its keys: M opens it, Shift and an arrow move the card, X selects it.

import { $, button } from "./dom.js";
import { closable } from "./forms.js";

/**
 * @typedef {{ label: string, act: () => void, className?: string }} Choice
 */

const dialog = closable($("card-dialog", HTMLDialogElement));

/**
 * Show what can be done to a task. A choice closes the menu, which returns the focus to where it was.
 *
 * @param {string} title
 * @param {Choice[]} moves
 * @param {Choice[]} acts
 */
export function showMenu(title, moves, acts) {
  $("card-title").textContent = title;
  $("moves").replaceChildren(...moves.map(pressOf));
  $("acts").replaceChildren(...acts.map(pressOf));
  dialog.showModal();
}

/** @param {Choice} choice */
function pressOf({ label, act, className = "" }) {
  const press = button(label, className);
  press.addEventListener("click", () => {
    dialog.close();
    act();
  });
  return press;
}

/**
 * What a key does to the card that has the focus; empty: nothing.
 *
 * @param {KeyboardEvent} event
 * @returns {"" | "menu" | "pick" | "next" | "before"}
 */
export function keyOf({ key, shiftKey, ctrlKey, altKey, metaKey }) {
  if (ctrlKey || altKey || metaKey) return "";
  if (shiftKey) return key === "ArrowRight" ? "next" : key === "ArrowLeft" ? "before" : "";
  return key === "m" ? "menu" : key === "x" ? "pick" : "";
}
