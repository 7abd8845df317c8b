import assert from "node:assert/strict";
import { test } from "node:test";

import "./browser.js";
import {
  afterReview,
  entryOf,
  enums,
  isActive,
  priorityOrder,
  priorityRank,
} from "../../taskhub/static/taskhub/enums.js";

test("priorities have the order and style that the page brings, new ones included", () => {
  const sorted = ["low", "urgent", "medium", "high"].sort((one, other) => priorityOrder(one) - priorityOrder(other));
  assert.deepEqual(sorted, ["urgent", "high", "medium", "low"]);
  assert.deepEqual(sorted.map(priorityRank), ["top", "middle", "middle", "bottom"]);
});

test("a priority that came after the page sorts last and has a style", () => {
  assert.equal(priorityOrder("newer"), 4);
  assert.equal(priorityRank("newer"), "bottom");
});

test("an entry is found by its value, an unknown value says what to do", () => {
  assert.equal(entryOf(enums().statuses, "done").label, "Done");
  assert.throws(() => entryOf(enums().statuses, "newer"), /reload the page/);
});

test("queued and running executions are active", () => {
  assert.deepEqual(["queued", "running", "completed", "newer"].map(isActive), [true, true, false, false]);
});

test("a review sends a task on, or back to where agents claim tasks", () => {
  const values = ({ back, on } = afterReview("inprogress")) => [back?.value, on?.value];
  assert.deepEqual(values(), ["todo", "done"]);
  assert.deepEqual(values(afterReview("todo")), [undefined, "inprogress"]);
  assert.deepEqual(values(afterReview("done")), ["todo", undefined]);
});
