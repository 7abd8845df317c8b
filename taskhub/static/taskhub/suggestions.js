// Names for the fields of an assignee: suggested while one writes; a name that no account has is allowed, and said.

import { $ } from "./dom.js";
import { strangerText } from "./people.js";

let shown = "";
/** @type {readonly string[]} */
let known = [];

/**
 * @param {readonly string[]} names - That are suggested.
 * @param {readonly string[]} accounts
 */
export function suggest(names, accounts) {
  known = accounts;
  const now = names.join("\n");
  if (now === shown) return; // an open list is not touched
  shown = now;
  $("people").replaceChildren(...names.map((name) => new Option(name, name)));
}

for (const field of document.querySelectorAll("input[list=people]")) {
  const hint = document.getElementById(field.getAttribute("aria-describedby") ?? "");
  field.addEventListener("input", () => {
    if (hint && field instanceof HTMLInputElement) hint.textContent = strangerText(field.value.trim(), known);
  });
  field.closest("form")?.addEventListener("reset", () => {
    if (hint) hint.textContent = "";
  });
}
