// What pages do with buttons, dialogs and words about them.

import { Refused } from "./api.js";

export const $ = (id) => document.getElementById(id);

/** An element with text, and with properties. */
export function element(name, text = "", properties = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  return Object.assign(made, properties);
}

/** Say what went wrong, in its place; nothing takes it away. */
export function complain(place, words) {
  place.textContent = words;
  place.hidden = !words;
}

const itsMessage = (error) => error.message;

/** Why a token that was given is not taken. */
export const ofToken = (error) => (error.status === 401 ? "The token is wrong or has expired." : error.message);

/** Do it, and say in `place` what went wrong, in `explain`'s words. Answers whether it went well. */
export async function attempt(place, action, explain = itsMessage) {
  complain(place, "");
  try {
    await action();
    return true;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    complain(place, explain(error));
    return false;
  }
}

/**
 * Once at a time: a button that is pressed twice does it once. It stays focusable, for who uses the keyboard.
 *
 * `target` is a button, or a form whose first submit button it is.
 */
export function onPress(target, place, action, explain = itsMessage) {
  const button = target.querySelector("button:not([type])") ?? target;
  target.addEventListener(target === button ? "click" : "submit", async (event) => {
    event.preventDefault();
    if (button.ariaBusy === "true") return;
    button.ariaBusy = "true";
    try {
      await attempt(place, action, explain);
    } finally {
      button.ariaBusy = null;
    }
  });
}

/** Its buttons of the class `close` close a dialog. */
export function closable(dialog) {
  for (const button of dialog.querySelectorAll(".close")) button.addEventListener("click", () => dialog.close());
  return dialog;
}
