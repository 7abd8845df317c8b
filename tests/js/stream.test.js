import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { FakeEventSource, page, requests, reset, server, settled } from "./browser.js";
import { token } from "../../taskhub/static/taskhub/api.js";
import { Stream } from "../../taskhub/static/taskhub/stream.js";

/**
 * @import { TestContext } from "node:test"
 * @import { Kinds } from "../../taskhub/static/taskhub/stream.js"
 */

const SOURCES = FakeEventSource.made;
const made = () => FakeEventSource.last;

/**
 * A stream, and what it said.
 *
 * @param {object} [options]
 * @param {keyof Kinds} [options.kind]
 * @param {Record<string, string> | null} [options.target]
 */
function watched({ kind = "events", target = {} } = {}) {
  const seen = {
    /** @type {any[]} */ events: [],
    /** @type {string[]} */ states: [],
    /** @type {string[]} */ texts: [],
    resets: 0,
    target,
  };
  const stream = new Stream({
    kind,
    target: () => seen.target,
    onState: (state, text) => {
      if (seen.states.at(-1) !== state) seen.states.push(state);
      seen.texts.push(text);
    },
    onEvent: (event) => seen.events.push(event),
    onReset: () => (seen.resets += 1),
  });
  return { stream, seen };
}

/** @param {string} event @param {object} [data] */
const envelope = (event, data = {}) => ({ id: "x", event, data, timestamp: "2026-01-01T00:00:00Z" });

/** Time passes only when the test says so, and chance is in the middle. @param {TestContext} t */
function control(t) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  t.mock.method(Math, "random", () => 0.5);
}

beforeEach(reset);

test("it connects, parses the envelope and remembers the last id", async () => {
  const { stream, seen } = watched({ target: { types: "announcement", task_id: "" } });
  stream.connect();
  await settled();
  assert.equal(made().url, "/api/events/stream?types=announcement");
  made().open();
  made().send("message", envelope("task_deleted", { task_id: "a" }), "tasks:7");
  assert.deepEqual(seen.states, ["offline", "connecting", "connected"]);
  assert.deepEqual(seen.events, [
    {
      name: "task_deleted",
      data: { task_id: "a" },
      about: { isResumed: false, timestamp: "2026-01-01T00:00:00Z", id: "tasks:7" },
    },
  ]);
  assert.equal(stream.lastId, "tasks:7");
});

test("a lost connection is resumed after the last id, later with each try", async (t) => {
  control(t);
  const { stream, seen } = watched();
  stream.connect();
  await settled();
  made().open();
  made().send("message", envelope("connected"), "tasks:7");
  for (const ms of [2000, 4000, 8000, 16_000, 30_000, 30_000]) {
    const count = SOURCES.length;
    made().lose();
    assert.equal(seen.states.at(-1), "reconnecting");
    assert.equal(seen.texts.at(-1), `The connection was lost. Trying again in ${ms / 1000} s.`);
    t.mock.timers.tick(ms - 1);
    await settled();
    assert.equal(SOURCES.length, count);
    t.mock.timers.tick(1);
    await settled();
    assert.equal(SOURCES.length, count + 1);
    assert.equal(made().url, "/api/events/stream?&lastEventId=tasks%3A7");
  }
  made().open();
  made().send("message", envelope("task_deleted"), "tasks:8");
  assert.equal(seen.events.at(-1).about.isResumed, true);
  made().lose();
  assert.match(seen.texts.at(-1) ?? "", /in 2 s/, "a connection that stood begins the count anew");
});

test("a server that shuts down says when to come back", async (t) => {
  control(t);
  const { stream, seen } = watched();
  stream.connect();
  await settled();
  made().open();
  made().send("message", envelope("disconnected", { reason: "shutdown", reconnect_in_ms: 500 }));
  assert.equal(made().readyState, FakeEventSource.CLOSED);
  assert.equal(seen.texts.at(-1), "The server restarts. Trying again in 1 s.");
  t.mock.timers.tick(500);
  await settled();
  assert.equal(SOURCES.length, 2);
});

test("a stream whose credentials were revoked does not come back by itself, and may be resumed", async (t) => {
  control(t);
  const { stream, seen } = watched();
  stream.connect();
  await settled();
  made().send("message", envelope("disconnected", { reason: "revoked", reconnect_in_ms: 500 }), "tasks:3");
  assert.equal(stream.state, "ended");
  assert.match(seen.texts.at(-1) ?? "", /revoked/);
  t.mock.timers.tick(60_000);
  await settled();
  assert.equal(SOURCES.length, 1);
  stream.connect();
  await settled();
  assert.match(made().url, /lastEventId=tasks%3A3/);
});

test("an unknown reason is shown as it is and ends the stream", async () => {
  const { stream, seen } = watched();
  stream.connect();
  await settled();
  made().send("message", envelope("disconnected", { reason: "newer" }));
  assert.deepEqual([stream.state, seen.texts.at(-1)], ["ended", "newer"]);
});

test("a refusal is read, and one that does not pass is not repeated", async (t) => {
  control(t);
  server.answer = () => ({ status: 401, body: { error: { message: "Send a token." } } });
  const { stream, seen } = watched();
  stream.connect();
  await settled();
  made().refuse();
  await settled();
  assert.equal(requests.length, 1);
  assert.equal(seen.texts.at(-1), "Refused: Send a token. Sign in, or use a token.");
  assert.equal(stream.state, "offline");
  t.mock.timers.tick(60_000);
  await settled();
  assert.equal(SOURCES.length, 1);
});

test("a full server is asked again when it says", async (t) => {
  control(t);
  server.answer = () => ({ status: 503, headers: { "Retry-After": "7" }, body: { error: { message: "Full." } } });
  const { stream, seen } = watched();
  stream.connect();
  await settled();
  made().refuse();
  await settled();
  assert.equal(stream.state, "reconnecting");
  assert.match(seen.texts.at(-1) ?? "", /^Full\. .*in 7 s\.$/);
  t.mock.timers.tick(7000);
  await settled();
  assert.equal(SOURCES.length, 2);
});

test("204 is the end: everything was received", async () => {
  server.answer = () => ({ status: 204 });
  const { stream } = watched({ kind: "execution-log", target: { task_id: "a b", execution_id: "e" } });
  stream.connect();
  await settled();
  assert.equal(made().url, "/api/exec/logs/a%20b/stream?execution_id=e");
  made().refuse();
  await settled();
  assert.equal(stream.state, "ended");
});

test("a server that does not answer is asked again", async (t) => {
  control(t);
  server.answer = () => Promise.reject(new TypeError("no network"));
  const { stream } = watched();
  stream.connect();
  await settled();
  made().refuse();
  await settled();
  assert.equal(stream.state, "reconnecting");
});

test("a log ends with log-complete; connecting again begins it anew", async () => {
  const { stream, seen } = watched({ kind: "execution-log", target: { task_id: "a" } });
  stream.connect();
  await settled();
  made().send("log", { n: 1, stream: "stdout", line: "x" }, "e:1");
  made().send("log-complete", { exit_code: 0, lines: 1 }, "e:1:end");
  assert.deepEqual(
    seen.events.map(({ name }) => name),
    ["log", "log-complete"],
  );
  assert.equal(stream.state, "ended");
  assert.equal(seen.resets, 1);
  stream.connect();
  await settled();
  assert.equal(seen.resets, 2);
  assert.doesNotMatch(made().url, /lastEventId/);
});

test("another target resets, the same one resumes, none disconnects", async () => {
  const { stream, seen } = watched({ target: { task_id: "a" } });
  stream.connect();
  await settled();
  made().send("message", envelope("connected"), "tasks:1");
  stream.connect();
  await settled();
  assert.match(made().url, /lastEventId/);
  assert.equal(seen.resets, 1);
  seen.target = { task_id: "b" };
  stream.connect();
  await settled();
  assert.doesNotMatch(made().url, /lastEventId/);
  assert.equal(seen.resets, 2);
  seen.target = null;
  stream.connect();
  assert.equal(stream.state, "offline");
  assert.ok(SOURCES.every(({ readyState }) => readyState === FakeEventSource.CLOSED));
});

test("a hidden tab has no stream; on return it resumes", async () => {
  const { stream } = watched();
  stream.connect();
  await settled();
  made().open();
  made().send("message", envelope("connected"), "tasks:1");
  page.setHidden(true);
  assert.equal(stream.state, "paused");
  assert.equal(made().readyState, FakeEventSource.CLOSED);
  page.setHidden(false);
  await settled();
  assert.equal(SOURCES.length, 2);
  assert.match(made().url, /lastEventId=tasks%3A1/);
});

test("a tab that is hidden from the start connects when it is seen", async () => {
  page.hidden = true;
  const { stream } = watched();
  stream.connect();
  await settled();
  assert.deepEqual([stream.state, SOURCES.length], ["paused", 0]);
  page.setHidden(false);
  await settled();
  assert.equal(SOURCES.length, 1);
});

test("a browser that is online again tries at once", async (t) => {
  control(t);
  const { stream } = watched();
  stream.connect();
  await settled();
  made().lose();
  page.dispatchEvent(new Event("online"));
  await settled();
  assert.equal(SOURCES.length, 2);
  t.mock.timers.tick(60_000);
  await settled();
  assert.equal(SOURCES.length, 2, "the timer of the earlier try is gone");
});

test("with a token each connection has a ticket of its own", async (t) => {
  control(t);
  token.set("secret");
  let n = 0;
  server.answer = () => ({ status: 201, body: { url: `http://elsewhere/api/events/stream?ticket=${++n}` } });
  const { stream } = watched({ target: { types: "announcement", task_id: "" } });
  stream.connect();
  await settled();
  assert.deepEqual(requests[0]?.body, { kind: "events", params: { types: "announcement" } });
  assert.equal(requests[0].headers["Authorization"], "Bearer secret");
  assert.equal(made().url, "/api/events/stream?ticket=1");
  made().send("message", envelope("connected"), "tasks:1");
  made().lose();
  t.mock.timers.tick(2000);
  await settled();
  assert.equal(made().url, "/api/events/stream?ticket=2&lastEventId=tasks%3A1");
});

test("a stream that is closed while its ticket is made is not opened", async () => {
  token.set("secret");
  /** @type {(value: unknown) => void} */
  let release = () => {};
  server.answer = async () => {
    await new Promise((resolve) => (release = resolve));
    return { status: 201, body: { url: "http://elsewhere/api/events/stream?ticket=1" } };
  };
  const { stream } = watched();
  stream.connect();
  await settled();
  stream.disconnect();
  release(null);
  await settled();
  assert.deepEqual([stream.state, SOURCES.length], ["offline", 0]);
});

test("a refused ticket is shown unless the stream was closed meanwhile", async () => {
  token.set("secret");
  server.answer = () => ({ status: 401, body: { error: { message: "Wrong token." } } });
  const { stream, seen } = watched();
  stream.connect();
  await settled();
  assert.equal(seen.texts.at(-1), "Refused: Wrong token. Sign in, or use a token.");
});

test("trouble is shown until the next event", async () => {
  const { stream, seen } = watched({ kind: "sse", target: { eventType: "logs" } });
  stream.connect();
  await settled();
  made().open();
  made().send("error", { code: "x", message: "Daytona does not answer.", retry_in_ms: 4000 });
  assert.equal(seen.texts.at(-1), "Daytona does not answer. The server tries again in 4 s.");
  made().send("log", { n: 1 });
  assert.equal(seen.texts.at(-1), "");
  made().send("log", "{not json");
  assert.match(seen.texts.at(-1) ?? "", /not JSON/);
  assert.equal(stream.state, "connected");
});

test("a stream that is closed while the refusal is read stays closed", async () => {
  /** @type {(value: unknown) => void} */
  let release = () => {};
  server.answer = async () => {
    await new Promise((resolve) => (release = resolve));
    return { status: 503, body: { error: { message: "Full." } } };
  };
  const { stream } = watched();
  stream.connect();
  await settled();
  made().refuse();
  await settled();
  stream.disconnect();
  release(null);
  await settled();
  assert.equal(stream.state, "offline");
});

test("a stream that was disconnected stays so when the tab is hidden and seen again", async () => {
  const { stream } = watched();
  stream.connect();
  await settled();
  stream.disconnect();
  page.setHidden(true);
  page.setHidden(false);
  await settled();
  assert.deepEqual([stream.state, SOURCES.length], ["offline", 1]);
});
