import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { page, reset, server, settled } from "./browser.js";

/**
 * @import { TestContext } from "node:test"
 */

/** The ids of the tasks that wait. @type {string[]} */
let waiting = [];
let wanted = { title: true, notify: false };
const titled = Object.assign(page, { title: "" });

/** As in Chrome on Android. */
class NoNotification {
  static permission = "granted";

  constructor() {
    throw new TypeError("Illegal constructor. Use ServiceWorkerRegistration.showNotification() instead.");
  }
}

const globals = {
  localStorage: { getItem: () => JSON.stringify(wanted) },
  window: { Notification: NoNotification },
  Notification: NoNotification,
};
for (const [name, value] of Object.entries(globals))
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });

beforeEach(() => {
  reset();
  waiting = [];
  server.answer = () => {
    const results = waiting.map((id) => ({ id, title: id, waiting_for: "answer" }));
    return { body: { results, next: null } };
  };
  Object.assign(page.metas, {
    "meta[name=role]": { content: "agent", dataset: { name: "alice" } },
    "meta[name=csrf-token]": { content: "x" },
  });
});

/** The first look of a page of this title, and one after an event. @param {TestContext} t @param {string} title */
async function looking(t, title) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { noteEvent, startNotices } = await import("../../taskhub/static/taskhub/notices.js");
  const answered = async () => {
    for (let turn = 0; turn < 10; turn += 1) await settled();
  };
  titled.title = title;
  startNotices();
  await answered();
  return async (/** @type {string[]} */ ...ids) => {
    waiting = ids;
    for (let past = 0; past < 5000; past += 500) {
      noteEvent("task_updated"); // a busy hub: twice a second
      t.mock.timers.tick(500);
    }
    await answered();
    return titled.title;
  };
}

test("the count stands before the page's own title, whatever that begins with", async (t) => {
  wanted = { title: true, notify: false };
  const look = await looking(t, "(2) fences · TaskHub");
  assert.equal(titled.title, "(2) fences · TaskHub");
  assert.equal(await look("a"), "(1) (2) fences · TaskHub");
  assert.equal(await look("a", "b"), "(2) (2) fences · TaskHub");
  assert.equal(await look(), "(2) fences · TaskHub");
});

test("a browser that shows no notification still shows the count", async (t) => {
  wanted = { title: true, notify: true };
  const look = await looking(t, "Board · TaskHub");
  assert.equal(await look("a", "b"), "(2) Board · TaskHub");
});
