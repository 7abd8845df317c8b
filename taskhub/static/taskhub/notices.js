// Notices of tasks that wait for the account: a count in the tab's title, and the browser's notifications.
//
// It asks once a minute, also in a hidden tab, which keeps no stream; and at once after an event of the page's stream,
// at most once in 2 s.

import { api, readAll } from "./api.js";
import { me } from "./identity.js";

/**
 * @import { Card } from "schemas"
 *
 * @typedef {{ title: boolean, notify: boolean }} Wishes
 */

const KEY = "taskhub-told"; // in localStorage: of this browser
const FIRST_MS = 1500; // after what the page shows
const EVERY_MS = 60_000;
const SOON_MS = 1000;
const LEAST_MS = 2000;
/** @type {Record<string, string>} */
const WORDS = {
  answer: "A question waits for your answer",
  person: "Agents have failed at it too often",
  review: "It waits for your review",
};

/** @returns {Wishes} */
export function wishes() {
  try {
    const kept = /** @type {Partial<Wishes> | null} */ (JSON.parse(localStorage.getItem(KEY) ?? "null"));
    return { title: kept?.title ?? true, notify: kept?.notify ?? false };
  } catch {
    return { title: true, notify: false };
  }
}

/** @param {Wishes} wanted */
export function wish(wanted) {
  localStorage.setItem(KEY, JSON.stringify(wanted));
  void look();
}

/** What waited at the last look, as `<id> <what for>`; null before the first one. @type {Set<string> | null} */
let known = null;
let prefix = ""; // what stands before the page's own title now
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
let isSoon = false; // an event has brought the next look forward
let lookedAt = 0;

async function look() {
  clearTimeout(timer);
  timer = setTimeout(look, EVERY_MS);
  isSoon = false;
  lookedAt = performance.now();
  const { title, notify } = wishes();
  const { name } = await me;
  if (!(title || notify) || !name) {
    show("");
    showOnPage(0);
    return;
  }
  let tasks;
  try {
    tasks = await waiting(name);
  } catch {
    return; // the next look may succeed; the page itself says that the server is away
  }
  const now = new Map(tasks.map((task) => [`${task.id} ${task.waiting_for}`, task]));
  if (notify) tellNew(now);
  known = new Set(now.keys());
  show(title && now.size ? `(${now.size}) ` : "");
  showOnPage(title ? now.size : 0);
}

/**
 * Tasks that are assigned to the account, or that it made. What it has asked itself waits for others.
 *
 * @param {string} account
 */
async function waiting(account) {
  const mine = ["assignee", "created_by"].map((name) =>
    readAll(
      api("tasks", "cards"),
      [
        ["waiting_for", "any"],
        [name, "me"],
      ],
      200,
    ),
  );
  /** @type {{ rows: Card[] }[]} */
  const found = await Promise.all(mine);
  const theirs = found
    .flatMap(({ rows }) => rows)
    .filter((task) => task.waiting_for !== "answer" || task.question_by !== account);
  return [...new Map(theirs.map((task) => [task.id, task])).values()];
}

/** @param {string} wanted */
function show(wanted) {
  const own = document.title.startsWith(prefix) ? document.title.slice(prefix.length) : document.title;
  prefix = wanted;
  const title = prefix + own;
  if (document.title !== title) document.title = title;
}

/**
 * The number at the link to the board, where it is answered.
 *
 * @param {number} n
 */
function showOnPage(n) {
  const place = document.getElementById("waiting");
  if (!place) return;
  place.hidden = n === 0;
  const words = document.createElement("span");
  words.className = "unseen";
  words.textContent = n === 1 ? " waits for you" : " wait for you";
  place.replaceChildren(String(n), words);
}

/**
 * Tell what did not wait at the last look.
 *
 * @param {Map<string, Card>} now
 */
function tellNew(now) {
  for (const [key, task] of now) if (known && !known.has(key)) tell(key, task);
}

/**
 * @param {string} key - The same in every tab: the browser shows one notification for it.
 * @param {Card} task
 */
function tell(key, task) {
  if (!("Notification" in window) || Notification.permission !== "granted") return;
  let notice;
  try {
    notice = new Notification(task.title, { body: WORDS[task.waiting_for] ?? "", tag: key });
  } catch {
    return; // Chrome on Android has the permission, and lets service workers alone use it
  }
  notice.onclick = () => {
    window.focus();
    location.assign(`/tasks/${task.id}/`);
  };
}

/** An event of the page's stream may have changed what waits. @param {string} name */
export function noteEvent(name) {
  if (!["task_created", "task_updated", "task_deleted", "note_added"].includes(name)) return;
  if (isSoon) return; // events that never pause do not put it off
  isSoon = true;
  clearTimeout(timer);
  timer = setTimeout(look, Math.max(SOON_MS, lookedAt + LEAST_MS - performance.now()));
}

export function startNotices() {
  const place = document.querySelector("title");
  // A page that changes its own title keeps the count.
  if (place) new MutationObserver(() => show(prefix)).observe(place, { childList: true });
  timer = setTimeout(look, FIRST_MS);
}
