// Where words are in a text, ignoring case and accents as the service's search does (`taskhub/lib/text_folding.py`). No DOM.

const MOST = 1000; // matches in one text
const MARKS = /\p{M}/gu;
// eslint-disable-next-line no-control-regex -- it is about all of ASCII
const ASCII = /^[\x00-\x7f]*$/;
/** Small letters whose stroke is part of the letter to Unicode. @type {Record<string, string>} */
const STROKES = {
  ...{ ƀ: "b", ȼ: "c", đ: "d", ɇ: "e", ǥ: "g", ħ: "h", ɨ: "i", ɉ: "j", ł: "l", ø: "o", ɍ: "r", ŧ: "t" },
  ...{ ɏ: "y", ƶ: "z" },
};

/**
 * A character without case and accents; one may become several (`ß`), or none (an accent of its own).
 *
 * @param {string} char
 */
function fold(char) {
  const plain = char.normalize("NFKD").toUpperCase().toLowerCase().normalize("NFKD").replace(MARKS, "");
  return STROKES[plain] ?? plain;
}

/**
 * The places of `words` in `text`, from left to right; none reaches into another.
 *
 * @param {string} text
 * @param {string} words
 * @returns {{ start: number, end: number }[]} - `end` is behind the last character.
 */
export function matchesIn(text, words) {
  const { folded: sought } = foldedText(words);
  if (!sought) return [];
  const { folded, places } = foldedText(text);
  const found = [];
  for (let at = folded.indexOf(sought); at >= 0 && found.length < MOST;) {
    const last = at + sought.length - 1;
    found.push({ start: places(at).start, end: places(last).end });
    at = folded.indexOf(sought, last + 1);
  }
  return found;
}

/**
 * The folded text, and for each of its characters the place of the character that it was made from.
 *
 * @param {string} text
 */
function foldedText(text) {
  if (ASCII.test(text)) return { folded: text.toLowerCase(), places: itself };
  /** @type {{ start: number, end: number }[]} */
  const all = [];
  let folded = "";
  let start = 0;
  for (const char of text) {
    const plain = fold(char);
    const end = start + char.length;
    for (let n = 0; n < plain.length; n += 1) all.push({ start, end });
    folded += plain;
    start = end;
  }
  return { folded, places: (/** @type {number} */ at) => all[at] ?? itself(at) };
}

/** @param {number} at */
const itself = (at) => ({ start: at, end: at + 1 });
