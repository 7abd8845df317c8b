import assert from "node:assert/strict";
import { test } from "node:test";

import "./browser.js";
import { isUnsettled, stateText } from "../../taskhub/static/taskhub/execution-state.js";

const plain = { waiting: null, ending: null, leftover: null };

test("a waiting execution says why, and where in the queue", () => {
  assert.equal(
    stateText({ ...plain, waiting: { reason: "capacity", position: 3 } }),
    "waiting for capacity, 3rd in the queue",
  );
  assert.equal(stateText({ ...plain, waiting: { reason: "capacity", position: null } }), "waiting for capacity");
});

test("a value that came after the page is shown as it is", () => {
  assert.equal(stateText({ ...plain, waiting: { reason: "full_moon", position: 1 } }), "full moon, 1st in the queue");
});

test("an execution that is being ended says so before all else", () => {
  assert.equal(
    stateText({ ...plain, waiting: { reason: "capacity", position: 1 }, ending: "stopped" }),
    "being stopped",
  );
  assert.equal(stateText(plain), "");
});

test("what may outlive an execution is said", () => {
  assert.equal(stateText({ ...plain, leftover: "sandbox_stopping" }), "its sandbox is being stopped");
});

test("only what changes without an event is read again", () => {
  assert.ok(isUnsettled({ status: "queued", leftover: null }));
  assert.ok(isUnsettled({ status: "failed", leftover: "sandbox_stopping" }));
  assert.ok(!isUnsettled({ status: "failed", leftover: "possible" }));
  assert.ok(!isUnsettled({ status: "completed", leftover: null }));
});
