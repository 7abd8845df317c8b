// What operators have to say to everybody: a line on top of every page, until it ends or is put away.

const KEY = "taskhub-announcements-read"; // in sessionStorage: put away in this tab
const LONGEST_MS = 2 ** 31 - 1; // that a timer waits

const place = document.getElementById("announcements");
const shown = new Map(); // id to {item, timer}

const read = () => new Set(JSON.parse(sessionStorage.getItem(KEY) ?? "[]"));

/** Take what a stream of events says of announcements; all else is left alone. */
export function heed(name, data) {
  if (!place) return;
  if (name === "announcement" && data.withdrawn) drop(data.announcement_id);
  else if (name === "announcement") show(data);
  else if (name === "connected") {
    const standing = data.announcements ?? [];
    for (const id of shown.keys()) if (!standing.some((each) => each.announcement_id === id)) drop(id);
    for (const each of standing.toReversed()) show(each); // they come newest first, and new ones are put below
  }
}

function show({ announcement_id: id, level, text, ends_at: endsAt }) {
  drop(id);
  const left = endsAt ? Math.min(LONGEST_MS, Date.parse(endsAt) - Date.now()) : null;
  if (read().has(id) || (left !== null && left <= 0)) return;
  const item = document.createElement("li");
  item.dataset.level = level ?? "info";
  const words = document.createElement("p");
  words.textContent = text;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Dismiss";
  button.ariaLabel = `Dismiss: ${text}`;
  button.addEventListener("click", () => {
    sessionStorage.setItem(KEY, JSON.stringify([...read(), id]));
    drop(id);
    document.getElementById("main").focus();
  });
  item.append(words, button);
  place.append(item);
  place.hidden = false;
  shown.set(id, { item, timer: left === null ? 0 : setTimeout(() => drop(id), left) });
}

function drop(id) {
  const known = shown.get(id);
  if (!known) return;
  clearTimeout(known.timer);
  known.item.remove();
  shown.delete(id);
  place.hidden = shown.size === 0;
}
