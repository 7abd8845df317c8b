import assert from "node:assert/strict";
import { test } from "node:test";

import "./browser.js";
import { actionOf, agentOf } from "../../taskhub/static/taskhub/task-changes.js";
import { strangerText } from "../../taskhub/static/taskhub/people.js";
import { answerOf } from "../../taskhub/static/taskhub/review.js";
import { knownSince, merged } from "../../taskhub/static/taskhub/timeline.js";

/** @param {...number} seconds */
const at = (...seconds) => seconds.map((s) => ({ at: `2026-01-01T00:00:0${s}Z` }));

test("what lies before a page that is not read is not shown yet", () => {
  const [changes, notes] = [at(9, 7, 5), at(8, 2)];
  const since = knownSince([
    { items: changes, hasMore: true },
    { items: notes, hasMore: false },
  ]);
  assert.deepEqual(merged([changes, notes], since), at(9, 8, 7, 5));
  assert.equal(knownSince([{ items: changes, hasMore: false }]), "");
  assert.deepEqual(merged([changes, notes], ""), at(9, 8, 7, 5, 2));
});

test("the source that was read least decides", () => {
  const sources = [at(9, 3), at(8, 6)].map((items) => ({ items, hasMore: true }));
  assert.equal(knownSince(sources), at(6)[0]?.at);
});

test("digits behind the millisecond, and other offsets, are in order", () => {
  const [early, late] = [{ at: "2026-01-01T00:00:00.123456Z" }, { at: "2026-01-01T00:00:00.123789Z" }];
  assert.deepEqual(merged([[early], [late]], ""), [late, early]);
  assert.deepEqual(merged([[late], [early]], late.at), [late]);
  assert.deepEqual(merged([[{ at: "2026-01-01T01:00:00+01:00" }], at(1)], "")[0], at(1)[0]);
});

/** @param {Record<string, [unknown, unknown]>} changes */
const update = (changes) => actionOf(/** @type {any} */ ({ action: "task:update", changes }));

test("changes are said in words, and texts beside them", () => {
  assert.equal(update({ status: ["todo", "done"] }).words, "moved it from To do to Done");
  assert.equal(update({ status: ["todo", "unheard of"] }).words, "moved it from To do to unheard of");
  assert.equal(update({ assignee: ["bob", ""] }).words, "unassigned bob");
  assert.equal(
    update({
      tags: [
        ["a", "b"],
        ["b", "c", "d"],
      ],
    }).words,
    "added the tags c, d, removed the tag a",
  );
  const { words, fields } = update({ private: [false, true], title: ["Old", "New"], closed_as: ["", "x".repeat(200)] });
  assert.equal(words, "made it private, changed more");
  assert.deepEqual(fields[0], { name: "title", before: "Old", after: "New" });
  assert.deepEqual(fields[1], { name: "closed as", before: "empty", after: `${"x".repeat(160)}…` });
});

test("a change is its agent's, else of an older entry that of the token's name", () => {
  const entry = /** @type {any} */ ({ actor: "ann", token_name: "shared" });
  assert.equal(agentOf({ ...entry, agent: "one" }), "one");
  assert.equal(agentOf({ ...entry, agent: "" }), "shared");
  assert.equal(agentOf({ ...entry, agent: "", token_name: "" }), "");
  assert.equal(update({ holder: ["", "ann/one"], status: ["todo", "done"] }).words.includes("claimed it"), true);
});

test("an option is the answer, with what is written beside it", () => {
  assert.equal(answerOf("eu", ""), "eu");
  assert.equal(answerOf("eu", " for now "), "eu\n\nfor now");
  assert.equal(answerOf("", "  "), "");
});

test("an assignee whom no account is called like is said, and not refused", () => {
  assert.match(strangerText("nobodyx", ["ann"]), /nobodyx/u);
  assert.equal(strangerText("ann", ["ann"]), "");
  assert.equal(strangerText("", ["ann"]), "");
  assert.equal(strangerText("x", []), "", "the accounts are not known");
});
