// The event monitor: the stream of events, each as it came and as it parses. Spec 003's test_sse.html.

import { $, element, field } from "./dom.js";
import { hubStream } from "./hub.js";

/** @typedef {{ event: string, data?: { execution_event?: string }, timestamp?: string }} Envelope */

const KEEP = 500; // events on the page
const RATE_S = 10;

/** By type. @type {Map<string, number>} */
const counts = new Map();
let count = 0;
/** When the events of the last seconds came. @type {number[]} */
let recent = [];
/** To be put on the page with the next frame. @type {MessageEvent<string>[]} */
const waiting = [];
let frame = 0;

const controls = $("controls", HTMLFormElement);
const shown = $("shown", HTMLSelectElement);
const list = $("events");
const stream = hubStream({
  target: () => ({ types: field(controls, "types", HTMLSelectElement).value }),
  onRaw: take,
});

/** @param {MessageEvent<string>} message */
function take(message) {
  recent.push(Date.now());
  waiting.push(message);
  $("last-id", HTMLOutputElement).value = message.lastEventId || "none";
  frame ||= requestAnimationFrame(draw);
}

/** A replay brings thousands at once: they are drawn together, and only those that stay on the page. */
function draw() {
  frame = 0;
  const taken = waiting.splice(0).map((message) => ({ message, envelope: parsed(message.data) }));
  for (const { envelope } of taken) {
    const known = counts.has(envelope.event);
    counts.set(envelope.event, (counts.get(envelope.event) ?? 0) + 1);
    if (!known) shown.append(new Option(envelope.event));
  }
  count += taken.length;
  list.prepend(...taken.slice(-KEEP).reverse().map(row));
  while (list.childElementCount > KEEP) list.lastElementChild?.remove();
  $("dropped").hidden = count <= KEEP;
  showCounts();
}

/**
 * @param {string} data
 * @returns {Envelope}
 */
function parsed(data) {
  try {
    return /** @type {Envelope} */ (JSON.parse(data));
  } catch {
    return { event: "message" };
  }
}

function showCounts() {
  $("count", HTMLOutputElement).value = count.toLocaleString("en");
  const each = [...counts].map(([name, number]) => `${name} ${number.toLocaleString("en")}`);
  $("counts").textContent = each.join(", ") || "none yet";
  recent = recent.filter((at) => at > Date.now() - RATE_S * 1000);
  const rate = `${recent.length.toLocaleString("en")} (${(recent.length / RATE_S).toFixed(1)} per second)`;
  $("rate", HTMLOutputElement).value = rate;
}

/** @param {{ message: MessageEvent<string>, envelope: Envelope }} event */
function row({ message, envelope }) {
  const item = element("li");
  item.dataset["event"] = envelope.event;
  item.hidden = isHidden(item);
  const step = envelope.data?.execution_event;
  const head = element("p");
  head.append(
    element("strong", step ? `${envelope.event} ${step}` : envelope.event),
    element("time", envelope.timestamp ?? ""),
    element("span", message.lastEventId, "id"),
  );
  // The browser keeps the last id for events without one; the rest of the frame is as it was sent.
  const sent = `id: ${message.lastEventId}\n${message.data.replace(/^/gm, "data: ")}\n`;
  const raw = element("details");
  raw.append(element("summary", "Frame"), element("pre", sent));
  const data = envelope.data === undefined ? message.data : JSON.stringify(envelope.data, null, 1);
  item.append(head, element("pre", data), raw);
  return item;
}

/** @param {HTMLElement} item */
const isHidden = (item) => shown.value !== "" && item.dataset["event"] !== shown.value;

shown.addEventListener("change", () => {
  for (const item of list.children) if (item instanceof HTMLElement) item.hidden = isHidden(item);
});
controls.addEventListener("submit", (event) => {
  event.preventDefault();
  stream.connect({ lastId: field(controls, "lastEventId", HTMLInputElement).value });
});
$("resume").addEventListener("click", () => stream.connect({ lastId: stream.lastId }));
$("disconnect").addEventListener("click", () => stream.disconnect());
$("clear").addEventListener("click", () => {
  list.replaceChildren();
  counts.clear();
  recent = [];
  count = 0;
  shown.length = 1;
  $("dropped").hidden = true;
  showCounts();
});
setInterval(showCounts, 1000);
stream.connect();
