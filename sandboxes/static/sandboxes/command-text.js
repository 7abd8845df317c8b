// Commands of a session as text.

/**
 * What was entered: the hub runs each command in a shell of its own, and the text is between the quotes.
 *
 * @param {string} command
 */
export const commandLine = (command) => command.replace(/^bash -c '(.*)'$/s, "$1").replaceAll(`'"'"'`, "'");

/** @param {number | null | undefined} exitCode */
export const exitText = (exitCode) => (exitCode == null ? "in progress" : `exit ${exitCode}`);
