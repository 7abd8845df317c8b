import assert from "node:assert/strict";
import { test } from "node:test";

import {
  hashOfLines,
  lineInSpace,
  linesOfHash,
  linesOfText,
  OVERSCAN,
  rowsAround,
  spacePx,
} from "../../taskhub/static/taskhub/log-layout.js";

/** @param {object} options */
const around = (options) =>
  rowsAround({ n: 1, top: 0, total: 20_000, viewPx: 400, rowPx: 20, chars: () => 50, ...options });

test("rows are those in view and some around them, however long the log is", () => {
  assert.deepEqual(around({ n: 10_000 }), { first: 10_000 - OVERSCAN, last: 10_000 + 20 + OVERSCAN });
  assert.deepEqual(around({ n: 1 }), { first: 1, last: 21 + OVERSCAN });
  assert.deepEqual(around({ n: 20_000, top: 380 }), { first: 20_000 - 19 - OVERSCAN, last: 20_000 });
  assert.deepEqual(around({ n: 99_999 }), { first: 20_000 - OVERSCAN, last: 20_000 });
  assert.deepEqual(around({ total: 3 }), { first: 1, last: 3 });
  assert.deepEqual(around({ total: 0 }), { first: 1, last: 0 });
});

test("very long lines are few rows", () => {
  const { first, last } = around({ n: 500, chars: () => 65_536 });
  assert.ok(last - first <= 8, `${first} to ${last}`);
  assert.ok(last - first >= 4);
});

test("an empty space stands for its lines by proportion", () => {
  const lines = { first: 101, last: 200 };
  assert.equal(lineInSpace(0, 2000, lines), 101);
  assert.equal(lineInSpace(1000, 2000, lines), 151);
  assert.equal(lineInSpace(2000, 2000, lines), 200);
  assert.equal(lineInSpace(-5, 2000, lines), 101);
  assert.equal(lineInSpace(5, 0, lines), 101);
});

test("the height of all lines is one that browsers lay out", () => {
  assert.equal(spacePx(20, 1000), 20);
  assert.equal(Math.round(spacePx(20, 4_000_000) * 4_000_000), 8_000_000);
  assert.equal(spacePx(20, 0), 20);
});

test("lines have addresses", () => {
  assert.deepEqual(linesOfHash("#L120"), { first: 120, last: 120 });
  assert.deepEqual(linesOfHash("#L140-L120"), { first: 120, last: 140 });
  for (const hash of ["", "#", "#L", "#L0", "#L12x", "#main", "#L1-2", "#L1234567890"])
    assert.equal(linesOfHash(hash), null, hash);
  for (const hash of ["#L7", "#L7-L9"]) {
    const lines = linesOfHash(hash);
    assert.ok(lines);
    assert.equal(hashOfLines(lines), hash);
  }
});

test("lines are written as people write them", () => {
  assert.deepEqual(linesOfText("120"), { first: 120, last: 120 });
  assert.deepEqual(linesOfText(" L140 - L120 "), { first: 120, last: 140 });
  assert.deepEqual(linesOfText("#L7"), { first: 7, last: 7 });
  for (const text of ["", "0", "-5", "5-", "1-2-3", "1.5", "one"]) assert.equal(linesOfText(text), null, text);
});
