// DOM helpers: find elements with their type checked, make elements, and reconcile the children of a list.

import { ago, dateTime } from "./format.js";

/**
 * @template {Element} E
 * @typedef {abstract new (...args: never[]) => E} ElementClass
 */

/**
 * The element with this id.
 *
 * @template {HTMLElement} [E=HTMLElement]
 * @param {string} id
 * @param {ElementClass<E>} [kind] - Its class; any HTML element unless given.
 * @returns {E}
 * @throws {TypeError} where the page has no such element.
 */
export function $(id, kind) {
  return checked(document.getElementById(id), `#${id}`, kind);
}

/**
 * The first element below `parent` that the selector matches.
 *
 * @template {HTMLElement} [E=HTMLElement]
 * @param {ParentNode} parent
 * @param {string} selector
 * @param {ElementClass<E>} [kind]
 * @returns {E}
 * @throws {TypeError} where there is none.
 */
export function find(parent, selector, kind) {
  return checked(parent.querySelector(selector), selector, kind);
}

/**
 * A field of a form, by its name.
 *
 * @template {HTMLElement} E
 * @param {HTMLFormElement} form
 * @param {string} name
 * @param {ElementClass<E>} kind
 * @returns {E}
 * @throws {TypeError} where the form has no such field.
 */
export function field(form, name, kind) {
  return checked(form.elements.namedItem(name), `[name=${name}]`, kind);
}

/**
 * @template {HTMLElement} E
 * @param {unknown} found
 * @param {string} what
 * @param {ElementClass<E>} [kind]
 * @returns {E}
 */
function checked(found, what, kind) {
  if (!(found instanceof (kind ?? HTMLElement))) throw new TypeError(`This page has no ${what}.`);
  return /** @type {E} */ (found);
}

/**
 * The element that an event happened to or in, as far up as the selector matches.
 *
 * @param {Event} event
 * @param {string} selector
 * @returns {HTMLElement | null}
 */
export function closest(event, selector) {
  const found = event.target instanceof Element ? event.target.closest(selector) : null;
  return found instanceof HTMLElement ? found : null;
}

/**
 * A new element with text.
 *
 * @template {keyof HTMLElementTagNameMap} N
 * @param {N} name
 * @param {string} [text]
 * @param {string} [className]
 * @returns {HTMLElementTagNameMap[N]}
 */
export function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

/**
 * A new button.
 *
 * @param {string} text
 * @param {string} [className]
 */
export function button(text, className = "") {
  const made = element("button", text, className);
  made.type = "button";
  return made;
}

/**
 * A `<time>` in the reader's own time zone.
 *
 * @param {string} iso
 */
export function timeElement(iso) {
  const made = element("time", dateTime(iso));
  made.dateTime = iso;
  return made;
}

/**
 * A `<time>` that says how long ago it was, or how long it is until then, and the exact time on hover.
 *
 * @param {string} iso
 */
export function agoElement(iso) {
  const made = timeElement(iso);
  made.title = made.textContent;
  made.dataset["ago"] = "";
  made.textContent = ago(iso);
  return made;
}

/** Let all of them say it anew. */
export function tickTimes() {
  for (const each of document.querySelectorAll("time[data-ago]")) {
    const text = ago(/** @type {HTMLTimeElement} */ (each).dateTime);
    if (each.textContent !== text) each.textContent = text;
  }
}

/**
 * Let the browser save a file.
 *
 * @param {Blob} content
 * @param {string} name
 */
export function saveFile(content, name) {
  const link = element("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

/**
 * Make `children` the children of `list`, in this order. Those that are in place already are not touched; one that is
 * moved loses the focus, and the caller gives it back.
 *
 * @param {Element} list
 * @param {Element[]} children
 */
export function reconcileChildren(list, children) {
  let next = list.firstElementChild;
  for (const each of children) {
    if (each === next) next = next.nextElementSibling;
    else list.insertBefore(each, next);
  }
  while (next) {
    const gone = next;
    next = next.nextElementSibling;
    gone.remove();
  }
}
