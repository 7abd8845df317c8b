// Markdown that the service has rendered, and its check boxes.

/** What each place shows. @type {WeakMap<Element, string>} */
const shown = new WeakMap();

// The line of a check box: quotes, list marks, and the box.
const BOX = /^([\s>]*(?:(?:[-+*]|\d{1,9}[.)])\s+(?:>\s*)*)+)\[[ \txX]\]/;

/**
 * Show a text. What is there stays as it is where nothing changed, and the focus where it was.
 *
 * @param {Element} place
 * @param {string} text
 * @param {string | null | undefined} html - As the service rendered it: it lets nothing pass that is not on its list of
 *   elements (`taskhub/lib/markdown.py`). Null: too long to be rendered.
 * @param {{ mayTick?: boolean }} [options] - Whether the check boxes may be pressed.
 */
export function showMarkdown(place, text, html, { mayTick = false } = {}) {
  const now = html ?? text;
  if (shown.get(place) === now) return;
  shown.set(place, now);
  const line = focusedLine(place);
  place.classList.toggle("plain", html == null);
  if (html == null) place.textContent = text;
  else place.replaceChildren(...new DOMParser().parseFromString(html, "text/html").body.childNodes);
  for (const box of mayTick ? place.querySelectorAll("input[data-line]") : []) box.removeAttribute("disabled");
  if (line !== undefined) /** @type {HTMLElement | null} */ (place.querySelector(`[data-line="${line}"]`))?.focus();
}

/**
 * The line whose check box has the focus.
 *
 * @param {Element} place
 */
function focusedLine(place) {
  const focused = document.activeElement;
  return focused instanceof HTMLElement && place.contains(focused) ? focused.dataset["line"] : undefined;
}

/**
 * Show it anew the next time, also where nothing changed: a box was ticked that is not ticked.
 *
 * @param {Element} place
 */
export const forget = (place) => shown.delete(place);

/**
 * The Markdown with a check box ticked or not; null where this line has none.
 *
 * @param {string} text
 * @param {number} line - From 0.
 * @param {boolean} isTicked
 */
export function withTick(text, line, isTicked) {
  const parts = text.split(/(\r\n|\r|\n)/); // lines, and their ends between them
  const old = parts[2 * line];
  if (old === undefined || !BOX.test(old)) return null;
  parts[2 * line] = old.replace(BOX, (_, /** @type {string} */ marks) => `${marks}[${isTicked ? "x" : " "}]`);
  return parts.join("");
}
