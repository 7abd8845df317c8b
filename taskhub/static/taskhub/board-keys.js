// Keys of the board: from card to card, to a new task, out of a search or a selection.

import { find } from "./dom.js";
import { addKeys } from "./keys.js";

/**
 * @param {object} options
 * @param {HTMLElement} options.board
 * @param {boolean} options.mayWork
 * @param {() => void} options.onClear - Escape: end the selection.
 */
export function boardKeys({ board, mayWork, onClear }) {
  const columns = () =>
    [...board.querySelectorAll("section > ul")]
      .map((list) => [...list.children])
      .filter((items) => items[0]?.checkVisibility());

  /**
   * @param {number} down
   * @param {number} right
   */
  function go(down, right) {
    const all = columns();
    const item = document.activeElement?.closest("li.card");
    const column = all.findIndex((items) => items.some((each) => each === item));
    const items = all[clamp(column + right, all.length)];
    if (!items) return;
    const at = column < 0 ? 0 : clamp((all[column] ?? []).findIndex((each) => each === item) + down, items.length);
    const next = items[Math.min(at, items.length - 1)];
    if (next) find(next, "h3 a").focus();
  }

  addKeys(
    { key: "j", label: "Next card", act: () => go(1, 0) },
    { key: "k", label: "Previous card", act: () => go(-1, 0) },
    { key: "h", label: "Column before", act: () => go(0, -1) },
    { key: "l", label: "Next column", act: () => go(0, 1) },
    { key: "Enter", label: "Open the card" },
    {
      key: "Escape",
      shown: "Esc",
      label: "From the search to the cards; end a selection; close a dialog",
      act: onClear,
    },
  );
  if (mayWork)
    addKeys(
      { key: "m", label: "Menu of the card: move, assign, run, stop" },
      { key: "x", label: "Select the card" },
      { key: "ArrowRight", shown: "Shift → ←", label: "Move the card to another column" },
    );
  find(document, "#filters input[type=search]").addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault();
    go(0, 0);
  });
}

/**
 * @param {number} n
 * @param {number} length
 */
const clamp = (n, length) => Math.max(0, Math.min(n, length - 1));
