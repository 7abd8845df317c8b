import assert from "node:assert/strict";
import { test } from "node:test";

import { matchesIn } from "../../taskhub/static/taskhub/log-matches.js";

/**
 * @param {string} text
 * @param {string} words
 */
const found = (text, words) => matchesIn(text, words).map(({ start, end }) => text.slice(start, end));

test("words are found in any case, wherever they are", () => {
  assert.deepEqual(found("Error: no ERROR, terrors", "error"), ["Error", "ERROR", "error"]);
  assert.deepEqual(matchesIn("aaaa", "aa"), [
    { start: 0, end: 2 },
    { start: 2, end: 4 },
  ]);
  assert.deepEqual(found("abc", "abcd"), []);
  assert.deepEqual(found("abc", ""), []);
});

test("accents are ignored as the service ignores them, and the places are those of the text", () => {
  assert.deepEqual(found("die Größe, die GROSSE", "grosse"), ["Größe", "GROSSE"]);
  assert.deepEqual(found("Łódź łodz", "LODZ"), ["Łódź", "łodz"]);
  assert.deepEqual(found("\u{1f389} cafe\u0301 café", "Café"), ["cafe\u0301".slice(0, 4), "café"]);
  assert.deepEqual(found("ﬁle ⅷ", "file"), ["ﬁle"]);
  assert.deepEqual(found("ß", "s"), ["ß", "ß"]); // each half of it is the letter
});

test("a text of many matches is not marked for ever", () => {
  assert.equal(matchesIn("a".repeat(70_000), "a").length, 1000);
});
