import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { settled } from "./browser.js";
import { LogSearch } from "../../taskhub/static/taskhub/log-search.js";

/** @typedef {Record<string, string>} Query */

class Part extends EventTarget {
  value = "";
  textContent = "";
  hidden = true;
}

/** Numbers of the lines that match, and how many lines there are. @type {number[]} */
let matching;
let total = 0;
let isOver = true;
/** How many lines one request looks at. */
let reach = Infinity;
/** @type {Query[]} */
let asked;
/** @type {number[]} */
let visited;
let inView = 1;
/** @type {Record<string, Part>} */
let parts;
/** @type {LogSearch} */
let search;

/** @param {Query} query */
async function answer(query) {
  asked.push(query);
  await Promise.resolve();
  const [from, limit] = [Number(query["from"]), Number(query["limit"])];
  const last = Math.min(total, from + reach - 1);
  const found =
    query["kind"] === "error" || query["q"] === "none" ? [] : matching.filter((n) => n >= from && n <= last);
  const next = isOver && last >= total ? null : last + 1;
  const matches = found.slice(0, limit);
  return { execution_id: "e", status: "completed", lines: total, count: found.length, matches, next };
}

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout"] });
  [matching, total, isOver, reach, asked, visited, inView] = [[], 100_000, true, Infinity, [], [], 1];
  const names = ["log", "form", "field", "previous", "next", "firstError", "found", "problem"];
  parts = Object.fromEntries(names.map((name) => [name, new Part()]));
  search = new LogSearch({
    .../** @type {any} */ (parts),
    search: answer,
    from: () => inView,
    mark: () => {},
    goTo: (/** @type {number} */ n) => visited.push(n),
  });
});

const said = () => parts["found"]?.value;
/** @param {string} name @param {string} type */
const fire = async (name, type) => {
  parts[name]?.dispatchEvent(new Event(type));
  await settled();
};
/** @param {string} words */
async function type(words) {
  if (parts["field"]) parts["field"].value = words;
  await fire("field", "input");
  mock.timers.tick(300);
  await settled();
}

test("the first match is the first one from what is in view on", async () => {
  matching = [5, 500, 900];
  inView = 400;
  await type("x");
  assert.deepEqual([visited, said()], [[500], "2 of 3"]);
  await fire("form", "submit");
  await fire("form", "submit");
  assert.deepEqual([visited, said()], [[500, 900, 5], "1 of 3"]);
  await fire("previous", "click");
  assert.deepEqual([visited.at(-1), said()], [900, "3 of 3"]);
  inView = 1000;
  await type("y");
  assert.equal(visited.at(-1), 5); // nothing follows
});

test("what one request does not reach is searched by the next", async () => {
  matching = [99_999];
  reach = 30_000;
  await type("x");
  assert.equal(asked.length, 4);
  assert.deepEqual([visited, said()], [[99_999], "1 of 1"]);
  await type("");
  assert.equal(said(), "");
});

test("more matches than one answer names are counted, and read when they are wanted", async () => {
  matching = Array.from({ length: 25_000 }, (_, n) => 4 * n + 1);
  await type("x");
  assert.equal(said(), "1 of 25,000");
  assert.equal(asked.length, 1);
  await fire("previous", "click"); // the last one of all
  assert.deepEqual([visited.at(-1), said()], [99_997, "25,000 of 25,000"]);
  assert.equal(asked.length, 3);
});

test("an answer to what is no longer sought is dropped", async () => {
  matching = [7];
  if (parts["field"]) parts["field"].value = "x";
  parts["field"]?.dispatchEvent(new Event("input"));
  mock.timers.tick(300);
  await type("none"); // while the request is under way
  assert.deepEqual([visited, said()], [[], "0 found"]);
});

test("lines of a running log are searched as they come", async () => {
  isOver = false;
  total = 10;
  await type("x");
  assert.equal(said(), "0 found");
  total = 20;
  matching = [15];
  search.grow();
  search.grow();
  mock.timers.tick(2000);
  await settled();
  assert.equal(said(), "1 found");
  assert.deepEqual([visited, asked.length, asked.at(-1)?.["from"]], [[], 2, "11"]);
  await fire("form", "submit");
  assert.deepEqual(visited, [15]);
});

test("the first error is the first line of stderr where no line looks like one", async () => {
  matching = [42, 43];
  reach = 60_000;
  await fire("firstError", "click");
  assert.deepEqual([visited, said()], [[42], "Line 42"]);
  assert.deepEqual(
    asked.map((query) => `${query["kind"]} ${query["from"]}`),
    ["error 1", "error 60001", "stderr 1"],
  );
  matching = [];
  await fire("firstError", "click");
  assert.equal(said(), "No line looks like an error.");
});

test("a match is gone on from where one is", async () => {
  matching = [10, 50, 90];
  await type("x");
  matching = [60];
  await fire("firstError", "click"); // it goes to line 60
  await fire("form", "submit");
  assert.equal(visited.at(-1), 90);
  await fire("form", "submit");
  assert.equal(visited.at(-1), 10);
});
