// Event stream client: an EventSource that shows its state, reconnects, and resumes after the last event it received.
//
// A browser reconnects after a lost connection, but not after a refusal, and does not say when. So this module does
// both: after 2 s, doubled with each try, at most 30 s; or when the server says. In a hidden tab the stream is closed,
// because a browser opens only six connections to a server; on return it resumes.

import { api, call, isSignedIn, pathOf, Refused, refusal, token } from "./api.js";

/**
 * @import { Disconnected, EventData, ExecutionStatusEnum, LogLine, Sandbox, Session, Ticket } from "schemas"
 *
 * @typedef {"connecting" | "connected" | "reconnecting" | "paused" | "offline" | "ended"} StreamState
 *
 * @typedef {{ code: string, message: string, retry_in_ms?: number }} StreamError
 *
 * @typedef {object} LogComplete
 * @property {number | null} exit_code
 * @property {number} lines
 * @property {ExecutionStatusEnum} [status] - Of an execution; a command has none.
 * @property {boolean} [truncated]
 *
 * @typedef {object} LogEvents - The data of each event of a log, by the event's name.
 * @property {object} connected
 * @property {{ reason: string }} disconnected
 * @property {LogLine} log
 * @property {LogComplete} log-complete
 * @property {StreamError} log-error
 *
 * @typedef {object} SandboxEvents - Those of `/sse` beside a command's log.
 * @property {Sandbox & Record<string, unknown>} sandbox-status
 * @property {{ sessions: Session[], timestamp: string }} sessions-update
 *
 * @typedef {object} Kinds - The events of each kind of stream.
 * @property {EventData} events
 * @property {LogEvents} execution-log
 * @property {LogEvents & SandboxEvents} sse
 *
 * @typedef {"shutdown" | "idle" | "log_complete" | "log_error" | "sandbox_destroyed" | "sandbox_not_found"} SseReason
 * @typedef {Disconnected["reason"] | SseReason} Reason - Why the server ended the stream.
 */

/**
 * @typedef {object} About - What is known of an event beside its data.
 * @property {boolean} isResumed - No event is missing since those before.
 * @property {string} timestamp - ISO; empty on streams without an envelope.
 * @property {string} id
 */

/**
 * @template {keyof Kinds} K
 * @typedef {{ [N in keyof Kinds[K]]: { name: N, data: Kinds[K][N], about: About } }[keyof Kinds[K]]} StreamEvent
 */

/** @typedef {Record<string, string>} Target - The parameters of a stream; empty ones are left out. */

/**
 * How the streams are opened, by their `kind` at POST /api/tickets/. After an event in `ends` nothing more comes.
 *
 * @typedef {object} Kind
 * @property {string[]} names - The event names to listen to.
 * @property {(target: Target) => string} address
 * @property {string} [inPath] - The parameter that the path has already.
 * @property {string[]} ends
 */

const LOG = ["log", "log-complete", "log-error"];
/** @type {Record<keyof Kinds, Kind>} */
const KINDS = {
  events: { names: ["message"], address: () => "/api/events/stream", ends: [] },
  "execution-log": {
    names: ["connected", "disconnected", ...LOG],
    address: ({ task_id: id = "" }) => `/api/exec/logs/${encodeURIComponent(id)}/stream`,
    inPath: "task_id",
    ends: ["log-complete"],
  },
  sse: {
    names: ["connected", "disconnected", "sandbox-status", "sessions-update", ...LOG, "message"],
    address: () => "/sse",
    ends: [],
  },
};
const FIRST_MS = 2000; // the server's own `retry:`
const MOST_MS = 30_000;
const TEMPORARY = new Set([0, 429, 500, 502, 503, 504]); // statuses of refusals that may pass; 0 is no answer
/** @type {Set<StreamState>} */
const ACTIVE = new Set(["connecting", "connected", "reconnecting", "paused"]);

/**
 * What a reason means: `isPause` reconnects by itself, `isFinal` has nothing more to send.
 *
 * @typedef {{ text: string, isPause?: boolean, isFinal?: boolean }} Ending
 */

/** @satisfies {Record<Reason, Ending>} */
const ENDINGS = {
  shutdown: { text: "The server restarts.", isPause: true },
  recycled: { text: "The server renews the stream.", isPause: true },
  sandbox_destroyed: { text: "the sandbox was deleted", isFinal: true },
  sandbox_not_found: { text: "the sandbox does not exist any more", isFinal: true },
  log_complete: { text: "the command has ended, the log is complete", isFinal: true },
  log_error: { text: "the rest of the log cannot be read", isFinal: true },
  idle: { text: "nothing was written for a long time" },
  ended_by_operator: { text: "an operator, or your account in its settings, closed the stream" },
  revoked: { text: "the credentials of this stream were revoked; sign in again" },
};
/** @type {Record<string, Ending>} */
const ENDING_OF = ENDINGS;

/** @param {number} ms */
const inSeconds = (ms) => `in ${Math.max(1, Math.round(ms / 1000))} s`;

/**
 * @template {keyof Kinds} K
 * @typedef {object} StreamOptions
 * @property {K} kind
 * @property {() => Target | null} target - What to connect to; null where nothing is chosen.
 * @property {(state: StreamState, explanation: string) => void} onState
 * @property {(event: StreamEvent<K>) => void} onEvent
 * @property {() => void} [onReset] - Before the first event of another target.
 * @property {(message: MessageEvent<string>) => void} [onRaw] - Each event as it came.
 */

/** @template {keyof Kinds} K */
export class Stream {
  /** @type {StreamState} */
  state = "offline";
  /** The id of the last event. */
  lastId = "";

  /** @type {Required<StreamOptions<K>>} */
  #options;
  /** What is open or being opened. @type {{ close: () => void } | null} */
  #source = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #tries = 0;
  #address = "";
  /** @type {Target} */
  #target = {};
  #hasEnded = false;
  #isResumed = false;
  #explanation = "";

  /** @param {StreamOptions<K>} options */
  constructor(options) {
    this.#options = { onReset: () => {}, onRaw: () => {}, ...options };
    this.#show("offline");
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#pause() : this.#wake()));
    addEventListener("online", () => {
      if (this.state === "reconnecting") this.#retryNow();
    });
  }

  get isActive() {
    return ACTIVE.has(this.state);
  }

  /**
   * Connect to the present target: resume after `lastId`, or after the last event where the target is the same.
   *
   * @param {{ lastId?: string }} [options]
   */
  connect({ lastId } = {}) {
    const target = this.#options.target();
    this.disconnect();
    const address = target ? this.#addressOf(target) : "";
    const isOther = address !== this.#address || this.#hasEnded;
    if (isOther) this.#options.onReset();
    this.lastId = lastId ?? (isOther ? "" : this.lastId);
    this.#address = address;
    this.#target = target ?? {};
    this.#hasEnded = false;
    this.#tries = 0;
    if (!target) return;
    if (document.hidden) this.#show("paused");
    else void this.#open("connecting");
  }

  disconnect() {
    this.#close();
    this.#show("offline");
  }

  /** @param {Target} target */
  #addressOf(target) {
    const { address, inPath } = KINDS[this.#options.kind];
    const query = new URLSearchParams(Object.entries(target).filter(([name, value]) => value && name !== inPath));
    return `${address(target)}?${query.toString()}`;
  }

  #close() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  #pause() {
    if (!this.isActive) return;
    this.#close();
    this.#show("paused");
  }

  #wake() {
    if (this.state !== "paused") return;
    this.#tries = 0;
    void this.#open("connecting");
  }

  #retryNow() {
    this.#close();
    void this.#open("reconnecting");
  }

  /** @param {"connecting" | "reconnecting"} state */
  async #open(state) {
    this.#show(state, state === "connecting" ? "" : "Trying now.");
    const opening = { close: () => {} };
    this.#source = opening;
    let url;
    try {
      url = this.#withLastId(await this.#addressWithTicket());
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (this.#source === opening) this.#refused(error);
      return;
    }
    // Unless it was closed or opened anew meanwhile.
    if (this.#source === opening) this.#listen(url);
  }

  /** @param {string} url */
  #listen(url) {
    const source = new EventSource(url);
    this.#source = source;
    this.#isResumed = this.lastId !== "";
    source.onopen = () => {
      this.#tries = 0;
      this.#show("connected");
    };
    for (const name of KINDS[this.#options.kind].names)
      source.addEventListener(name, (message) => this.#receive(message));
    // Two things have this name: an event that the server sent, which has data, and the loss of the connection.
    source.addEventListener("error", (message) => {
      if (message instanceof MessageEvent) this.#receive(message);
      else this.#lost(source, url);
    });
  }

  /** An EventSource sends the cookie of a session, but no token: a token gets a ticket first, a new one each time. */
  async #addressWithTicket() {
    if (isSignedIn() || !token.get()) return this.#address;
    const params = Object.fromEntries(Object.entries(this.#target).filter(([, value]) => value));
    /** @type {Ticket} */
    const ticket = await call("POST", api("tickets"), { kind: this.#options.kind, params });
    return pathOf(ticket.url);
  }

  /** @param {string} address - With a query. */
  #withLastId(address) {
    return this.lastId ? `${address}&lastEventId=${encodeURIComponent(this.lastId)}` : address;
  }

  /** @param {MessageEvent<string>} message */
  #receive(message) {
    if (message.lastEventId) this.lastId = message.lastEventId;
    this.#options.onRaw(message);
    const parsed = this.#parsed(message);
    if (!parsed) {
      this.#explain("The server sent an event that is not JSON.");
      return;
    }
    const { name, data, timestamp } = parsed;
    this.#note(name, data);
    const about = { isResumed: this.#isResumed, timestamp, id: message.lastEventId };
    this.#options.onEvent(/** @type {StreamEvent<K>} */ (/** @type {unknown} */ ({ name, data, about })));
    if (KINDS[this.#options.kind].ends.includes(name)) this.#end("the log is complete");
  }

  /**
   * @param {MessageEvent<string>} message
   * @returns {{ name: string, data: object, timestamp: string } | null}
   */
  #parsed({ type, data }) {
    try {
      const found = /** @type {object} */ (JSON.parse(data));
      if (this.#options.kind !== "events") return { name: type, data: found, timestamp: "" };
      const envelope = /** @type {{ event?: string, data?: object, timestamp?: string }} */ (found);
      return { name: envelope.event ?? type, data: envelope.data ?? {}, timestamp: envelope.timestamp ?? "" };
    } catch {
      return null;
    }
  }

  /**
   * Show what an event says of the stream itself.
   *
   * @param {string} name
   * @param {object} data
   */
  #note(name, data) {
    const said = /** @type {Partial<StreamError & { reason: string, reconnect_in_ms: number }>} */ (data);
    if (name === "disconnected") this.#disconnected(said.reason ?? "", said.reconnect_in_ms);
    else if (name === "error") this.#explain(`${said.message ?? ""} ${retry(said.retry_in_ms)}`);
    else if (name === "log-error") this.#explain(said.message ?? "");
    else if (this.#explanation) this.#explain(""); // an event came: whatever was wrong has passed
  }

  /**
   * @param {string} reason
   * @param {number} [ms] - After how long to come back.
   */
  #disconnected(reason, ms = FIRST_MS) {
    this.#close();
    const { text, isPause = false, isFinal = false } = ENDING_OF[reason] ?? { text: reason, isFinal: true };
    if (isPause) this.#retryLater(ms, text);
    else this.#end(text, isFinal);
  }

  /**
   * @param {string} explanation
   * @param {boolean} [isFinal]
   */
  #end(explanation, isFinal = true) {
    this.#close();
    this.#hasEnded = isFinal;
    this.#show("ended", explanation);
  }

  /**
   * @param {EventSource} source
   * @param {string} url
   */
  #lost(source, url) {
    const wasRefused = source.readyState === EventSource.CLOSED;
    this.#close();
    if (wasRefused) void this.#askWhy(url);
    else this.#retryLater(this.#backoff(), "The connection was lost.");
  }

  /**
   * An EventSource does not tell why it was refused: send the same request once more, and read the answer.
   *
   * @param {string} url
   */
  async #askWhy(url) {
    const controller = new AbortController();
    const asking = { close: () => controller.abort() };
    this.#source = asking;
    /** @type {Response | null} */
    let answer = null;
    try {
      answer = await fetch(url, { headers: { Accept: "text/event-stream" }, signal: controller.signal });
    } catch {
      // No answer: treated as a lost connection below.
    }
    const error = answer && !answer.ok ? await refusal(answer) : null;
    if (this.#source !== asking) return; // connected or disconnected meanwhile
    this.#close();
    // 204: there is nothing more, do not reconnect.
    if (answer?.status === 204) this.#end("everything was received");
    else if (error) this.#refused(error);
    else this.#retryLater(this.#backoff(), "The connection was lost.");
  }

  /** @param {Refused} error */
  #refused(error) {
    this.#close();
    if (TEMPORARY.has(error.status)) {
      this.#retryLater(error.retryAfterS * 1000 || this.#backoff(), error.message);
      return;
    }
    const hint = error.status === 401 ? " Sign in, or use a token." : "";
    this.#show("offline", `Refused: ${error.message}${hint}`);
  }

  /** A quarter more or less at random, so that pages which lost the server together do not return together. */
  #backoff() {
    return Math.min(MOST_MS, FIRST_MS * 2 ** this.#tries) * (0.75 + Math.random() / 2);
  }

  /**
   * @param {number} ms
   * @param {string} why
   */
  #retryLater(ms, why) {
    this.#tries += 1;
    this.#show("reconnecting", `${why} Trying again ${inSeconds(ms)}.`);
    this.#timer = setTimeout(() => void this.#open("reconnecting"), ms);
  }

  /**
   * @param {StreamState} state
   * @param {string} [explanation]
   */
  #show(state, explanation = "") {
    this.state = state;
    this.#explain(explanation);
  }

  /** @param {string} explanation */
  #explain(explanation) {
    this.#explanation = explanation;
    this.#options.onState(this.state, explanation);
  }
}

/** @param {number} [ms] */
const retry = (ms) => (ms === undefined ? "" : `The server tries again ${inSeconds(ms)}.`);
