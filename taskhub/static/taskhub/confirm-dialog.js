// Confirmation dialog: a question of the page's own before something is ended or deleted.

import { button, element } from "./dom.js";

/**
 * @typedef {object} Question
 * @property {string} title - The question.
 * @property {string[]} text - What follows from it, a paragraph each.
 * @property {string} action - The label of the button that does it.
 */

let asked = 0;

/**
 * Ask, and answer whether to go on. Escape and Cancel do not; the focus returns to where it was.
 *
 * @param {Question} question
 * @returns {Promise<boolean>}
 */
export function confirmed({ title, text, action }) {
  const dialog = element("dialog");
  const heading = element("h2", title);
  heading.id = `asked-${(asked += 1)}`;
  dialog.setAttribute("aria-labelledby", heading.id);
  const body = element("div", "", "stack");
  const presses = element("div", "", "fields");
  const yes = button(action, "danger");
  const no = button("Cancel");
  no.autofocus = true; // what is pressed by mistake does nothing
  presses.append(yes, no);
  body.append(heading, ...text.map((each) => element("p", each)), presses);
  dialog.append(body);
  document.body.append(dialog);
  return new Promise((resolve) => {
    yes.addEventListener("click", () => dialog.close("yes"));
    no.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    dialog.showModal();
  });
}
