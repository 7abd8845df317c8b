// Announcements of operators: lines on top of every page, until they end or are dismissed.

import { button, element } from "./dom.js";
import { linkNodes } from "./links.js";

/**
 * @import { Announced } from "schemas"
 * @import { HubEvent } from "./hub.js"
 */

const COOKIE = "taskhub_dismissed"; // of this browser until it is closed; the page then comes without these
const DISMISSED_MOST = 20;
const LONGEST_MS = 2 ** 31 - 1; // of a timer

const place = document.getElementById("announcements");
/** @type {Map<string, { item: HTMLElement, timer: ReturnType<typeof setTimeout> | undefined }>} */
const shown = new Map();

const dismissed = () =>
  (/(?:^|;\s*)taskhub_dismissed=([^;]+)/.exec(document.cookie)?.[1] ?? "").split(".").filter(Boolean);

/** @param {string} id */
function dismissedNow(id) {
  const ids = [...dismissed(), id].slice(-DISMISSED_MOST);
  document.cookie = `${COOKIE}=${ids.join(".")}; path=/; samesite=lax`;
}

/**
 * Show and withdraw announcements as an event of the stream says; other events are ignored.
 *
 * @param {HubEvent} event
 */
export function onAnnouncement({ name, data }) {
  if (name === "announcement" && data.withdrawn) drop(data.announcement_id);
  else if (name === "announcement") show(data);
  else if (name === "connected") {
    for (const id of shown.keys()) if (!data.announcements.some((each) => each.announcement_id === id)) drop(id);
    for (const each of data.announcements.toReversed()) show(each); // sent newest first, and new ones are put below
  }
}

/** Those that came with the page take their place: with links, and a button that works. */
for (const item of [...(place?.children ?? [])]) {
  if (!(item instanceof HTMLElement)) continue;
  const { id = "", level = "", ends } = item.dataset;
  const text = item.querySelector("p")?.textContent ?? "";
  item.remove();
  show(/** @type {Announced} */ ({ announcement_id: id, level, text, ends_at: ends || null }));
}

/** @param {Announced} announced */
function show({ announcement_id: id, level, text, ends_at: endsAt }) {
  if (!place) return;
  drop(id);
  const left = endsAt ? Math.min(LONGEST_MS, Date.parse(endsAt) - Date.now()) : null;
  if (dismissed().includes(id) || (left !== null && left <= 0)) return;
  const item = element("li");
  item.dataset["level"] = level;
  const dismiss = button("Dismiss");
  dismiss.ariaLabel = `Dismiss: ${text}`;
  dismiss.addEventListener("click", () => {
    dismissedNow(id);
    drop(id);
    document.getElementById("main")?.focus();
  });
  const words = element("p");
  words.append(...linkNodes(text));
  item.append(words, dismiss);
  place.append(item);
  place.hidden = false;
  shown.set(id, { item, timer: left === null ? undefined : setTimeout(() => drop(id), left) });
}

/** @param {string} id */
function drop(id) {
  const known = shown.get(id);
  if (!known) return;
  clearTimeout(known.timer);
  known.item.remove();
  shown.delete(id);
  if (place) place.hidden = shown.size === 0;
}
