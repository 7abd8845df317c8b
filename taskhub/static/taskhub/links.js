// Addresses in a text become links. No DOM but for `linkNodes`.

/** @typedef {{ text: string, isLink: boolean }} Part */

const ADDRESS = /https?:\/\/[^\s<>"'`]+/g;
const AFTER = /[.,;:!?*_~]+$/; // ends the sentence, not the address

/**
 * The text in parts: addresses, and what is between them.
 *
 * @param {string} text
 * @returns {Part[]}
 */
export function linkParts(text) {
  /** @type {Part[]} */
  const parts = [];
  let from = 0;
  for (const { 0: found, index } of text.matchAll(ADDRESS)) {
    const address = addressIn(found);
    if (!URL.canParse(address)) continue;
    if (index > from) parts.push({ text: text.slice(from, index), isLink: false });
    parts.push({ text: address, isLink: true });
    from = index + address.length;
  }
  if (from < text.length) parts.push({ text: text.slice(from), isLink: false });
  return parts;
}

/**
 * Without what follows it in a sentence: `(see https://a.example/b_(c)).` has an address with one pair of parentheses.
 *
 * @param {string} found
 */
function addressIn(found) {
  let address = found.replace(AFTER, "");
  while (/[)\]]$/.test(address) && !isBalanced(address)) address = address.slice(0, -1).replace(AFTER, "");
  return address;
}

/** @param {string} address */
const isBalanced = (address) =>
  count(address, "(") >= count(address, ")") && count(address, "[") >= count(address, "]");

/**
 * @param {string} text
 * @param {string} char
 */
const count = (text, char) => text.split(char).length - 1;

/**
 * @param {string} text
 * @returns {(string | HTMLElement)[]}
 */
export const linkNodes = (text) =>
  linkParts(text).map((part) => {
    if (!part.isLink) return part.text;
    const link = document.createElement("a");
    link.href = link.textContent = part.text;
    link.rel = "noopener noreferrer nofollow";
    return link;
  });
