// The page's one stream of events: shows its state in the header and announcements in their place.

import { onAnnouncement } from "./announcements.js";
import { indicator } from "./indicator.js";
import { noteEvent } from "./notices.js";
import { Stream } from "./stream.js";

/**
 * @import { StreamEvent } from "./stream.js"
 *
 * @typedef {StreamEvent<"events">} HubEvent
 */

/**
 * @param {object} options
 * @param {() => Record<string, string>} [options.target] - Filters of the stream.
 * @param {() => void} [options.onSnapshot] - Fetch what is shown: earlier events are unknown or expired.
 * @param {(event: HubEvent) => void} [options.onEvent]
 * @param {(message: MessageEvent<string>) => void} [options.onRaw]
 */
export function hubStream({ target = () => ({}), onSnapshot, onEvent, onRaw = () => {} }) {
  const place = document.getElementById("hub-state");
  return new Stream({
    kind: "events",
    target,
    onState: place ? indicator(place) : () => {},
    onRaw,
    onEvent: (event) => {
      onAnnouncement(event);
      if (event.name === "stream-reset" || (event.name === "connected" && !event.about.isResumed)) onSnapshot?.();
      onEvent?.(event);
      noteEvent(event.name);
    },
  });
}
