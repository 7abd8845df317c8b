import assert from "node:assert/strict";
import { test } from "node:test";

import "./browser.js";
import {
  apiQuery,
  countOf,
  filterQuery,
  matcher,
  readFilter,
  UNASSIGNED,
} from "../../taskhub/static/taskhub/board-filter.js";
import { isOf, isOld, needOf, outcomeText } from "../../taskhub/static/taskhub/card-state.js";
import { hue, initials } from "../../taskhub/static/taskhub/people.js";

/** @param {Record<string, unknown>} [fields] @returns {any} */
const task = (fields = {}) => ({
  ...{ id: "a", status: "todo", priority: "low", assignee: "", created_by: "", tags: [], text: "words here" },
  ...{ ready: true, held_back: false, open_blockers: 0, waiting_for: "", stale: false, last_run: null },
  ...{ updated_at: "2026-01-01T00:00:00Z" },
  ...fields,
});
/** @param {Record<string, unknown>} [fields] @returns {any} */
const run = (fields = {}) => ({ step: "running", since: "1", waiting: null, ending: null, kind: "run", ...fields });
const failed = {
  execution_id: "e",
  status: "failed",
  exit_code: 3,
  error_code: "",
  finished_at: "2026-01-01T00:00:00Z",
};

/** @param {string} query @param {any} one @param {any} [its] @param {string} [me] */
const matches = (query, one, its, me = "ann") => matcher(readFilter(new URLSearchParams(query)), me)(one, its);

test("an address is read and written without loss", () => {
  const query = "q=some+words&assignee=me&priority=high&tags=a&tags=b&state=failed&state=ready&old=1";
  const filter = readFilter(new URLSearchParams(query));
  assert.equal(filterQuery(filter).toString(), query);
  assert.equal(countOf(filter), 7);
  assert.equal(filterQuery(readFilter(new URLSearchParams(""))).toString(), "");
});

test("an address of an earlier release, and one that was made up", () => {
  assert.equal(readFilter(new URLSearchParams("assignee=")).assignee, UNASSIGNED);
  const { states, priority } = readFilter(new URLSearchParams("state=nonsense&tags=&priority=nonsense"));
  assert.deepEqual([states, priority], [[], ""]);
});

test("all words, tags, the assignee and the priority must be there", () => {
  assert.ok(matches("q=HERE+words", task()));
  assert.ok(!matches("q=words+there", task()));
  assert.ok(matches("tags=a&tags=b", task({ tags: ["b", "a"] })));
  assert.ok(!matches("tags=a&tags=b", task({ tags: ["a"] })));
  assert.ok(matches("assignee=me", task({ assignee: "ann" })));
  assert.ok(!matches("assignee=me", task({ assignee: "bob" })));
  assert.ok(!matches("assignee=me", task(), undefined, ""), "a reader without a name is not the empty assignee");
  assert.ok(matches(`assignee=${UNASSIGNED}`, task()));
  assert.ok(!matches(`assignee=${UNASSIGNED}`, task({ assignee: "ann" })));
  assert.ok(!matches("priority=high", task()));
});

test("the service is asked for the same", () => {
  /** @param {string} query @param {string} [me] */
  const asked = (query, me = "ann") => apiQuery(readFilter(new URLSearchParams(query)), me).toString();
  assert.equal(asked("q=a+b&assignee=me&state=failed&tags=x&old=1"), "q=a+b&assignee=me&tags=x&state=failed&old=true");
  assert.equal(asked("assignee=me", ""), "ids=00000000-0000-0000-0000-000000000000", "no task is theirs");
  assert.equal(asked(`q=${"x".repeat(300)}`).length, "q=".length + 200);
});

test("what the service has found counts, not the words that the page knows", () => {
  const isWanted = matcher(readFilter(new URLSearchParams("q=uber")), "ann", new Set(["a"]));
  assert.ok(isWanted(task({ text: "über" }), undefined));
  assert.ok(!isWanted(task({ id: "b", text: "uber" }), undefined));
});

test("of the states one is enough", () => {
  assert.ok(matches("state=ready", task()));
  assert.ok(!matches("state=ready", task(), run()));
  assert.ok(matches("state=running&state=waiting", task(), run({ waiting: { reason: "capacity", position: 2 } })));
  assert.ok(!matches("state=running", task(), run({ waiting: { reason: "capacity", position: 2 } })));
  assert.ok(matches("state=failed", task({ last_run: failed })));
  assert.ok(!matches("state=failed", task({ last_run: failed }), run()), "it runs again");
  assert.ok(!matches("state=failed", task({ last_run: { ...failed, status: "completed" } })));
  assert.ok(matches("state=blocked&state=stale", task({ stale: true })));
});

test("what a task needs of people", () => {
  assert.equal(needOf(task({ held_back: true, waiting_for: "person" }), undefined, "ann"), "held");
  assert.equal(needOf(task({ waiting_for: "answer" }), undefined, "ann"), "question");
  const own = { waiting_for: "answer", question_by: "ann" };
  assert.equal(needOf(task(own), undefined, "ann"), "", "one's own question waits for others");
  assert.equal(needOf(task({ ...own, last_run: failed }), undefined, "ann"), "failure");
  assert.equal(needOf(task(own), undefined, "bob"), "question");
  assert.equal(needOf(task({ waiting_for: "review", last_run: failed }), undefined, "ann"), "review-of");
  assert.equal(needOf(task({ last_run: failed }), undefined, "ann"), "failure");
  assert.equal(needOf(task({ last_run: failed }), run(), "ann"), "");
  assert.equal(needOf(task({ last_run: failed, status: "done" }), undefined, "ann"), "");
  assert.ok(isOf(task({ created_by: "ann" }), "ann") && isOf(task({ assignee: "ann" }), "ann"));
  assert.ok(!isOf(task(), ""), "an unassigned task is not that of a reader without a name");
});

test("how a run ended", () => {
  assert.equal(outcomeText(/** @type {any} */ (failed)), "failed, exit 3");
  assert.equal(outcomeText(/** @type {any} */ ({ ...failed, status: "timed_out", exit_code: 143 })), "timed out");
  assert.equal(outcomeText(/** @type {any} */ ({ ...failed, status: "completed", exit_code: 0 })), "completed");
});

test("a task that is done leaves after so many days without a change", () => {
  const now = Date.parse("2026-02-01T00:00:00Z");
  assert.ok(isOld(task({ status: "done" }), 30, now));
  assert.ok(!isOld(task({ status: "done" }), 31, now));
  assert.ok(!isOld(task({ status: "done" }), 0, now));
  assert.ok(!isOld(task(), 30, now));
});

test("initials, and a colour that stays", () => {
  const names = {
    alice: "AL",
    "agent-2": "A2",
    "operator/make run": "MR",
    "alice/": "AL",
    "carol-with-a-long-name": "CN",
    x: "X",
    "": "?",
    "👩‍🚀 Žofie": "👩‍🚀Ž",
  };
  for (const [name, letters] of Object.entries(names)) assert.equal(initials(name), letters);
  assert.equal(hue("alice"), hue("alice"));
  assert.ok(hue("👩‍🚀") < 8);
});
