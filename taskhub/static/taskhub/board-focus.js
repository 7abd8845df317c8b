// The focus on the board, while cards are drawn anew.

import { find } from "./dom.js";

/**
 * A card that moves to another column keeps the focus; where it is not shown any more, its neighbour gets it. Answers
 * what to do once the cards are in their places.
 *
 * @param {HTMLElement} board
 */
export function keepFocus(board) {
  const focused = document.activeElement;
  const item = focused instanceof HTMLElement && board.contains(focused) ? focused.closest("li.card") : null;
  const section = item?.closest("section");
  if (!(focused instanceof HTMLElement) || !item || !section) return () => {};
  const at = [...find(section, "ul").children].indexOf(item);
  return () => {
    if (focused.isConnected && focused.checkVisibility()) {
      if (document.activeElement !== focused) focused.focus();
      return;
    }
    const { children } = find(section, "ul");
    const next = children[Math.min(at, children.length - 1)];
    (next ? find(next, "h3 a") : find(section, "h2")).focus();
  };
}
