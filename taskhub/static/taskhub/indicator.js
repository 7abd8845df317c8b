// How a stream stands, where people see it: a state with a colour, what is to be said about it, and perhaps a button.

/**
 * What a Stream calls with its state and words. `element` has a `[data-state]` and `.words`; its button, if it has one,
 * says what pressing it would do.
 */
export function indicator(element) {
  const [state, words] = element.querySelectorAll("[data-state], .words");
  const label = element.querySelector("button")?.firstElementChild;
  return (now, said) => {
    if (state.dataset.state !== now) state.textContent = state.dataset.state = now;
    if (words.textContent !== said) words.textContent = said;
    if (label) label.textContent = ["offline", "ended"].includes(now) ? "Connect" : "Disconnect";
  };
}

/** The button beside it connects and disconnects. */
export function withButton(element, stream) {
  element.querySelector("button").addEventListener("click", () => {
    if (stream.isActive) stream.disconnect();
    else stream.connect();
  });
}
