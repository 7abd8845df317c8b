// What the modules under test need of a browser: a document, EventSource, fetch and sessionStorage, all under control.

/**
 * @typedef {{ method: string, url: string, headers: Record<string, string>, body: unknown }} Asked
 * @typedef {{ status?: number, headers?: Record<string, string>, body?: unknown }} Answer
 */

/** The enums as a page brings them: also such as this version of the server does not have. @type {unknown} */
export const enums = {
  statuses: [
    { value: "todo", label: "To do", next: ["inprogress", "done"] },
    { value: "inprogress", label: "In progress", next: ["todo", "done"] },
    { value: "done", label: "Done", next: ["todo"] },
  ],
  priorities: [
    { value: "urgent", label: "Urgent", rank: "top" },
    { value: "high", label: "High", rank: "middle" },
    { value: "medium", label: "Medium", rank: "middle" },
    { value: "low", label: "Low", rank: "bottom" },
  ],
  executionStatuses: [
    { value: "queued", isActive: true, isSuccess: false, isOwnEnd: false, isFailure: false },
    { value: "running", isActive: true, isSuccess: false, isOwnEnd: false, isFailure: false },
    { value: "completed", isActive: false, isSuccess: true, isOwnEnd: true, isFailure: false },
    { value: "failed", isActive: false, isSuccess: false, isOwnEnd: true, isFailure: true },
  ],
  executionSteps: { waiting: "queued", started: "running", completed: "completed", failed: "failed" },
  waitingReasons: [{ value: "capacity", label: "waiting for capacity" }],
  endings: [{ value: "stopped", label: "being stopped" }],
  leftovers: [
    { value: "sandbox_stopping", label: "its sandbox is being stopped", passes: true },
    { value: "possible", label: "processes of it may still run", passes: false },
  ],
  verdicts: [{ value: "failed", label: "failed", isGood: false }],
  roles: [
    { value: "viewer", mayWork: false },
    { value: "agent", mayWork: true },
  ],
};

class FakeDocument extends EventTarget {
  hidden = false;
  cookie = "";
  title = "";
  /** @type {Record<string, { content: string, dataset?: Record<string, string> } | undefined>} */
  metas = {};
  /** @type {[string, EventListener][]} */
  #listeners = [];

  /** @override @param {string} type @param {EventListener} listener */
  addEventListener(type, listener) {
    this.#listeners.push([type, listener]);
    super.addEventListener(type, listener);
  }

  /** Take the listeners of earlier tests away. */
  forget() {
    for (const [type, listener] of this.#listeners.splice(0)) this.removeEventListener(type, listener);
    this.hidden = false;
    this.metas = {};
  }

  /** @param {string} selector */
  querySelector(selector) {
    return this.metas[selector] ?? null;
  }

  /** @param {string} id */
  getElementById(id) {
    return id === "enums" ? { textContent: JSON.stringify(enums) } : null;
  }

  /** @param {boolean} hidden */
  setHidden(hidden) {
    this.hidden = hidden;
    this.dispatchEvent(new Event("visibilitychange"));
  }
}

/** An EventSource that the test opens, feeds and breaks. */
export class FakeEventSource extends EventTarget {
  static CONNECTING = 0;
  static OPEN = 1;
  static CLOSED = 2;
  /** All that were made, the last one last. @type {FakeEventSource[]} */
  static made = [];

  readyState = FakeEventSource.CONNECTING;
  /** @type {(() => void) | null} */
  onopen = null;

  /** @param {string} url */
  constructor(url) {
    super();
    this.url = url;
    FakeEventSource.made.push(this);
  }

  static get last() {
    const found = FakeEventSource.made.at(-1);
    if (!found) throw new Error("No EventSource was made.");
    return found;
  }

  close() {
    this.readyState = FakeEventSource.CLOSED;
  }

  open() {
    this.readyState = FakeEventSource.OPEN;
    this.onopen?.();
  }

  /**
   * @param {string} type
   * @param {unknown} data - An object is sent as JSON, a string as it is.
   * @param {string} [lastEventId]
   */
  send(type, data, lastEventId = "") {
    const text = typeof data === "string" ? data : JSON.stringify(data);
    this.dispatchEvent(new MessageEvent(type, { data: text, lastEventId }));
  }

  /** The connection is lost, and the browser would reconnect. */
  lose() {
    this.readyState = FakeEventSource.CONNECTING;
    this.dispatchEvent(new Event("error"));
  }

  /** The server has answered something else than a stream. */
  refuse() {
    this.readyState = FakeEventSource.CLOSED;
    this.dispatchEvent(new Event("error"));
  }
}

export const page = new FakeDocument();
/** The requests that were sent. @type {Asked[]} */
export const requests = [];

/** What the server answers; a test replaces it. @type {{ answer: (asked: Asked) => Answer | Promise<Answer> }} */
export const server = { answer: () => ({ status: 404 }) };

/** @type {Map<string, string>} */
const stored = new Map();
const globals = {
  document: page,
  EventSource: FakeEventSource,
  addEventListener: page.addEventListener.bind(page),
  sessionStorage: {
    /** @param {string} key */
    getItem: (key) => stored.get(key) ?? null,
    /** @type {(key: string, value: string) => void} */
    setItem: (key, value) => void stored.set(key, value),
    /** @param {string} key */
    removeItem: (key) => void stored.delete(key),
  },
  /** @type {(url: string, init: { method?: string, headers?: Record<string, string>, body?: string }) => Promise<Response>} */
  fetch: async (url, { method = "GET", headers = {}, body }) => {
    const asked = { method, url, headers, body: body === undefined ? undefined : JSON.parse(body) };
    requests.push(asked);
    const { status = 200, headers: answered = {}, body: content = null } = await server.answer(asked);
    return new Response(content === null ? null : JSON.stringify(content), { status, headers: answered });
  },
};
for (const [name, value] of Object.entries(globals))
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });

/** Forget what earlier tests did. */
export function reset() {
  FakeEventSource.made.length = requests.length = 0;
  page.forget();
  stored.clear();
  server.answer = () => ({ status: 404 });
}

/** Let everything that is ready run. */
export const settled = () => new Promise((resolve) => setImmediate(resolve));
