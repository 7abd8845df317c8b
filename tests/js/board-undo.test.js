import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { requests, reset, server } from "./browser.js";
import { undoOf } from "../../taskhub/static/taskhub/board-undo.js";

/** @param {Record<string, unknown>} [fields] @returns {any} */
const task = (fields = {}) => ({
  ...{ id: "a", title: "Title", status: "todo", assignee: "ann", holder: "", closed_as: "", version: 1 },
  ...fields,
});
/** @type {any[]} */
let put;

beforeEach(() => {
  reset();
  put = [];
  server.answer = ({ body }) => ({ body: task({ version: 3, ...(body ?? {}) }) });
});

/** @param {any} before @param {any} after */
const undo = (before, after) => undoOf([{ before, after }], (changed) => void put.push(changed));

test("a status and an assignee go back, in the version that the change made", async () => {
  await undo(task(), task({ status: "inprogress", version: 2 }))?.();
  await undo(task(), task({ assignee: "bob", version: 2 }))?.();
  assert.deepEqual(
    requests.map(({ method, body, headers }) => [method, body, headers["If-Match"]]),
    [
      ["PUT", { new_status: "todo" }, '"2"'],
      ["PATCH", { assignee: "ann" }, '"2"'],
    ],
  );
  assert.equal(put.length, 2);
});

test("what cannot be undone is not offered", () => {
  const moved = task({ status: "inprogress", version: 2 });
  assert.equal(undo(task({ holder: "ann/one" }), moved), null, "the agent's lease has ended");
  assert.equal(undo(task({ status: "done", closed_as: "duplicate" }), task({ version: 2 })), null);
  assert.equal(undo(task({ status: "review" }), task({ status: "done", version: 2 })), null, "there is no way back");
  assert.equal(undo(task(), task({ version: 2 })), null, "nothing was changed");
});

test("a change of another is not overwritten, and the others are undone", async () => {
  server.answer = ({ url }) =>
    url.includes("/a/")
      ? { status: 412, body: { error: { code: "conflict", message: "Changed.", details: { version: 3 } } } }
      : { body: url.includes("history") ? { results: [], next: null } : task({ id: "b", version: 3 }) };
  const changes = ["a", "b"].map((id) => ({
    before: task({ id }),
    after: task({ id, status: "inprogress", version: 2 }),
  }));
  const all = undoOf(changes, (changed) => void put.push(changed));
  await assert.rejects(async () => all?.(), /Title/);
  assert.deepEqual(
    put.map(({ id }) => id),
    ["b"],
  );
});
