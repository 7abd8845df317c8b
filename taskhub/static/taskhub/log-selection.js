// Lines of a log that are selected as text: what a copy of them has.

/**
 * Copies of selected lines have each line's text, without its number and time, and lines that are empty.
 *
 * @param {HTMLElement} log
 */
export function copyLines(log) {
  log.addEventListener("copy", (event) => {
    const selection = getSelection();
    if (!selection || selection.isCollapsed || !event.clipboardData) return;
    event.clipboardData.setData("text/plain", selectedText(log, selection));
    event.preventDefault();
  });
}

/**
 * @param {HTMLElement} log
 * @param {Selection} selection
 */
function selectedText(log, selection) {
  /** @type {string[]} */
  const lines = [];
  for (let n = 0; n < selection.rangeCount; n += 1) {
    const range = selection.getRangeAt(n);
    for (const text of log.querySelectorAll(".text")) if (range.intersectsNode(text)) lines.push(partOf(text, range));
  }
  return lines.join("\n");
}

/**
 * @param {Element} text - Of a line.
 * @param {Range} range
 */
function partOf(text, range) {
  const part = document.createRange();
  part.selectNodeContents(text);
  if (range.compareBoundaryPoints(Range.START_TO_START, part) > 0)
    part.setStart(range.startContainer, range.startOffset);
  if (range.compareBoundaryPoints(Range.END_TO_END, part) < 0) part.setEnd(range.endContainer, range.endOffset);
  return part.toString();
}
