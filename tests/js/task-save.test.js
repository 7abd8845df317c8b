import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { requests, reset, server } from "./browser.js";
import { Refused } from "../../taskhub/static/taskhub/api.js";
import { Draft, save } from "../../taskhub/static/taskhub/task-save.js";

/** @import { Task } from "schemas" */

/** @param {Record<string, unknown>} [fields] @returns {Task} */
const task = (fields = {}) => /** @type {any} */ ({ id: "a", title: "Title", tags: ["one"], version: 1, ...fields });

/** The task at the service, which takes changes of its present version alone. */
let there = task();
/** What others do before the next change arrives. @type {Record<string, unknown>[]} */
let others = [];

beforeEach(() => {
  reset();
  there = task();
  others = [];
  server.answer = ({ method, url, headers, body }) => {
    if (url.includes("/history/")) return { body: { results: [changeBy("bob", "title", 2)], next: null } };
    if (method === "GET") return { body: there };
    const other = others.shift();
    if (other) there = { ...there, ...other, version: there.version + 1 };
    if (headers["If-Match"] !== `"${there.version}"`)
      return { status: 412, body: { error: { code: "version_conflict", message: "Changed.", details: there } } };
    there = { ...there, .../** @type {object} */ (body), version: there.version + 1 };
    return { body: there };
  };
});

/**
 * @param {string} actor
 * @param {string} field
 * @param {number} id
 */
const changeBy = (actor, field, id) => ({
  id,
  actor,
  action: "task:update",
  at: "2026-01-01T00:00:00Z",
  changes: { [field]: ["x", "y"] },
});
const patches = () => requests.filter(({ method }) => method === "PATCH").map(({ body }) => body);

test("a change of another field by others is no conflict", async () => {
  others = [{ tags: ["two"] }];
  const saved = await new Draft(task()).save({ title: "Mine" });
  assert.deepEqual([saved.title, saved.tags, saved.version], ["Mine", ["two"], 3]);
});

test("a change of the same field by others is shown, and overwritten only when it is saved again", async () => {
  others = [{ title: "Theirs" }];
  const draft = new Draft(task());
  await assert.rejects(draft.save({ title: "Mine" }), (error) => {
    assert.ok(error instanceof Refused);
    assert.match(error.message, /bob changed title.*not saved/);
    return true;
  });
  assert.equal(there.title, "Theirs");
  assert.equal(draft.task.title, "Theirs");
  const saved = await draft.save({ title: "Mine" });
  assert.equal(saved.title, "Mine");
});

test("what others have made of it, or nothing, is not sent", async () => {
  assert.equal((await new Draft(task()).save({ title: "Title" })).version, 1);
  assert.deepEqual(patches(), []);
  others = [{ title: "Same" }];
  assert.equal((await new Draft(task()).save({ title: "Same" })).version, 2);
  assert.equal(patches().length, 1);
});

test("an edit of a list is made again on what others have made of it", async () => {
  others = [{ tags: ["one", "two"] }, { tags: ["two"] }];
  const saved = await save(task(), ({ tags }) => ({ tags: [...tags, "mine"] }));
  assert.deepEqual(saved.tags, ["two", "mine"]);
});

test("a task that others keep changing is given up", async () => {
  others = Array.from({ length: 9 }, (_, n) => ({ tags: [String(n)] }));
  await assert.rejects(
    save(task(), () => ({ title: "Mine" })),
    Refused,
  );
  assert.equal(patches().length, 5);
});
