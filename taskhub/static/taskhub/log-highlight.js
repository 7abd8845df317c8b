// Found words in the rows of a log: highlighted (CSS Custom Highlight API), and brought into view in a long line.

import { matchesIn } from "./log-matches.js";

const NAME = "log-found"; // in log.css
const MARGIN_PX = 24; // between what is brought into view and the edge

/**
 * What was found in a row's text. Static ranges: hundreds that follow each change of the page would make it slow.
 *
 * @type {WeakMap<Element, { words: string, ranges: StaticRange[] }>}
 */
const known = new WeakMap();

/**
 * Highlight words; nothing else is highlighted any more. A browser that cannot do it shows the lines alone.
 *
 * @param {HTMLElement[]} rows
 * @param {string} words
 */
export function highlight(rows, words) {
  if (!("highlights" in CSS)) return;
  const ranges = rows.flatMap((row) => rangesIn(row, words));
  if (ranges.length) CSS.highlights.set(NAME, new Highlight(...ranges));
  else CSS.highlights.delete(NAME);
}

/**
 * Scroll to the first of the words in a row: a line may be longer than the view.
 *
 * @param {HTMLElement} log - It scrolls.
 * @param {HTMLElement} row
 * @param {string} words
 */
export function bringIntoView(log, row, words) {
  const found = rangesIn(row, words)[0];
  if (!found) return;
  const range = document.createRange();
  range.setStart(found.startContainer, found.startOffset);
  range.setEnd(found.endContainer, found.endOffset);
  const place = range.getBoundingClientRect();
  const view = log.getBoundingClientRect();
  if (place.top < view.top + MARGIN_PX || place.bottom > view.bottom - MARGIN_PX)
    log.scrollTop += place.top - view.top - view.height / 3;
  if (place.left < view.left + MARGIN_PX || place.right > view.right - MARGIN_PX)
    log.scrollLeft += place.left - view.left - view.width / 3;
}

/**
 * @param {HTMLElement} row
 * @param {string} words
 */
function rangesIn(row, words) {
  const before = known.get(row);
  if (before?.words === words) return before.ranges;
  const place = row.querySelector(".text");
  const ranges = place ? rangesOf(place, matchesIn(place.textContent, words)) : [];
  known.set(row, { words, ranges });
  return ranges;
}

/**
 * @param {Element} place
 * @param {{ start: number, end: number }[]} matches - In its text, which may be in pieces of different colours.
 */
function rangesOf(place, matches) {
  const pieces = document.createTreeWalker(place, NodeFilter.SHOW_TEXT);
  let piece = pieces.nextNode();
  let before = 0; // characters before the piece
  /** @param {number} at - Not before the place that was asked for last; that is in the text. */
  const placeOf = (at) => {
    for (; piece; piece = pieces.nextNode()) {
      const length = piece.textContent?.length ?? 0;
      if (at <= before + length) return { node: piece, offset: at - before };
      before += length;
    }
    throw new RangeError("The text is shorter than what was found in it.");
  };
  return matches.map(({ start, end }) => {
    const { node: startContainer, offset: startOffset } = placeOf(start);
    const { node: endContainer, offset: endOffset } = placeOf(end);
    return new StaticRange({ startContainer, startOffset, endContainer, endOffset });
  });
}
