// The last events of all streams of the page, as they came.

const KEEP = 200;
const CHARS = 2000; // of an event's data; the rest is left out
const EVERY_MS = 250; // fast logs bring thousands a second, and nobody reads those one by one

export class RawEvents {
  constructor({ list, kept, count }) {
    Object.assign(this, { list, kept, count });
    this.total = 0;
    this.waiting = [];
    this.timer = 0;
  }

  add(stream, { type, lastEventId, data }) {
    this.total += 1;
    this.waiting.push({ stream, type, lastEventId, data, at: new Date() });
    if (this.waiting.length > 2 * KEEP) this.waiting.splice(0, this.waiting.length - KEEP);
    this.timer ||= setTimeout(() => this.#draw(), EVERY_MS);
  }

  #draw() {
    this.timer = 0;
    this.list.prepend(...this.waiting.splice(0).slice(-KEEP).reverse().map(row));
    while (this.list.childElementCount > KEEP) this.list.lastElementChild.remove();
    this.kept.value = this.list.childElementCount;
    this.count.value = this.total.toLocaleString("en");
  }
}

function row({ stream, type, lastEventId, data, at }) {
  const item = document.createElement("li");
  item.dataset.event = type;
  item.append(
    element("time", at.toISOString().slice(11, 23)),
    element("span", stream),
    element("strong", type),
    element("span", lastEventId ? `id ${lastEventId}` : "no id"),
    element("code", data.length > CHARS ? `${data.slice(0, CHARS)}…` : data),
  );
  return item;
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}
