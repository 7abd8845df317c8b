// Columns as tabs, for narrow windows: one column at a time. The style sheet decides when they are shown.

import { $, closest, find } from "./dom.js";

/**
 * @param {Map<string, { section: HTMLElement }>} columns
 * @param {{ first: string, onShow: (status: string) => void }} options - `first`: the one that is shown first, where there
 *   is such a column.
 */
export function columnTabs(columns, { first, onShow }) {
  const tabs = $("tabs");

  /** @param {string} status */
  function show(status) {
    for (const [value, { section }] of columns) {
      section.classList.toggle("current", value === status);
      find(tabs, `[data-tab="${value}"]`).ariaCurrent = String(value === status);
    }
  }

  tabs.addEventListener("click", (event) => {
    const status = closest(event, "[data-tab]")?.dataset["tab"];
    if (!status) return;
    show(status);
    onShow(status);
  });
  tabs.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const all = [...tabs.querySelectorAll("button")];
    const at = all.findIndex((tab) => tab === document.activeElement);
    if (step && at >= 0) all[(at + step + all.length) % all.length]?.focus();
  });
  show(columns.has(first) ? first : ([...columns.keys()][0] ?? ""));

  return {
    /**
     * @param {string} status
     * @param {string} text
     */
    count: (status, text) => {
      find(tabs, `[data-tab="${status}"] .count`).textContent = text;
    },
    /** @param {string} status */
    focus: (status) => find(tabs, `[data-tab="${status}"]`).focus(),
  };
}
