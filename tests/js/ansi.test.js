import assert from "node:assert/strict";
import { test } from "node:test";

import { parseAnsi } from "../../taskhub/static/taskhub/ansi.js";

const ESC = "\x1b";
/** @param {string} line */
const shown = (line) => parseAnsi(line).map(({ text, classes }) => [text, ...classes]);

test("plain text is one segment", () => {
  assert.deepEqual(shown("a <b>c</b>"), [["a <b>c</b>"]]);
  assert.deepEqual(shown(""), [[""]]);
});

test("colours and styles become classes until they are reset", () => {
  assert.deepEqual(shown(`a${ESC}[31mb${ESC}[1mc${ESC}[0md`), [
    ["a"],
    ["b", "colour-1"],
    ["c", "bold", "colour-1"],
    ["d"],
  ]);
  assert.deepEqual(shown(`${ESC}[31ma${ESC}[mb`), [["a", "colour-1"], ["b"]]);
});

test("each style has its own end", () => {
  assert.deepEqual(shown(`${ESC}[1;2;3;4;9ma${ESC}[22mb${ESC}[23;24;29mc`), [
    ["a", "bold", "dim", "italic", "underline", "strike"],
    ["b", "italic", "underline", "strike"],
    ["c"],
  ]);
});

test("bright colours are those of the eight, and a ground wins over a colour", () => {
  assert.deepEqual(shown(`${ESC}[91ma`), [["a", "colour-1"]]);
  assert.deepEqual(shown(`${ESC}[31;42ma${ESC}[49mb${ESC}[39mc`), [["a", "ground-2"], ["b", "colour-1"], ["c"]]);
  assert.deepEqual(shown(`${ESC}[104ma`), [["a", "ground-4"]]);
});

test("inverse text stands on its colour", () => {
  assert.deepEqual(shown(`${ESC}[7ma${ESC}[31mb${ESC}[27mc`), [
    ["a", "inverse", "ground-7"],
    ["b", "inverse", "ground-1"],
    ["c", "colour-1"],
  ]);
});

test("colours of 256 and of 16 million become the nearest of eight", () => {
  assert.deepEqual(shown(`${ESC}[38;5;9ma`), [["a", "colour-1"]]);
  assert.deepEqual(shown(`${ESC}[38;5;46ma`), [["a", "colour-2"]]);
  assert.deepEqual(shown(`${ESC}[38;5;232ma${ESC}[38;5;255mb`), [
    ["a", "colour-0"],
    ["b", "colour-7"],
  ]);
  assert.deepEqual(shown(`${ESC}[38;2;10;10;200ma`), [["a", "colour-4"]]);
  assert.deepEqual(shown(`${ESC}[38:2:200:200:0ma`), [["a", "colour-3"]]);
  // What follows the colour still counts.
  assert.deepEqual(shown(`${ESC}[48;2;250;0;0;1ma`), [["a", "bold", "ground-1"]]);
});

test("parameters that are cut off or unknown change nothing", () => {
  for (const codes of ["38", "38;5", "38;5;999", "38;7;1", "58", "999"])
    assert.deepEqual(shown(`${ESC}[${codes}ma`)[0]?.[0], "a", codes);
  assert.deepEqual(shown(`${ESC}[38;5ma`), [["a"]]);
});

test("other control sequences are left out", () => {
  assert.deepEqual(shown(`a${ESC}[2Kb${ESC}[10;20Hc`), [["a"], ["b"], ["c"]]);
  assert.deepEqual(shown(`${ESC}]0;a title\x07b`), [["b"]]);
  assert.deepEqual(shown(`${ESC}]8;;http://x${ESC}\\link${ESC}]8;;${ESC}\\`), [["link"]]);
  assert.deepEqual(shown("a\x07b\x00c\td"), [["abc\td"]]);
});

test("a line that was overwritten shows its last version", () => {
  assert.deepEqual(shown("10%\r50%\r100%"), [["100%"]]);
  assert.deepEqual(shown("done\r"), [["done"]]);
});

test("no input makes it fail or lose text", () => {
  // All short combinations of what matters to the parser.
  const parts = [ESC, "[", "]", ";", "3", "8", "m", "\r", "x"];
  let lines = [""];
  for (let length = 0; length < 5; length += 1) lines = lines.flatMap((line) => parts.map((part) => line + part));
  for (const line of lines) {
    const text = parseAnsi(`${line}|end`)
      .map((segment) => segment.text)
      .join("");
    // An OSC takes all up to its end; anything else keeps what comes after it.
    if (!line.includes(`${ESC}]`)) assert.ok(text.endsWith("end"), JSON.stringify(line));
  }
});
