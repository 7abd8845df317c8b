import assert from "node:assert/strict";
import { test } from "node:test";

import { age, ago, count, dateTime, duration, fileSize, ordinal, split } from "../../taskhub/static/taskhub/format.js";

test("a duration has hours only where it needs them", () => {
  assert.equal(duration("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.900Z"), "0:00");
  assert.equal(duration("2026-01-01T00:00:00Z", "2026-01-01T00:01:05Z"), "1:05");
  assert.equal(duration("2026-01-01T00:00:00Z", "2026-01-01T02:00:05Z"), "2:00:05");
});

test("a duration across clocks that disagree is not negative", () => {
  assert.equal(duration("2026-01-01T00:00:10Z", "2026-01-01T00:00:00Z"), "0:00");
});

test("a duration without an end lasts until now", (t) => {
  t.mock.timers.enable({ apis: ["Date"], now: Date.parse("2026-01-01T00:10:00Z") });
  assert.equal(duration("2026-01-01T00:00:00Z"), "10:00");
  assert.equal(duration("2026-01-01T00:00:00Z", null), "10:00");
});

test("a size has the unit that fits it", () => {
  assert.equal(fileSize(0), "0 bytes");
  assert.equal(fileSize(1), "1 byte");
  assert.equal(fileSize(999), "999 bytes");
  assert.equal(fileSize(1000), "1 kB");
  assert.equal(fileSize(1_250_000), "1.3 MB");
  assert.equal(fileSize(5e12), "5,000 GB");
});

test("a count has its noun in the right number", () => {
  assert.equal(count(1), "1 line");
  assert.equal(count(0), "0 lines");
  assert.equal(count(12_345, "session"), "12,345 sessions");
});

test("parts of a list lose their blanks, empty ones are left out", () => {
  assert.deepEqual(split(" a, b c ,,  ", ","), ["a", "b c"]);
  assert.deepEqual(split("", ","), []);
});

test("a moment names its day and year", () => {
  assert.match(dateTime("2026-06-15T12:00:00Z"), /2026/);
});

test("a position has the ending that is read aloud", () => {
  assert.deepEqual([1, 2, 3, 4, 11, 12, 13, 21, 102, 1003].map(ordinal), [
    ...["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "1,003rd"],
  ]);
});

test("an age has one unit, and is never negative", () => {
  const now = Date.parse("2026-01-03T00:00:00Z");
  assert.equal(age("2026-01-02T23:59:01Z", now), "now");
  assert.equal(age("2026-01-03T00:00:10Z", now), "now");
  assert.equal(age("2026-01-02T23:55:00Z", now), "5 min");
  assert.equal(age("2026-01-02T00:00:01Z", now), "23 h");
  assert.equal(age("2026-01-01T00:00:01Z", now), "47 h");
  assert.equal(age("2026-01-01T00:00:00Z", now), "2 d");
  assert.equal(ago("2026-01-03T00:00:00Z", now), "just now");
  assert.equal(ago("2026-01-02T23:55:00Z", now), "5 min ago");
});
