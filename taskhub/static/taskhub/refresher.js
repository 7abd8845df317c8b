// Refresher: reads what a page shows again, after events and from time to time, never twice at once.

const CALM_MS = 2000; // between an event and the reading after it, however many more come

/**
 * @param {() => Promise<unknown>} read
 * @param {number} everyMs - Also without an event; not in a hidden tab.
 * @param {number} [calmMs]
 * @returns {{ now: () => Promise<void>, soon: () => void }} `now` reads at once, `soon` after `calmMs`.
 */
export function refresher(read, everyMs, calmMs = CALM_MS) {
  /** @type {Promise<void> | null} */
  let reading = null;
  /** @type {Promise<void> | null} */
  let next = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;

  async function once() {
    try {
      await read();
    } finally {
      reading = null;
    }
  }

  /** What is being read may be older than the call: then another reading follows. */
  async function after() {
    await reading;
    next = null;
    await now();
  }

  /** @returns {Promise<void>} */
  function now() {
    clearTimeout(timer);
    timer = undefined;
    if (reading) return (next ??= after());
    return (reading = once());
  }

  function soon() {
    timer ??= setTimeout(() => void now(), calmMs);
  }

  setInterval(() => {
    if (!document.hidden) void now();
  }, everyMs);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) void now();
  });
  return { now, soon };
}
