// How pages say times and spans, and who has changed a task.

import { api, call } from "./api.js";

const when = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** A `<time>` with the moment in the reader's own time zone. */
export function moment(iso) {
  const made = document.createElement("time");
  made.dateTime = iso;
  made.textContent = when.format(new Date(iso));
  return made;
}

/** From one ISO time to another, or to now: `1:05`, `2:00:05`. */
export function span(from, to = undefined) {
  const s = Math.max(0, Math.floor(((to ? Date.parse(to) : Date.now()) - Date.parse(from)) / 1000));
  const two = (n) => String(n).padStart(2, "0");
  const [hours, minutes] = [Math.floor(s / 3600), Math.floor(s / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(s % 60)}` : `${minutes}:${two(s % 60)}`;
}

/** A number of bytes: `1.2 MB`. */
export function size(bytes) {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte"];
  const step = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  const words = { style: "unit", unit: units[step], unitDisplay: step ? "short" : "long", maximumFractionDigits: 1 };
  return new Intl.NumberFormat(undefined, words).format(bytes / 1000 ** step);
}

const actorOf = (entry) => entry.actor || "the service";

/** Who has changed the task since `version`, in words: each change makes the next version. */
export async function whoChanged(taskId, version, now) {
  const { results } = await call("GET", `${api("tasks", taskId, "history")}?page_size=200`);
  const changes = results.filter(({ action }) => action === "task:update").slice(0, now - version);
  if (!changes.length) return "Somebody has changed it meanwhile.";
  const words = changes.reverse().map((entry) => {
    const fields = Object.keys(entry.changes).join(", ");
    return `${actorOf(entry)} changed ${fields} at ${new Date(entry.at).toLocaleTimeString()}`;
  });
  return `Meanwhile ${words.join("; ")}.`;
}

/** What the fields of a task's form hold, as REST takes them. */
export function fieldsOf(form) {
  const { title, description, priority, assignee, tags, artifacts, status, private: hidden } = form.elements;
  const found = {
    title: title.value.trim(),
    description: description.value,
    priority: priority.value,
    assignee: assignee.value.trim(),
    tags: split(tags.value, ","),
    private: hidden.checked,
  };
  if (artifacts) found.artifacts = split(artifacts.value, "\n");
  if (status) found.status = status.value;
  return found;
}

const split = (text, by) =>
  text
    .split(by)
    .map((word) => word.trim())
    .filter(Boolean);
