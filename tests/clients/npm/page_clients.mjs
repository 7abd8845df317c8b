// The clients that run in a page: `page.html?client=…&url=…&events=…`. What they tell goes to the console.

import { closed, told } from "./summary.mjs";

const query = new URLSearchParams(location.search);
const url = query.get("url");
const names = query.get("events").split(",");
const say = (line) => console.log(line);

/** Anything with the interface of EventSource. */
function listen(source) {
  for (const name of names) source.addEventListener(name, (event) => say(told(event.type, event.lastEventId, event.data)));
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) say(closed());
  });
}

class Ended extends Error {}

const clients = {
  native: () => listen(new EventSource(url)),

  "event-source-polyfill": async () => {
    await import("./event-source-polyfill/src/eventsource.js");
    listen(new globalThis.EventSourcePolyfill(url, { heartbeatTimeout: 90_000 }));
  },

  "fetch-event-source": async () => {
    const { fetchEventSource } = await import("./fetch-event-source/index.js");
    await fetchEventSource(url, {
      openWhenHidden: true,
      onopen: async (answer) => {
        if (answer.status === 204) throw new Ended();
        if (!answer.ok) throw new Error(`refused: ${answer.status}`);
      },
      onmessage: ({ event, id, data }) => say(told(event || "message", id, data)),
      onclose: () => {
        throw new Error("closed by the server"); // or it would not come back
      },
      onerror: (error) => {
        if (error instanceof Ended) throw error;
      },
    }).catch((error) => {
      if (!(error instanceof Ended)) throw error;
      say(closed());
    });
  },

  "sse.js": async () => {
    const { SSE } = await import("./sse.js/lib/sse.js");
    const source = new SSE(url, { autoReconnect: true, reconnectDelay: 2000, useLastEventId: true });
    for (const name of names)
      source.addEventListener(name, (event) => {
        if (event.data) say(told(name, event.lastEventId, event.data));
      });
    source.addEventListener("readystatechange", () => {
      if (source.xhr?.status !== 204) return;
      source.autoReconnect = false;
      source.close();
      say(closed());
    });
  },
};

addEventListener("unhandledrejection", (event) => console.error(String(event.reason)));
await clients[query.get("client")]();
