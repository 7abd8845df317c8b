// ANSI escape sequences of a terminal's line: colours and styles (SGR) become class names, the rest is left out. No DOM.

/**
 * @typedef {object} Segment - A piece of a line in one look.
 * @property {string} text
 * @property {string[]} classes
 *
 * @typedef {object} Look
 * @property {string} colour - "0" to "7", empty for the default.
 * @property {string} ground - That of the background.
 * @property {Set<string>} styles
 */

// CSI …, OSC … (ended by BEL or ST), and the short ones.
// eslint-disable-next-line no-control-regex -- control characters are what it looks for
const SEQUENCE = /\x1b\[([0-9;:?<=>]*)[ -/]*([@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-Z\\^_`a-~]?/g;
// eslint-disable-next-line no-control-regex -- likewise
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f]/g;
/** @type {Record<number, string>} */
const STYLES = { 1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike" };
/** @type {Record<number, string[]>} */
const OFF = { 22: ["bold", "dim"], 23: ["italic"], 24: ["underline"], 27: ["inverse"], 29: ["strike"] };

/**
 * What a line shows, from left to right.
 *
 * @param {string} line
 * @returns {Segment[]}
 */
export function parseAnsi(line) {
  const text = overwritten(line);
  if (!text.includes("\x1b")) return [{ text: text.replace(CONTROL, ""), classes: [] }];
  /** @type {Segment[]} */
  const segments = [];
  const look = plain();
  let from = 0;
  for (const found of text.matchAll(SEQUENCE)) {
    add(segments, text.slice(from, found.index), look);
    if (found[2] === "m") change(look, found[1] ?? "");
    from = found.index + found[0].length;
  }
  add(segments, text.slice(from), look);
  return segments;
}

/**
 * What a line shows, without its look.
 *
 * @param {string} line
 */
export const textOf = (line) =>
  parseAnsi(line)
    .map(({ text }) => text)
    .join("");

/** @returns {Look} */
const plain = () => ({ colour: "", ground: "", styles: new Set() });

/**
 * Progress bars return to the start of their line and write over it: the last version is shown.
 *
 * @param {string} line
 */
function overwritten(line) {
  const text = line.endsWith("\r") ? line.slice(0, -1) : line;
  return text.slice(text.lastIndexOf("\r") + 1);
}

/**
 * @param {Segment[]} segments
 * @param {string} part
 * @param {Look} look
 */
function add(segments, part, { colour, ground, styles }) {
  const text = part.replace(CONTROL, "");
  if (!text) return;
  const classes = [...styles];
  const back = styles.has("inverse") ? colour || "7" : ground;
  // On a coloured ground the text takes the colour of the page: any other pair might be unreadable.
  if (back) classes.push(`ground-${back}`);
  else if (colour) classes.push(`colour-${colour}`);
  segments.push({ text, classes });
}

/**
 * @param {Look} look
 * @param {string} parameters - Of an SGR sequence.
 */
function change(look, parameters) {
  const codes = parameters.split(/[;:]/).map(Number);
  for (let code = codes.shift(); code !== undefined; code = codes.shift()) {
    if (code === 38) look.colour = chosen(codes);
    else if (code === 48) look.ground = chosen(codes);
    else restyle(look, code);
  }
}

/**
 * @param {Look} look
 * @param {number} code - One that needs no codes after it.
 */
function restyle(look, code) {
  const style = STYLES[code];
  if (code === 0) {
    look.colour = look.ground = "";
    look.styles.clear();
  } else if (style) look.styles.add(style);
  else if (OFF[code]) for (const name of OFF[code]) look.styles.delete(name);
  else recolour(look, code);
}

/**
 * @param {Look} look
 * @param {number} code - 30 to 39 is the colour, 40 to 49 the ground; 90 to 97 and 100 to 107 are the bright ones.
 */
function recolour(look, code) {
  const colour = String(code % 10);
  if (code === 39) look.colour = "";
  else if (code === 49) look.ground = "";
  else if (isBetween(code, 30, 37) || isBetween(code, 90, 97)) look.colour = colour;
  else if (isBetween(code, 40, 47) || isBetween(code, 100, 107)) look.ground = colour;
}

/**
 * @param {number} n
 * @param {number} least
 * @param {number} most
 */
const isBetween = (n, least, most) => n >= least && n <= most;

/**
 * The one of the eight colours that is nearest to the colour of 256 or of 16 million that follows.
 *
 * @param {number[]} codes - Those that say which are taken out.
 */
function chosen(codes) {
  const kind = codes.shift();
  if (kind === 2) return nearest(...codes.splice(0, 3));
  const n = kind === 5 ? (codes.shift() ?? NaN) : NaN;
  if (!isBetween(n, 0, 255)) return "";
  if (n < 16) return String(n % 8);
  if (n >= 232) return n < 244 ? "0" : "7";
  /** @param {number} step */
  const level = (step) => Math.floor((n - 16) / step) % 6;
  return nearest(level(36), level(6), level(1));
}

function nearest(red = 0, green = 0, blue = 0) {
  const most = Math.max(red, green, blue);
  /** @param {number} part */
  const bit = (part) => Number(part > 0 && part > 0.6 * most);
  return String(bit(red) + 2 * bit(green) + 4 * bit(blue));
}
