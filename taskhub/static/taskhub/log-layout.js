// Which rows of a long log are in the page, and where lines are addressed (`#L120`, `#L120-L140`). No DOM.

export const OVERSCAN = 30; // rows above and below what is in view
const CHARS = 200_000; // of all rows: where lines wrap, fewer rows fill the view
const LEAST = 3; // rows, however long they are
const MOST_PX = 8_000_000; // browsers lay out no more than about 17 million

/** @typedef {{ first: number, last: number }} Range - Numbers of lines; `last` before `first` is none. */

/**
 * The rows around line `n`, whose upper edge is `top` px below that of the view.
 *
 * @param {object} options
 * @param {number} options.n
 * @param {number} options.top
 * @param {number} options.total
 * @param {number} options.viewPx - Height of the view.
 * @param {number} options.rowPx - Height of a row at least.
 * @param {(n: number) => number} options.chars - Of a line; 0 for one that may have any number of rows beside it.
 * @returns {Range}
 */
export function rowsAround({ n, top, total, viewPx, rowPx, chars }) {
  if (!total) return { first: 1, last: 0 };
  const at = Math.min(Math.max(1, n), total);
  const above = Math.ceil(Math.max(0, top) / rowPx) + OVERSCAN;
  const below = Math.ceil(Math.max(0, viewPx - top) / rowPx) + OVERSCAN;
  return {
    first: reach(at, -1, Math.max(1, at - above), chars),
    last: reach(at, 1, Math.min(total, at + below), chars),
  };
}

/**
 * How far the rows reach from line `at` on in one direction.
 *
 * @param {number} at
 * @param {1 | -1} step
 * @param {number} end
 * @param {(n: number) => number} chars
 */
function reach(at, step, end, chars) {
  let n = at;
  let sum = 0;
  while (n !== end) {
    sum += chars(n + step);
    if (sum > CHARS && Math.abs(n - at) >= LEAST) break;
    n += step;
  }
  return n;
}

/**
 * The height that stands for a line that is not in the page.
 *
 * @param {number} rowPx
 * @param {number} total
 */
export const spacePx = (rowPx, total) => Math.min(rowPx, MOST_PX / Math.max(1, total));

/**
 * The line at a position in an empty space that stands for `lines`, of which the first one is `from`.
 *
 * @param {number} px - From the beginning of the space.
 * @param {number} heightPx - Of the space.
 * @param {Range} lines
 */
export function lineInSpace(px, heightPx, { first, last }) {
  const part = heightPx > 0 ? Math.min(1, Math.max(0, px / heightPx)) : 0;
  return Math.min(last, first + Math.floor(part * (last - first + 1)));
}

/**
 * The lines that the fragment of an address names; null where it names none.
 *
 * @param {string} hash - With its `#`.
 * @returns {Range | null}
 */
export function linesOfHash(hash) {
  const found = /^#L(\d{1,9})(?:-L(\d{1,9}))?$/.exec(hash);
  if (!found) return null;
  const [one, other] = [Number(found[1]), Number(found[2] ?? found[1])];
  return one && other ? { first: Math.min(one, other), last: Math.max(one, other) } : null;
}

/**
 * The lines that a person has written: `120`, `120-140`, `L120`; null where it is neither.
 *
 * @param {string} text
 */
export const linesOfText = (text) => linesOfHash(`#L${text.replaceAll(/[\sL#]/gi, "").replace("-", "-L")}`);

/** @param {Range} lines */
export const hashOfLines = ({ first, last }) => (first === last ? `#L${first}` : `#L${first}-L${last}`);
