// Refresher: reads what a page shows again, after events and from time to time, never twice at once.

const CALM_MS = 2000; // between two readings, however many events come

/**
 * @param {() => Promise<unknown>} read
 * @param {number} everyMs - Also without an event; not in a hidden tab.
 * @returns {{ now: () => Promise<void>, soon: () => void }} `now` reads at once, `soon` within two seconds.
 */
export function refresher(read, everyMs) {
  /** @type {Promise<void> | null} */
  let reading = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let again = false;

  async function all() {
    do {
      again = false;
      await read();
    } while (again);
  }

  function now() {
    clearTimeout(timer);
    timer = undefined;
    if (reading) again = true; // what it reads may be older than this call
    else reading = all().finally(() => (reading = null));
    return reading;
  }

  function soon() {
    timer ??= setTimeout(() => void now(), CALM_MS);
  }

  setInterval(() => {
    if (!document.hidden) void now();
  }, everyMs);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) void now();
  });
  return { now, soon };
}
