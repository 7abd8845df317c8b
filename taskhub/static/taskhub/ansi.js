// A terminal's line as elements: colours and styles (SGR) become classes, every other control sequence is left out.

// CSI …, OSC … (ended by BEL or ST), and the short ones.
const SEQUENCE = /\x1b\[([0-9;:?<=>]*)[ -/]*([@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-Z\\^_`a-~]?/g;
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f]/g;
const STYLES = { 1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike" };
const OFF = { 22: ["bold", "dim"], 23: ["italic"], 24: ["underline"], 27: ["inverse"], 29: ["strike"] };

/** What `line` shows: text nodes, and spans with classes. */
export function rendered(line) {
  const text = overwritten(line);
  if (!text.includes("\x1b")) return [text.replace(CONTROL, "")];
  const nodes = [];
  const look = { colour: "", ground: "", styles: new Set() };
  let from = 0;
  for (const found of text.matchAll(SEQUENCE)) {
    add(nodes, text.slice(from, found.index), look);
    if (found[2] === "m") change(look, found[1]);
    from = found.index + found[0].length;
  }
  add(nodes, text.slice(from), look);
  return nodes;
}

/** Progress bars return to the start of their line and write over it: the last version is what is left. */
function overwritten(line) {
  const text = line.endsWith("\r") ? line.slice(0, -1) : line;
  return text.slice(text.lastIndexOf("\r") + 1);
}

function add(nodes, part, { colour, ground, styles }) {
  const text = part.replace(CONTROL, "");
  if (!text) return;
  const classes = [...styles];
  const inverse = styles.has("inverse");
  const back = inverse ? colour || "7" : ground;
  // On a coloured ground the text takes the colour of the page: any other pair might be unreadable.
  if (back) classes.push(`ground-${back}`);
  else if (colour) classes.push(`colour-${colour}`);
  if (!classes.length) {
    nodes.push(text);
    return;
  }
  const span = document.createElement("span");
  span.className = classes.join(" ");
  span.textContent = text;
  nodes.push(span);
}

function change(look, parameters) {
  const codes = parameters.split(/[;:]/).map(Number);
  while (codes.length) {
    const code = codes.shift();
    if (code === 0) Object.assign(look, { colour: "", ground: "", styles: new Set() });
    else if (code in STYLES) look.styles.add(STYLES[code]);
    else if (code in OFF) OFF[code].forEach((name) => look.styles.delete(name));
    else if (code === 38) look.colour = chosen(codes);
    else if (code === 48) look.ground = chosen(codes);
    else if (code === 39) look.colour = "";
    else if (code === 49) look.ground = "";
    else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97)) look.colour = String(code % 10);
    else if ((code >= 40 && code <= 47) || (code >= 100 && code <= 107)) look.ground = String(code % 10);
  }
}

/** One of the eight colours, nearest to the one of 256 or of 16 million that follows; takes it out of `codes`. */
function chosen(codes) {
  const kind = codes.shift();
  if (kind === 2) return nearest(...codes.splice(0, 3));
  const n = kind === 5 ? codes.shift() : NaN;
  if (!(n >= 0 && n <= 255)) return "";
  if (n < 16) return String(n % 8);
  if (n >= 232) return n < 244 ? "0" : "7";
  const level = (step) => Math.floor((n - 16) / step) % 6;
  return nearest(level(36), level(6), level(1));
}

function nearest(red = 0, green = 0, blue = 0) {
  const most = Math.max(red, green, blue);
  const bit = (part) => Number(part > 0 && part > 0.6 * most);
  return String(bit(red) + 2 * bit(green) + 4 * bit(blue));
}
