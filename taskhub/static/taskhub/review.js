// Words of answers and reviews, on the board and on a task's page. No DOM.

export const NO_REMARK = "Write what is to be changed: it goes back with your remark.";

/**
 * An answer: the option that was pressed, and below it what is written in the box.
 *
 * @param {string} option - Empty: none.
 * @param {string} written
 */
export const answerOf = (option, written) => [option, written.trim()].filter(Boolean).join("\n\n");
