// Text for times, durations, sizes and counts. No DOM.

const when = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const AHEAD_MS = 120_000; // clocks may differ by less
const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte"];

const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

/**
 * A day, where its hours do not matter.
 *
 * @param {string} iso
 */
export const date = (iso) => day.format(new Date(iso));

/**
 * A moment in the reader's time zone and language.
 *
 * @param {string} iso
 */
export const dateTime = (iso) => when.format(new Date(iso));

const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

/**
 * The time of day in the reader's time zone, to the millisecond: `22:05:01.313`.
 *
 * @param {string} iso
 */
export const clockTime = (iso) => {
  const at = new Date(iso);
  return `${clock.format(at)}.${String(at.getMilliseconds()).padStart(3, "0")}`;
};

/**
 * The time between two ISO times, or until now: `1:05`, `2:00:05`. Clocks that disagree give `0:00`.
 *
 * @param {string} from
 * @param {string | null} [to]
 */
export function duration(from, to = null) {
  const s = Math.max(0, Math.floor(((to ? Date.parse(to) : Date.now()) - Date.parse(from)) / 1000));
  /** @param {number} n */
  const two = (n) => String(n).padStart(2, "0");
  const [hours, minutes] = [Math.floor(s / 3600), Math.floor(s / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(s % 60)}` : `${minutes}:${two(s % 60)}`;
}

/**
 * The time since then in one unit: `now`, `5 min`, `3 h`, `12 d`. A clock that is ahead gives `now`.
 *
 * @param {string} from
 * @param {number} [now]
 */
export function age(from, now = Date.now()) {
  const minutes = Math.floor((now - Date.parse(from)) / 60_000);
  const hours = Math.floor(minutes / 60);
  if (minutes < 1) return "now";
  if (hours < 1) return `${minutes} min`;
  return hours < 48 ? `${hours} h` : `${Math.floor(hours / 24)} d`;
}

/**
 * When that was, or will be: `just now`, `5 min ago`, `in 3 h`.
 *
 * @param {string} from
 * @param {number} [now]
 */
export function ago(from, now = Date.now()) {
  if (Date.parse(from) - now >= AHEAD_MS) return `in ${age(new Date(now).toISOString(), Date.parse(from))}`;
  const text = age(from, now);
  return text === "now" ? "just now" : `${text} ago`;
}

/**
 * A number of bytes: `1.2 MB`.
 *
 * @param {number} bytes
 */
export function fileSize(bytes) {
  const step = Math.min(UNITS.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  const format = new Intl.NumberFormat(undefined, {
    style: "unit",
    unit: UNITS[step] ?? "byte",
    unitDisplay: step ? "short" : "long",
    maximumFractionDigits: 1,
  });
  return format.format(bytes / 1000 ** step);
}

/**
 * A number with its noun: `1 line`, `1,200 lines`.
 *
 * @param {number} n
 * @param {string} [noun]
 */
export const count = (n, noun = "line") => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

const ordinals = new Intl.PluralRules("en", { type: "ordinal" });
const SUFFIXES = { zero: "th", one: "st", two: "nd", few: "rd", many: "th", other: "th" };

/**
 * A position: `1st`, `12th`, `1,003rd`.
 *
 * @param {number} n
 */
export const ordinal = (n) => n.toLocaleString("en") + SUFFIXES[ordinals.select(n)];

/**
 * The parts of a text between separators, without blanks around them; empty parts are left out.
 *
 * @param {string} text
 * @param {string} separator
 */
export const split = (text, separator) =>
  text
    .split(separator)
    .map((part) => part.trim())
    .filter(Boolean);
