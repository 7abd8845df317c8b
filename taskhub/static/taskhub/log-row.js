// A line of a log as a row of the page: number, time, stream, and its text in colours.

import { parseAnsi } from "./ansi.js";
import { element } from "./dom.js";
import { clockTime, dateTime } from "./format.js";

/**
 * @import { Segment } from "./ansi.js"
 * @import { Line } from "./log-lines.js"
 */

/**
 * @param {Line} line
 * @param {{ hasTime?: boolean, link?: string }} [options] - `link`: the address of the log, to which `#L<n>` is added.
 */
export function rowOf({ n, stream, line, timestamp }, { hasTime = false, link } = {}) {
  const row = element("div", "", "row");
  row.dataset["stream"] = stream;
  const number = link === undefined ? element("span", String(n), "number") : linkTo(n, link);
  number.title = dateTime(timestamp);
  const text = element("span", "", "text");
  text.append(...parseAnsi(line).map(nodeOf));
  row.append(number);
  if (hasTime) row.append(element("span", clockTime(timestamp), "time"));
  row.append(element("span", stream === "stderr" ? "err" : "", "source"), text);
  return row;
}

/**
 * The row of a line that is not read yet.
 *
 * @param {number} n
 */
export function emptyRow(n) {
  const row = element("div", "", "row");
  row.append(element("span", String(n), "number"), element("span"), element("span", "…", "source"));
  row.dataset["missing"] = "";
  return row;
}

/**
 * Not in the order of Tab: a hundred of them would stand between the log and what follows.
 *
 * @param {number} n
 * @param {string} link
 */
function linkTo(n, link) {
  const made = element("a", String(n), "number");
  made.href = `${link}#L${n}`;
  made.tabIndex = -1;
  return made;
}

/** @param {Segment} segment */
const nodeOf = ({ text, classes }) =>
  classes.length ? element("span", text, classes.join(" ")) : document.createTextNode(text);
