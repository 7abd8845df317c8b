import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { requests, reset, server, settled } from "./browser.js";
import { TaskStore } from "../../taskhub/static/taskhub/task-store.js";

/**
 * @import { HubEvent } from "../../taskhub/static/taskhub/hub.js"
 * @typedef {Record<string, unknown>} Row
 */

/** @param {Row} [fields] @returns {any} */
const task = (fields = {}) => ({
  id: "a",
  title: "Title",
  description: "",
  status: "todo",
  priority: "low",
  assignee: "",
  tags: [],
  artifacts: [],
  private: false,
  version: 1,
  updated_at: "2026-01-01T00:00:00Z",
  ...fields,
});
/** @param {string} name @param {Row} data @param {string} [timestamp] @returns {HubEvent} */
const event = (name, data, timestamp = "2026-01-01T00:00:09Z") =>
  /** @type {any} */ ({ name, data, about: { timestamp, isResumed: true, id: "" } });
/** @param {Row} [fields] */
const updated = (fields = {}) => {
  const { id, ...rest } = task({ version: 2, ...fields, description: undefined });
  return event("task_updated", { task_id: id, changed: [], previous: {}, ...rest });
};

/** @param {string} [id] @returns {Row} */
const running = (id = "a") => ({
  ...{ task_id: id, status: "running", queued_at: "1", started_at: "2" },
  ...{ waiting: null, ending: null, kind: "run" },
});

/** The rows of the server: tasks by status, and executions. @type {{ tasks: Row[], executions: Row[], needs: Row[] }} */
let rows;
/** @type {TaskStore} */
let store;
/** @type {string[]} */
let errors;

beforeEach(() => {
  reset();
  rows = { tasks: [task()], executions: [], needs: [] };
  errors = [];
  store = new TaskStore({ onChange: () => {}, onError: (text) => errors.push(text) });
  server.answer = ({ url }) => ({
    body: url.includes("/tasks/board/") ? boardOf(url) : { results: rowsOf(url), next: null },
  });
});

/** A page of a column from where the last one ended, as the service answers. @param {string} url */
function boardOf(url) {
  const { searchParams: query } = new URL(url, "http://hub");
  const size = Number(query.get("page_size"));
  const from = Number(query.get("cursor") ?? 0);
  const wanted = query.has("status") ? query.getAll("status") : ["todo", "inprogress", "done"];
  const columns = wanted.map((status) => {
    const all = rows.tasks.filter((row) => row["status"] === status);
    const results = all.slice(from, from + size);
    const end = from + size;
    return {
      status,
      count: all.length,
      total: all.length,
      cursor: size && end < all.length ? String(end) : null,
      results,
    };
  });
  const summary = { states: { ready: rows.tasks.length }, assignees: ["ann"], tags: ["blue"], needs: rows.needs };
  return { columns, summary: query.has("cursor") ? null : summary };
}

/** @param {string} url */
function rowsOf(url) {
  const { pathname, searchParams } = new URL(url, "http://hub");
  const statuses = searchParams.getAll("status");
  const list = pathname === "/api/executions/" ? rows.executions : rows.tasks;
  return list.filter(({ status }) => statuses.includes(String(status)));
}

test("the snapshot has all statuses that the page brought, and the active executions", async () => {
  rows.tasks = [task(), task({ id: "b", status: "done" })];
  rows.executions = [
    running(),
    { ...running("b"), status: "queued", started_at: null, waiting: { reason: "capacity", position: 3 } },
    { task_id: null, status: "running", queued_at: "1", started_at: "2" },
    { task_id: "c", status: "completed", queued_at: "1", started_at: "2" },
  ];
  await store.load();
  assert.ok(store.isLoaded);
  assert.deepEqual([...store.tasks.keys()], ["a", "b"]);
  assert.deepEqual(Object.fromEntries(store.runs), {
    a: { step: "running", since: "2", waiting: null, ending: null, kind: "run" },
    b: { step: "queued", since: "1", waiting: { reason: "capacity", position: 3 }, ending: null, kind: "run" },
  });
  assert.equal(requests.length, 2);
  assert.deepEqual(errors, [""]);
});

test("an event changes its task and keeps the description, an older one changes nothing", async () => {
  rows.tasks = [task({ description: "kept", version: 3 })];
  await store.load();
  store.take(updated({ version: 2, title: "Old" }));
  assert.equal(store.tasks.get("a")?.title, "Title");
  store.take(updated({ version: 4, title: "New", status: "done" }));
  const { title, status, description, version } = store.tasks.get("a") ?? {};
  assert.deepEqual([title, status, description, version], ["New", "done", "kept", 4]);
});

test("the search text has title, description, assignee, tags and id, in lower case", async () => {
  rows.tasks = [task({ title: "TITLE", description: "Words", assignee: "Ann", tags: ["Blue"] })];
  await store.load();
  for (const word of ["title", "words", "ann", "blue", "a"]) assert.ok(store.tasks.get("a")?.text.includes(word), word);
});

test("events that come while the snapshot is read are applied after it", async () => {
  const loading = store.load();
  store.take(updated({ title: "New" }));
  store.take(event("task_created", { task_id: "b", ...task({ id: undefined, title: "Second" }) }));
  store.take(event("execution_event", { task_id: "a", execution_event: "started" }));
  await loading;
  assert.deepEqual(
    [...store.tasks.values()].map(({ title }) => title),
    ["New", "Second"],
  );
  const since = "2026-01-01T00:00:09Z";
  assert.deepEqual(store.runs.get("a"), { step: "running", since, waiting: null, ending: null, kind: "run" });
});

test("a deleted task is gone with its run, also where it was in the snapshot", async () => {
  rows.executions = [running()];
  const loading = store.load();
  store.take(event("task_deleted", { task_id: "a" }));
  await loading;
  assert.equal(store.tasks.size + store.runs.size, 0);
});

test("a run ends with its execution", async () => {
  await store.load();
  store.take(event("execution_event", { task_id: "a", execution_event: "started" }));
  assert.ok(store.runs.has("a"));
  store.take(event("execution_event", { task_id: "a", execution_event: "failed" }));
  assert.ok(!store.runs.has("a"));
});

test("the end of a superseded verification is not the end of the run", async () => {
  await store.load();
  store.take(event("execution_event", { task_id: "a", execution_event: "started", kind: "verify" }));
  assert.equal(store.runs.get("a")?.kind, "verify");
  store.take(event("execution_event", { task_id: "a", execution_event: "started" }));
  store.take(event("execution_event", { task_id: "a", execution_event: "stopped", kind: "verify" }));
  assert.equal(store.runs.get("a")?.kind, "run");
});

test("a verdict is the task's, until it is void", async () => {
  await store.load();
  const told = { task_id: "a", assignee: "", updated_at: "2026-01-02T00:00:00Z" };
  store.take(event("task_verified", { ...told, verified: "passed", version: 2 }));
  const { verified, version } = store.tasks.get("a") ?? {};
  assert.deepEqual([verified, version], ["passed", 2]);
  store.take(event("task_verified", { ...told, verified: null, version: 3 }));
  assert.equal(store.tasks.get("a")?.verified, null);
});

test("a task that moves between two lists is where its later version is", async () => {
  rows.tasks = [task({ status: "done", version: 2 }), task({ status: "todo", version: 1 })];
  await store.load();
  assert.equal(store.tasks.get("a")?.status, "done");
});

test("a column has its first cards, and more on demand", async () => {
  rows.tasks = Array.from({ length: 5 }, (_, n) => task({ id: String(n) }));
  store = new TaskStore({ onChange: () => {}, onError: () => {}, step: 2 });
  await store.load();
  assert.deepEqual([...store.tasks.keys()], ["0", "1"]);
  const { count, total, cursor } = store.columns.get("todo") ?? {};
  assert.deepEqual([count, total, cursor], [5, 5, "2"]);
  await Promise.all([store.more("todo"), store.more("todo")]);
  assert.equal(requests.length, 3, "a page that is being read is not asked for again");
  await store.more("todo");
  assert.deepEqual([...store.tasks.keys()], ["0", "1", "2", "3", "4"]);
  assert.equal(store.columns.get("todo")?.cursor, null);
  await store.more("todo");
  assert.equal(requests.length, 4, "there are no more");
});

test("a task that is deleted while a page is read does not come back", async () => {
  rows.tasks = [task(), task({ id: "b" })];
  store = new TaskStore({ onChange: () => {}, onError: () => {}, step: 1 });
  await store.load();
  const reading = store.more("todo");
  store.take(event("task_deleted", { task_id: "b" }));
  await reading;
  assert.deepEqual([...store.tasks.keys()], ["a"]);
});

test("the service counts, soon after an event, and tells what needs the reader", async (t) => {
  await store.load();
  assert.deepEqual(store.summary, { states: { ready: 1 }, assignees: ["ann"], tags: ["blue"] });
  t.mock.timers.enable({ apis: ["setTimeout"] });
  rows.tasks.push(task({ id: "b" }), task({ id: "c" }));
  rows.needs = [task({ id: "n", waiting_for: "answer" })];
  for (const id of ["b", "c"]) store.take(event("task_created", { task_id: id, ...task({ id: undefined }) }));
  const asked = requests.length;
  t.mock.timers.tick(3000);
  for (let n = 0; n < 100 && !store.tasks.has("n"); n += 1) await settled();
  assert.equal(requests.length, asked + 1, "once, however many events there were");
  assert.equal(store.columns.get("todo")?.count, 3);
  assert.equal(store.tasks.get("n")?.waiting_for, "answer");
});

test("a search is the service's, and so is what it finds after a change", async () => {
  rows.tasks = [task({ id: "b", title: "Über" })];
  store.filter(new URLSearchParams("q=uber"));
  await store.load();
  assert.ok(requests.some(({ url }) => url.includes("q=uber")));
  assert.deepEqual([...(store.found ?? [])], ["b"]);
  store.take(event("task_created", { task_id: "c", ...task({ id: undefined }) }));
  assert.ok(!store.found?.has("c"), "only the service knows");
  rows.tasks.push(task({ id: "c" }));
  await store.count();
  assert.ok(store.found?.has("c"));
});

test("a snapshot that cannot be read is read again, and events are kept meanwhile", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const answer = server.answer;
  server.answer = () => ({ status: 503, body: { error: { message: "Not now." } } });
  await store.load();
  assert.deepEqual(errors, ["The tasks could not be read: Not now. Trying again."]);
  assert.ok(!store.isLoaded);
  store.take(updated({ title: "New" }));
  server.answer = answer;
  t.mock.timers.tick(3000);
  for (let n = 0; n < 100 && !errors.includes(""); n += 1) await settled();
  assert.equal(store.tasks.get("a")?.title, "New");
  assert.equal(errors.at(-1), "");
});

test("a later load replaces an earlier one that answers late", async () => {
  /** @type {((value: unknown) => void)[]} */
  const late = [];
  const answer = server.answer;
  server.answer = async (asked) => {
    await new Promise((resolve) => late.push(resolve));
    return answer(asked);
  };
  const first = store.load();
  await settled();
  server.answer = answer;
  rows.tasks = [task({ title: "Later", version: 5 })];
  await store.load();
  rows.tasks = [task({ title: "Earlier" })];
  for (const release of late) release(null);
  await first;
  assert.deepEqual(
    [...store.tasks.values()].map(({ title }) => title),
    ["Later"],
  );
});

test("an answer over REST does not replace a newer version", async () => {
  rows.tasks = [task({ version: 7 })];
  await store.load();
  store.put(task({ version: 6, title: "Old" }));
  assert.equal(store.tasks.get("a")?.title, "Title");
});

test("an event tells why an execution waits; positions and endings are looked at", async () => {
  await store.load();
  store.take(event("execution_event", { task_id: "a", execution_event: "waiting", reason: "capacity", position: 4 }));
  assert.deepEqual(store.runs.get("a")?.waiting, { reason: "capacity", position: 4 });
  rows.executions = [{ ...running(), status: "queued", waiting: { reason: "capacity", position: 2 } }];
  await store.lookAtRuns();
  assert.deepEqual(store.runs.get("a")?.waiting, { reason: "capacity", position: 2 });
  rows.executions = [{ ...running(), ending: "stopped" }];
  await store.lookAtRuns();
  assert.equal(store.runs.get("a")?.ending, "stopped");
  rows.executions = [];
  await store.lookAtRuns();
  assert.equal(store.runs.size, 0);
  const asked = requests.length;
  await store.lookAtRuns();
  assert.equal(requests.length, asked, "where nothing runs, nothing is asked");
});

test("what an event says while runs are looked at is newer than what is read", async () => {
  rows.executions = [running("a"), running("b")];
  await store.load();
  const looking = store.lookAtRuns();
  store.take(event("execution_event", { task_id: "a", execution_event: "completed" }));
  store.take(event("execution_event", { task_id: "c", execution_event: "started" }));
  await looking;
  assert.deepEqual([...store.runs.keys()].sort(), ["b", "c"]);
});

test("a look that fails changes nothing, and is no error on the page", async () => {
  rows.executions = [running()];
  await store.load();
  server.answer = () => ({ status: 503, body: { error: { message: "Not now." } } });
  await store.lookAtRuns();
  assert.ok(store.runs.has("a"));
  assert.deepEqual(errors, [""]);
});

test("a task has its status and its holder since the event that told it, and keeps what events do not say", async () => {
  const facts = {
    created_by: "ann",
    status_since: "1",
    held_since: "2",
    stale: true,
    last_run: null,
    open_blockers: 2,
  };
  rows.tasks = [task({ ...facts, holder: "ann/one", ready: false })];
  await store.load();
  store.take(updated({ holder: "ann/one", title: "New" }));
  let now = store.tasks.get("a");
  assert.deepEqual([now?.created_by, now?.status_since, now?.held_since, now?.stale], ["ann", "1", "2", false]);
  assert.equal(now?.open_blockers, 2);
  const moved = {
    status: "inprogress",
    holder: "ann/two",
    version: 3,
    updated_at: "2026-01-05T00:00:00Z",
    ready: true,
  };
  store.take(updated(moved));
  now = store.tasks.get("a");
  assert.deepEqual([now?.status_since, now?.held_since], [moved.updated_at, moved.updated_at]);
  assert.equal(now?.open_blockers, 0);
  store.take(updated({ ...moved, holder: undefined, version: 4 }));
  assert.equal(store.tasks.get("a")?.held_since, null);
});

test("a task that events alone reported is looked up, and stale ones are looked for", async () => {
  rows.tasks = [task({ created_by: "ann" })];
  await store.load();
  store.take(event("task_created", { task_id: "b", ...task({ id: undefined, ready: false }) }));
  assert.deepEqual([store.tasks.get("b")?.created_by, store.tasks.get("b")?.open_blockers], [null, 1]);
  server.answer = ({ url }) => {
    const isStale = url.includes("stale=true");
    const row = isStale ? task({ stale: true }) : task({ id: "b", created_by: "ann", open_blockers: 3, title: "Old" });
    return { body: { results: [row], next: null } };
  };
  requests.length = 0;
  await store.lookAtFacts();
  assert.equal(requests.length, 2);
  const made = store.tasks.get("b");
  assert.deepEqual([made?.created_by, made?.open_blockers, made?.title, made?.stale], ["ann", 3, "Title", false]);
  assert.ok(store.tasks.get("a")?.stale);
  await store.lookAtFacts();
  assert.equal(requests.length, 3, "nothing is unknown any more");
});

test("a run that has ended is the last run, a verification is none", async () => {
  await store.load();
  const ended = { task_id: "a", execution_id: "e", execution_event: "failed", exit_code: 3 };
  store.take(event("execution_event", { ...ended, kind: "verify" }));
  assert.equal(store.tasks.get("a")?.last_run, null);
  store.take(event("execution_event", ended));
  const last = {
    execution_id: "e",
    status: "failed",
    exit_code: 3,
    error_code: "",
    finished_at: "2026-01-01T00:00:09Z",
  };
  assert.deepEqual(store.tasks.get("a")?.last_run, last);
});

test("a question and its answer change what the task waits for", async () => {
  await store.load();
  const note = { task_id: "a", note_id: 7, kind: "question", text: "Which?", waiting_for: "answer" };
  store.take(event("note_added", note));
  assert.equal(store.tasks.get("a")?.waiting_for, "answer");
  assert.equal(store.questions.get("a")?.note_id, 7);
  store.take(event("note_added", { ...note, note_id: 8, kind: "answer", waiting_for: "" }));
  assert.deepEqual([store.tasks.get("a")?.waiting_for, store.questions.get("a")], ["", null]);
});
