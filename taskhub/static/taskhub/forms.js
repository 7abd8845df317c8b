// Buttons, forms and dialogs: run an action once at a time, and show its error in its place.

import { Refused } from "./api.js";

/** @typedef {(error: Refused) => string} Explain - The text that is shown for an error. */

/**
 * Show an error in its place, or hide the place where the text is empty.
 *
 * @param {HTMLElement} place
 * @param {string} text
 */
export function showError(place, text) {
  place.textContent = text;
  place.hidden = !text;
}

/** @type {Explain} */
const itsMessage = (error) => error.message;

/**
 * Why a token that was entered is not accepted.
 *
 * @type {Explain}
 */
export const tokenError = (error) => (error.status === 401 ? "The token is wrong or has expired." : error.message);

/**
 * Run an action and show what went wrong in `place`. Answers whether it succeeded.
 *
 * @param {HTMLElement} place
 * @param {() => unknown} action
 * @param {Explain} [explain]
 */
export async function tryAction(place, action, explain = itsMessage) {
  showError(place, "");
  try {
    await action();
    return true;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    showError(place, explain(error));
    return false;
  }
}

/**
 * Run an action when a button is pressed or a form is submitted; a second press while it runs does nothing. The button
 * stays focusable meanwhile, for keyboard users.
 *
 * @param {HTMLElement} target - A button, or a form whose submit button is its first one without a type.
 * @param {HTMLElement} place - Where errors are shown.
 * @param {() => unknown} action
 * @param {Explain} [explain]
 */
export function onPress(target, place, action, explain = itsMessage) {
  const button = target.querySelector("button:not([type])") ?? target;
  const press = async () => {
    if (button.ariaBusy === "true") return;
    button.ariaBusy = "true";
    try {
      await tryAction(place, action, explain);
    } finally {
      button.ariaBusy = null;
    }
  };
  target.addEventListener(target === button ? "click" : "submit", (event) => {
    event.preventDefault();
    void press();
  });
}

/**
 * Let the buttons of the class `close` close their dialog.
 *
 * @param {HTMLDialogElement} dialog
 */
export function closable(dialog) {
  for (const button of dialog.querySelectorAll(".close")) button.addEventListener("click", () => dialog.close());
  return dialog;
}
