// The event monitor: the stream of events, each as it came and as it parses. Spec 003's test_sse.html.

import { $, element } from "./forms.js";
import { hubStream } from "./hub.js";

const KEEP = 500; // events on the page; older ones leave it
const RATE_S = 10;

const counts = new Map(); // type to number
let count = 0;
let recent = []; // when the events of the last seconds came
let waiting = []; // to be put on the page with the next frame
let frame = 0;

const stream = hubStream({
  target: () => ({ types: $("controls").elements.types.value }),
  onRaw: take,
});

function connect(lastId) {
  stream.connect({ lastId });
}

function take(message) {
  recent.push(Date.now());
  waiting.push(message);
  $("last-id").value = message.lastEventId || "none";
  frame ||= requestAnimationFrame(draw);
}

/** A replay brings thousands at once: they are put on the page together, and those that would leave it are not made. */
function draw() {
  frame = 0;
  const taken = waiting.splice(0).map((message) => ({ message, envelope: parsed(message.data) }));
  for (const { envelope } of taken) {
    const known = counts.has(envelope.event);
    counts.set(envelope.event, (counts.get(envelope.event) ?? 0) + 1);
    if (!known) $("shown").append(new Option(envelope.event));
  }
  count += taken.length;
  $("events").prepend(...taken.slice(-KEEP).reverse().map(row));
  while ($("events").childElementCount > KEEP) $("events").lastElementChild.remove();
  $("dropped").hidden = count <= KEEP;
  tell();
}

function parsed(data) {
  try {
    return JSON.parse(data);
  } catch {
    return { event: "message" };
  }
}

function tell() {
  $("count").value = count.toLocaleString("en");
  const each = [...counts].map(([name, number]) => `${name} ${number.toLocaleString("en")}`);
  $("counts").textContent = each.join(", ") || "none yet";
  recent = recent.filter((at) => at > Date.now() - RATE_S * 1000);
  $("rate").value = `${recent.length.toLocaleString("en")} (${(recent.length / RATE_S).toFixed(1)} per second)`;
}

function row({ message, envelope }) {
  const item = element("li");
  item.dataset.event = envelope.event;
  item.hidden = isHidden(item);
  const step = envelope.data?.execution_event;
  const head = element("p");
  head.append(
    element("strong", step ? `${envelope.event} ${step}` : envelope.event),
    element("time", envelope.timestamp ?? ""),
    element("span", message.lastEventId, { className: "id" }),
  );
  // The browser keeps the last id for events without one; all else of the frame is as it was sent.
  const sent = `id: ${message.lastEventId}\n${message.data.replace(/^/gm, "data: ")}\n`;
  const raw = element("details");
  raw.append(element("summary", "Frame"), element("pre", sent));
  item.append(head, element("pre", JSON.stringify(envelope.data, null, 1) ?? message.data), raw);
  return item;
}

const isHidden = (item) => $("shown").value !== "" && item.dataset.event !== $("shown").value;

$("shown").addEventListener("change", () => {
  for (const item of $("events").children) item.hidden = isHidden(item);
});
$("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  connect($("controls").elements.lastEventId.value);
});
$("resume").addEventListener("click", () => connect(stream.lastId));
$("disconnect").addEventListener("click", () => stream.disconnect());
$("clear").addEventListener("click", () => {
  $("events").replaceChildren();
  counts.clear();
  recent = [];
  count = 0;
  $("shown").length = 1;
  $("dropped").hidden = true;
  tell();
});
setInterval(tell, 1000);
connect();
