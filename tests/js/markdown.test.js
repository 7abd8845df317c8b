import assert from "node:assert/strict";
import { test } from "node:test";

import "./browser.js";
import { linkParts } from "../../taskhub/static/taskhub/links.js";
import { withTick } from "../../taskhub/static/taskhub/markdown.js";

test("a box is ticked and unticked in its line, and nothing else changes", () => {
  const text = "# A\r\n\r\n- [ ] one [ ]\n  * [x] two\r> 1. [X] three\n- > + [ ] four\nno [ ] box\n";
  assert.equal(withTick(text, 2, true), text.replace("[ ] one", "[x] one"));
  assert.equal(withTick(text, 3, false), text.replace("[x] two", "[ ] two"));
  assert.equal(withTick(text, 4, false), text.replace("[X] three", "[ ] three"));
  assert.equal(withTick(text, 5, true), text.replace("[ ] four", "[x] four"));
  assert.equal(withTick(text, 2, false), text); // as it is
  for (const line of [0, 1, 6, 7, 8, -1, NaN]) assert.equal(withTick(text, line, true), null, String(line));
});

/** @param {string} text */
const links = (text) =>
  linkParts(text)
    .filter(({ isLink }) => isLink)
    .map((part) => part.text);

test("addresses become links, without what ends their sentence", () => {
  assert.deepEqual(links("see https://a.example/b?c=1#d."), ["https://a.example/b?c=1#d"]);
  assert.deepEqual(links("(https://a.example/b_(c)), http://d.example!"), [
    "https://a.example/b_(c)",
    "http://d.example",
  ]);
  assert.deepEqual(links("<https://a.example> [https://b.example]"), ["https://a.example", "https://b.example"]);
  for (const text of ["", "out/report.html", "javascript:alert(1)", "ftp://a.example", "http://", "https://."])
    assert.deepEqual(links(text), [], text);
});

test("the parts together are the text", () => {
  for (const text of ["", "a https://b.example. c", "https://a.example", "http:// https://a.example, b"])
    assert.equal(
      linkParts(text)
        .map((part) => part.text)
        .join(""),
      text,
    );
});
