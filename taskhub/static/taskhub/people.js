// How an account or an agent is shown in little space: initials, and a colour of its own. No DOM.

const HUES = 8; // `site.css` has as many
const segmenter = new Intl.Segmenter();
const BETWEEN = /[\s._@+-]+/u;

/**
 * Two letters of a name: `AL` of alice, `A2` of agent-2 and of alice/agent-2, `CN` of carol-with-a-long-name.
 *
 * @param {string} name
 */
export function initials(name) {
  const own = name.split("/").findLast((part) => part.trim() !== "") ?? "";
  const words = own.split(BETWEEN).filter(Boolean);
  const [first = [], ...others] = words.map(letters);
  const second = others.at(-1)?.[0] ?? first[1] ?? "";
  return `${first[0] ?? "?"}${second}`.toUpperCase();
}

/**
 * An account, or an agent as the holder of a task is named.
 *
 * @param {{ author: string, agent: string }} note
 */
export const byOf = ({ author, agent }) => (agent ? `${author}/${agent}` : author);

/**
 * What is said of an assignee that no account is called like; empty where there is nothing to say.
 *
 * @param {string} name
 * @param {readonly string[]} accounts - Empty: not known.
 */
export const strangerText = (name, accounts) =>
  !name || !accounts.length || accounts.includes(name) ? "" : `No account is called “${name}” yet.`;

/** @param {string} word @returns {string[]} */
const letters = (word) => Array.from(segmenter.segment(word), ({ segment }) => segment);

/**
 * The number of a name's colour, from 0: always the same one.
 *
 * @param {string} name
 */
export function hue(name) {
  let sum = 0;
  for (const char of name) sum = (sum * 31 + (char.codePointAt(0) ?? 0)) % 65_521;
  return sum % HUES;
}
