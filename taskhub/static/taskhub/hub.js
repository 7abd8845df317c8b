// The page's one stream of events: its state stands in the header, announcements go to their place.

import { heed } from "./announcements.js";
import { indicator } from "./indicator.js";
import { Stream } from "./stream.js";

const silent = () => {};

/**
 * `onSnapshot()`: fetch what is shown anew, for what came before is not known or no longer kept. `onEvent(name, data,
 * {timestamp})` gets every event.
 */
export function hubStream({ target = () => ({}), onSnapshot = silent, onEvent = silent, onRaw = silent }) {
  const place = document.getElementById("hub-state");
  return new Stream({
    kind: "events",
    target,
    onState: place ? indicator(place) : silent,
    onRaw,
    onEvent: (name, data, about) => {
      heed(name, data);
      if (name === "stream-reset" || (name === "connected" && !about.isResumed)) onSnapshot();
      onEvent(name, data, about);
    },
  });
}
