// Keys: what a key does on this page, and the dialog that lists them. Letters do nothing while one writes.

import { button, element } from "./dom.js";

/**
 * @typedef {object} Key
 * @property {string} key - As `KeyboardEvent.key` has it.
 * @property {string} label - What it does.
 * @property {() => void} [act] - Absent: the key is only listed; others handle it.
 * @property {string} [shown] - How it is listed, where that is not the key itself.
 */

const OFF = "taskhub-keys-off"; // in localStorage: of this browser
const WRITES =
  "input:not([type=checkbox], [type=radio], [type=button], [type=submit]), textarea, select, [contenteditable]";
/** @type {Key[]} */
const known = [];

/** @param {Key[]} keys */
export const addKeys = (...keys) => void known.push(...keys);

const areOff = () => localStorage.getItem(OFF) === "1";

/** Whether a dialog is open: it has the keyboard for itself. */
export const hasDialog = () => document.querySelector("dialog[open]") !== null;

/** @param {EventTarget | null} target */
const isWriting = (target) => target instanceof Element && target.matches(WRITES);

/** @param {KeyboardEvent} event */
const isForOthers = ({ defaultPrevented, isComposing, target }) =>
  defaultPrevented || isComposing || isWriting(target) || hasDialog();

/** @param {KeyboardEvent} event */
const isWithModifier = ({ ctrlKey, altKey, metaKey }) => ctrlKey || altKey || metaKey;

/** @param {KeyboardEvent} event */
function onKey(event) {
  const { key } = event;
  if (isForOthers(event) || isWithModifier(event)) return;
  if (key.length === 1 && key !== "?" && areOff()) return;
  const found = known.find((each) => each.key === key && each.act);
  if (!found) return;
  event.preventDefault();
  found.act?.();
}

/** @type {HTMLDialogElement | undefined} */
let dialog;

export function showKeys() {
  dialog ??= madeDialog();
  const rows = known.flatMap(({ key, label, shown = key }) => {
    const name = element("dt");
    for (const part of shown.split(" ")) name.append(element("kbd", part), " ");
    return [name, element("dd", label)];
  });
  dialog.querySelector("dl")?.replaceChildren(...rows);
  dialog.showModal();
}

function madeDialog() {
  const made = element("dialog", "", "keys");
  made.setAttribute("aria-labelledby", "keys-title");
  const body = element("div", "", "stack");
  const title = element("h2", "Keys");
  title.id = "keys-title";
  const off = element("label", "", "check");
  const box = element("input");
  box.type = "checkbox";
  box.checked = !areOff();
  box.addEventListener("change", () => localStorage.setItem(OFF, box.checked ? "" : "1"));
  off.append(box, "Single letters are keys in this browser");
  const close = button("Close", "close");
  close.autofocus = true; // not the box, which a press of the space bar would change
  close.addEventListener("click", () => made.close());
  body.append(title, element("dl"), off, close);
  made.append(body);
  document.body.append(made);
  return made;
}

/** Listen, with `?` for the list. */
export function startKeys() {
  addKeys({ key: "?", label: "This list", act: showKeys });
  document.addEventListener("keydown", onKey);
}
