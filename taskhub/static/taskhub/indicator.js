// Stream indicator: the state of a stream as a word with a colour, an explanation, and a button to connect.

import { find } from "./dom.js";

/**
 * @import { StreamState } from "./stream.js"
 */

/**
 * The callback for a Stream's `onState`.
 *
 * @param {HTMLElement} place - Has a `[data-state]` and `.words`; its button, if any, is labelled by what it would do.
 * @returns {(state: StreamState, explanation: string) => void}
 */
export function indicator(place) {
  const state = find(place, "[data-state]");
  const words = find(place, ".words");
  const label = place.querySelector("button")?.firstElementChild;
  return (now, explanation) => {
    if (state.dataset["state"] !== now) state.textContent = state.dataset["state"] = now;
    if (words.textContent !== explanation) words.textContent = place.title = explanation;
    if (label) label.textContent = ["offline", "ended"].includes(now) ? "Connect" : "Disconnect";
  };
}

/**
 * Let the button of an indicator connect and disconnect its stream.
 *
 * @param {HTMLElement} place
 * @param {{ isActive: boolean, connect: () => void, disconnect: () => void }} stream
 */
export function withButton(place, stream) {
  find(place, "button").addEventListener("click", () => {
    if (stream.isActive) stream.disconnect();
    else stream.connect();
  });
}
