import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { page, reset, server, settled } from "./browser.js";

/** The ids of the tasks that wait. @type {string[]} */
let waiting = [];
let wanted = { title: true, notify: false };

/** As in Chrome on Android. */
function NoNotification() {
  throw new TypeError("Illegal constructor. Use ServiceWorkerRegistration.showNotification() instead.");
}
NoNotification.permission = "granted";

const globals = {
  localStorage: { getItem: () => JSON.stringify(wanted) },
  window: { Notification: NoNotification },
  Notification: NoNotification,
};
for (const [name, value] of Object.entries(globals))
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });

// For all tests: the module keeps its timer from one to the next.
mock.timers.enable({ apis: ["setTimeout"] });

beforeEach(() => {
  reset();
  waiting = [];
  server.answer = () => {
    const results = waiting.map((id) => ({
      id,
      title: id,
      waiting_for: "answer",
      question_by: id.startsWith("own") ? "alice" : "bob/one",
    }));
    return { body: { results, next: null } };
  };
  page.metas["meta[name=role]"] = { content: "agent", dataset: { name: "alice" } };
  page.metas["meta[name=csrf-token]"] = { content: "x" };
});

/** The first look of a page of this title, and one after events. @param {string} title */
async function looking(title) {
  const { noteEvent, startNotices } = await import("../../taskhub/static/taskhub/notices.js");
  const answered = async () => {
    for (let turn = 0; turn < 10; turn += 1) await settled();
  };
  page.title = title;
  startNotices();
  mock.timers.tick(1500);
  await answered();
  return async (/** @type {string[]} */ ...ids) => {
    waiting = ids;
    for (let past = 0; past < 5000; past += 500) {
      noteEvent("task_updated"); // a busy hub: twice a second
      mock.timers.tick(500);
    }
    await answered();
    return page.title;
  };
}

test("the count stands before the page's own title, whatever that begins with", async () => {
  wanted = { title: true, notify: false };
  const look = await looking("(2) fences · TaskHub");
  assert.equal(page.title, "(2) fences · TaskHub");
  assert.equal(await look("a"), "(1) (2) fences · TaskHub");
  assert.equal(await look("a", "b"), "(2) (2) fences · TaskHub");
  assert.equal(await look("own question"), "(2) fences · TaskHub", "what the reader asks waits for others");
  assert.equal(await look(), "(2) fences · TaskHub");
});

test("a browser that shows no notification still shows the count", async () => {
  wanted = { title: true, notify: true };
  const look = await looking("Board · TaskHub");
  assert.equal(await look("a", "b"), "(2) Board · TaskHub");
});
