import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { settled } from "./browser.js";
import { BLOCK, LogLines } from "../../taskhub/static/taskhub/log-lines.js";

/** @import { Line } from "../../taskhub/static/taskhub/log-lines.js" */

/** The log at the service: how many lines, and what each one says. */
let total = 0;
let text = "x";
let isOver = true;
/** @type {string[]} */
let asked;
/** @type {unknown[]} */
let troubles;
/** @type {Error | null} */
let failure;
/** How many lines one answer has at most. */
let most = Infinity;
/** @type {LogLines} */
let lines;

/** @param {number} n @param {boolean} [partial] @returns {Line} */
const line = (n, partial) => ({
  ...{ n, stream: "stdout", line: text, timestamp: "2026-01-01T00:00:00Z" },
  ...(partial ? { partial } : {}),
});

/** @param {number} from @param {number} limit */
async function read(from, limit) {
  asked.push(`${from}+${limit}`);
  await Promise.resolve();
  if (failure) throw failure;
  const last = Math.min(total, from + Math.min(limit, most) - 1);
  const found = [];
  for (let n = from; n <= last; n += 1) found.push(line(n));
  return { lines: found, next: isOver && last >= total ? null : last + 1 };
}

/** @param {number} first @param {number} last */
const has = (first, last) => {
  for (let n = first; n <= last; n += 1) if (!lines.get(n)) return false;
  return true;
};

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout"] });
  [total, text, isOver, asked, troubles, failure, most] = [0, "x", true, [], [], null, Infinity];
  lines = new LogLines({ read, onChange: () => {}, onTrouble: (error) => troubles.push(error) });
});

test("only what is wanted is read, in whole blocks", async () => {
  total = 20_001;
  lines.grow(total);
  lines.want(19_950, 20_001);
  await settled();
  assert.deepEqual(asked, ["19801+201"]);
  assert.ok(has(19_801, 20_001));
  assert.equal(lines.get(19_800), undefined);
  lines.want(19_850, 20_001);
  await settled();
  assert.equal(asked.length, 1); // all of it was here
  lines.want(19_750, 19_850);
  await settled();
  assert.deepEqual(asked.slice(1), ["19601+200"]);
});

test("of ranges that are wanted while one is read, the last one counts", async () => {
  total = 100_000;
  lines.grow(total);
  for (const n of [1, 30_000, 60_000, 90_000]) lines.want(n, n + 50);
  await settled();
  assert.deepEqual(asked, ["1+200", "89801+400"]);
});

test("an answer that was cut is continued where it ended", async () => {
  total = 200;
  most = 60;
  lines.grow(total);
  lines.want(100, 150);
  await settled();
  assert.deepEqual(asked, ["1+200", "61+140", "121+80"]);
  assert.ok(has(1, 180));
});

test("a log that has fewer lines than was said ends where it ends", async () => {
  total = 10;
  lines.grow(500);
  lines.want(450, 500);
  await settled();
  assert.equal(lines.total, 400);
  lines.want(350, 400);
  await settled();
  assert.equal(lines.total, 200);
  lines.want(150, 200);
  await settled();
  assert.equal(lines.total, 10);
  assert.ok(has(1, 10));
});

test("what cannot be read is told and tried again", async () => {
  total = 50;
  lines.grow(total);
  failure = new Error("away");
  lines.want(1, 50);
  await settled();
  assert.deepEqual(troubles, [failure]);
  lines.want(1, 40); // asks nothing before its time
  await settled();
  assert.equal(asked.length, 1);
  failure = null;
  mock.timers.tick(2000);
  await settled();
  assert.ok(has(1, 50));
  assert.deepEqual(troubles.slice(1), [null]);
});

test("lines of another log that come late are dropped", async () => {
  total = 50;
  lines.grow(50);
  lines.want(1, 50);
  lines.reset();
  await settled();
  assert.equal(lines.total, 0);
  assert.equal(lines.get(1), undefined);
  lines.grow(10);
  lines.want(1, 10);
  await settled();
  assert.ok(has(1, 10));
});

test("memory is bounded, and the lines in view are kept", () => {
  lines.want(1, 1);
  for (let n = 1; n <= 100_000; n += 1) lines.add(line(n));
  assert.equal(lines.total, 100_000);
  let kept = 0;
  for (let n = 1; n <= 100_000; n += 1) if (lines.get(n)) kept += 1;
  assert.ok(kept <= 41 * BLOCK, String(kept));
  assert.ok(has(1, BLOCK));
  assert.ok(lines.get(100_000));
});

test("long lines count by their characters", () => {
  text = "x".repeat(65_536);
  for (let n = 1; n <= 2000; n += 1) lines.add(line(n));
  let kept = 0;
  for (let n = 1; n <= 2000; n += 1) if (lines.get(n)) kept += 1;
  assert.ok(kept <= 2 * BLOCK, String(kept));
  assert.ok(lines.get(2000));
});

test("a line without its end comes last, and its whole line replaces it", () => {
  lines.add(line(1));
  lines.add(line(2, true));
  text = "xy";
  lines.add(line(2, true));
  assert.deepEqual(
    lines.partial.map((each) => each.line),
    ["xy"],
  );
  assert.equal(lines.total, 1);
  text = "xyz";
  lines.add(line(2));
  assert.deepEqual(lines.partial, []);
  assert.equal(lines.get(2)?.line, "xyz");
  lines.add(line(2, true)); // it comes late
  assert.deepEqual(lines.partial, []);
});
