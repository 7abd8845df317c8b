// The event monitor: one EventSource, each event as it came and as it parses. Spec 003's test_sse.html.
"use strict";

const KEEP = 500; // events on the page; older ones leave it

const page = Object.fromEntries(
  ["state", "controls", "disconnect", "clear", "count", "last-id", "problem", "events"].map((id) => [
    id,
    document.getElementById(id),
  ]),
);
let source = null;
let count = 0;

function show(state) {
  page.state.textContent = page.state.dataset.state = state;
}

function complain(text) {
  page.problem.textContent = text;
  page.problem.hidden = !text;
}

function address() {
  const fields = new FormData(page.controls);
  const query = new URLSearchParams([...fields].filter(([, value]) => value));
  return `/api/events/stream?${query}`;
}

function connect() {
  disconnect();
  complain("");
  show("connecting");
  source = new EventSource(address());
  source.onopen = () => show("connected");
  source.onmessage = add;
  source.onerror = () => {
    // CLOSED: the server refused, and the browser will not try again.
    const refused = source.readyState === EventSource.CLOSED;
    show(refused ? "offline" : "reconnecting");
    if (refused) complain("The server refused the stream. Is the last id one of this server's?");
  };
}

function disconnect() {
  if (source) source.close();
  source = null;
  show("offline");
}

function add(message) {
  const event = JSON.parse(message.data);
  page.count.value = ++count;
  page["last-id"].value = message.lastEventId || "none";
  page.events.prepend(row(event, message));
  while (page.events.children.length > KEEP) page.events.lastChild.remove();
}

function row(event, message) {
  const item = document.createElement("li");
  const step = event.data?.execution_event;
  item.append(
    element("strong", step ? `${event.event} ${step}` : event.event),
    element("time", event.timestamp),
    element("span", message.lastEventId, "id"),
    element("pre", JSON.stringify(event.data, null, 1)),
  );
  item.dataset.event = event.event;
  return item;
}

function element(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

page.controls.addEventListener("submit", (event) => {
  event.preventDefault();
  connect();
});
page.disconnect.addEventListener("click", disconnect);
page.clear.addEventListener("click", () => {
  page.events.replaceChildren();
  page.count.value = count = 0;
});
connect();
