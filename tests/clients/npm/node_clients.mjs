// The JavaScript clients that run in Node.js: `node node_clients.mjs <client> <url> <events,by,comma>`.

import { closed, told } from "./summary.mjs";

const [client, url, listed] = process.argv.slice(2);
const names = listed.split(",");
const headers = { Origin: "https://elsewhere.example" };
const say = (line) => console.log(line);

/** Both majors have the interface of browsers; they differ in how headers are given. */
async function eventSource(library, options) {
  const module = await import(library);
  const { EventSource } = "EventSource" in module ? module : { EventSource: module.default };
  const source = new EventSource(url, options);
  for (const name of names) source.addEventListener(name, (event) => say(told(event.type, event.lastEventId, event.data)));
  // Major 2 closes after this event, and tells the status.
  source.addEventListener("error", ({ status }) => {
    if (status === 204 || source.readyState === source.CLOSED) say(closed());
  });
}

const clients = {
  "eventsource-2": () => eventSource("eventsource-2", { headers }),
  "eventsource-4": () =>
    eventSource("eventsource-4", {
      fetch: (address, init) => fetch(address, { ...init, headers: { ...init.headers, ...headers } }),
    }),

  "eventsource-client": async () => {
    const { createEventSource } = await import("eventsource-client");
    createEventSource({
      url,
      headers,
      onMessage: ({ event, id, data }) => say(told(event ?? "message", id, data)),
      fetch: async (address, init) => {
        const answer = await fetch(address, init);
        if (answer.status === 204) say(closed());
        return answer;
      },
    });
  },

  // A parser alone: connecting, resuming and 204 are the caller's.
  "eventsource-parser": async () => {
    const { createParser } = await import("eventsource-parser");
    let lastId = "";
    let retryMs = 2000;
    for (;;) {
      try {
        const answer = await fetch(url, { headers: { ...headers, ...(lastId && { "Last-Event-ID": lastId }) } });
        if (answer.status === 204) return say(closed());
        if (!answer.ok) throw new Error(`refused: ${answer.status}`);
        const parser = createParser({
          onEvent: ({ event, id, data }) => {
            lastId = id ?? lastId;
            say(told(event ?? "message", lastId, data));
          },
          onRetry: (ms) => (retryMs = ms),
        });
        const decoder = new TextDecoder();
        for await (const piece of answer.body) parser.feed(decoder.decode(piece, { stream: true }));
      } catch (error) {
        console.error(error.message);
      }
      await new Promise((resolve) => setTimeout(resolve, retryMs));
    }
  },
};

await clients[client]();
