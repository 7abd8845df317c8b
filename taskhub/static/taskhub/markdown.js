// Markdown that the service has rendered, and its check boxes.

/** What each place shows. @type {WeakMap<Element, string>} */
const shown = new WeakMap();

/** An attribute of a check box: its tick is on the way to the service. */
export const SAVING = "data-saving";

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
  place.classList.toggle("plain", html == null);
  if (html == null) place.textContent = text;
  else put(place, new DOMParser().parseFromString(html, "text/html").body);
  for (const box of mayTick ? boxesIn(place) : []) box.disabled = false;
}

/**
 * Where nothing but ticks differs, the elements stay: one of them may be pressed this very moment.
 *
 * @param {Element} place
 * @param {HTMLElement} wanted
 */
function put(place, wanted) {
  if (withoutTicks(place) === withoutTicks(wanted)) {
    const ticks = boxesIn(wanted).map(({ checked }) => checked);
    for (const [n, box] of boxesIn(place).entries()) {
      box.toggleAttribute("checked", ticks[n] ?? false);
      if (!box.hasAttribute(SAVING)) box.checked = ticks[n] ?? false;
    }
    return;
  }
  const line = focusedLine(place);
  place.replaceChildren(...wanted.childNodes);
  if (line !== undefined) /** @type {HTMLElement | null} */ (place.querySelector(`[data-line="${line}"]`))?.focus();
}

/**
 * @param {Element} place
 * @returns {HTMLInputElement[]}
 */
const boxesIn = (place) => [...place.querySelectorAll("input")];

/** @param {Element} place */
function withoutTicks(place) {
  const copy = /** @type {Element} */ (place.cloneNode(true));
  for (const box of boxesIn(copy)) for (const name of ["checked", "disabled", SAVING]) box.removeAttribute(name);
  return copy.innerHTML;
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
