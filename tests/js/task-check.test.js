import assert from "node:assert/strict";
import { test } from "node:test";

import "./browser.js";
import { lastWords } from "../../taskhub/static/taskhub/task-check.js";

test("a verification is under way only while it is active", () => {
  assert.equal(lastWords({ status: "running", verdict: null }), "being verified");
  assert.equal(lastWords({ status: "completed", verdict: null }), "the last verification has no verdict");
  assert.equal(lastWords({ status: "failed", verdict: "failed" }), "the last verification failed, on an earlier state");
});
