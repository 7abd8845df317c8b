// One stream: an EventSource that says how it stands, comes back by itself, and goes on after the last event it had.
//
// The browser would reconnect after a lost connection, but not after a refusal, and would not say when. So it is done
// here for both: 2 s, doubled with each try, at most 30 s; or when the server says. In a hidden tab the stream is
// closed, for a browser opens only six connections to a server; on return it catches up.

import { api, call, isSignedIn, refusal, token } from "./api.js";

const LOG = ["log", "log-complete", "log-error"];
// The streams, as POST /api/tickets/ calls them. `ends` are events after which there is nothing more to come.
const KINDS = {
  events: { names: ["message"], address: () => "/api/events/stream", ends: [] },
  "execution-log": {
    names: ["connected", "disconnected", ...LOG],
    address: ({ task_id: id }) => `/api/exec/logs/${encodeURIComponent(id)}/stream`,
    inPath: "task_id",
    ends: ["log-complete"],
  },
  sse: {
    names: ["connected", "disconnected", "sandbox-status", "sessions-update", ...LOG, "message"],
    address: () => "/sse",
    ends: [],
  },
};
const FIRST_MS = 2000; // what the server's own `retry:` says
const MOST_MS = 30_000;
const LATER = new Set([0, 429, 500, 502, 503, 504]); // refusals that may pass; 0 is no answer at all
const ACTIVE = new Set(["connecting", "connected", "reconnecting", "paused"]);
const ENDS = {
  sandbox_destroyed: "the sandbox was deleted",
  sandbox_not_found: "there is no such sandbox any more",
  log_complete: "the command has ended, the log is complete",
  log_error: "the log cannot be read any further",
  idle: "nothing was written for a long time",
  ended_by_operator: "an operator closed the stream",
  revoked: "what it was opened with no longer holds; sign in again",
};
const MORE_TO_COME = new Set(["idle", "ended_by_operator", "revoked"]);
const PAUSES = {
  shutdown: "The server restarts.",
  recycled: "The stream is renewed.",
};

const inSeconds = (ms) => `in ${Math.max(1, Math.round(ms / 1000))} s`;

export class Stream {
  /**
   * `target()` answers the parameters of what to connect to, null where nothing is chosen.
   *
   * `onState(state, words)`: connecting, connected, reconnecting, paused, offline or ended. `onEvent(name, data,
   * {isResumed, timestamp, id})` gets each event, and `reset` before the first one of another stream; `onRaw(message)`
   * gets it as it came. `isResumed`: nothing was missed since the events before.
   */
  constructor({ kind, target, onState, onEvent, onRaw = () => {} }) {
    Object.assign(this, { kind, target, onState, onEvent, onRaw });
    this.source = null;
    this.timer = 0;
    this.address = "";
    this.lastId = "";
    this.words = "";
    this.#show("offline");
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#pause() : this.#wake()));
    addEventListener("online", () => this.state === "reconnecting" && this.#hurry());
  }

  get isActive() {
    return ACTIVE.has(this.state);
  }

  /** Connect to what is chosen now; where it is what it was before, go on after the last event, or after `lastId`. */
  connect({ lastId } = {}) {
    const wanted = this.target();
    this.disconnect();
    const address = wanted ? this.#addressOf(wanted) : "";
    const isOther = address !== this.address || this.hasEnded;
    if (isOther) this.onEvent("reset", {}, {});
    this.lastId = lastId ?? (isOther ? "" : this.lastId);
    Object.assign(this, { address, wanted, hasEnded: false, tries: 0 });
    if (!wanted) return;
    if (document.hidden) this.#show("paused");
    else this.#open("connecting");
  }

  disconnect() {
    this.#close();
    this.#show("offline");
  }

  #addressOf(wanted) {
    const { address, inPath } = KINDS[this.kind];
    const query = new URLSearchParams(Object.entries(wanted).filter(([name, value]) => value && name !== inPath));
    return `${address(wanted)}?${query}`;
  }

  #close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  #pause() {
    if (!this.isActive) return;
    this.#close();
    this.#show("paused");
  }

  #wake() {
    if (this.state !== "paused") return;
    this.tries = 0;
    this.#open("connecting");
  }

  #hurry() {
    this.#close();
    this.#open("reconnecting");
  }

  async #open(state) {
    this.#show(state, state === "connecting" ? "" : "Trying now.");
    let isStale = false;
    // Whoever closes what is being opened now closes this.
    const opening = (this.source = { close: () => (isStale = true) });
    try {
      this.opened = await this.#ticketed();
    } catch (error) {
      if (!isStale) this.#refused(error);
      return;
    }
    if (isStale || this.source !== opening) return;
    const source = (this.source = new EventSource(this.#url()));
    this.isResumed = this.lastId !== "";
    source.onopen = () => {
      this.tries = 0;
      this.#show("connected");
    };
    for (const name of KINDS[this.kind].names) source.addEventListener(name, (message) => this.#take(message));
    // Two things have this name: an event that the server sent, which has data, and the loss of the connection.
    source.addEventListener("error", (message) =>
      message instanceof MessageEvent ? this.#take(message) : this.#lost(),
    );
  }

  /** An EventSource sends the cookie of a session, but no token: that is shown to get a ticket, each time anew. */
  async #ticketed() {
    if (isSignedIn || !token.get()) return this.address;
    const params = Object.fromEntries(Object.entries(this.wanted).filter(([, value]) => value));
    const { pathname, search } = new URL((await call("POST", api("tickets"), { kind: this.kind, params })).url);
    return pathname + search;
  }

  #url() {
    return this.lastId ? `${this.opened}&lastEventId=${encodeURIComponent(this.lastId)}` : this.opened;
  }

  #take(message) {
    if (message.lastEventId) this.lastId = message.lastEventId;
    this.onRaw(message);
    let name = message.type;
    let data;
    let timestamp;
    try {
      data = JSON.parse(message.data);
      if (this.kind === "events") ({ event: name = "message", data = {}, timestamp } = data);
    } catch {
      this.#say("The server sent an event that is not JSON.");
      return;
    }
    if (name === "disconnected") this.#bye(data);
    else if (name === "error") this.#say(`${data.message} ${this.#again(data.retry_in_ms)}`);
    else if (name === "log-error") this.#say(data.message);
    else if (this.words) this.#say(""); // news: whatever was wrong is over
    this.onEvent(name, data, { isResumed: this.isResumed, timestamp, id: message.lastEventId });
    if (KINDS[this.kind].ends.includes(name)) this.#end("the log is complete");
  }

  #again(ms) {
    return ms === undefined ? "" : `The server tries again ${inSeconds(ms)}.`;
  }

  #end(words, hasEnded = true) {
    this.#close();
    this.hasEnded = hasEnded;
    this.#show("ended", words);
  }

  /** The server's last words. */
  #bye({ reason, reconnect_in_ms: ms }) {
    this.#close();
    if (reason in PAUSES) this.#later(ms ?? FIRST_MS, PAUSES[reason]);
    else this.#end(ENDS[reason] ?? reason, !MORE_TO_COME.has(reason));
  }

  #lost() {
    const wasRefused = this.source.readyState === EventSource.CLOSED;
    this.#close();
    if (wasRefused) this.#ask();
    else this.#later(this.#backoff(), "The connection was lost.");
  }

  /** An EventSource does not tell why it was refused: ask for the same once more, and read the answer. */
  async #ask() {
    const controller = new AbortController();
    const asked = (this.source = { close: () => controller.abort() });
    let answer = null;
    try {
      answer = await fetch(this.#url(), { headers: { Accept: "text/event-stream" }, signal: controller.signal });
    } catch {
      // No answer at all.
    }
    const error = answer && !answer.ok ? await refusal(answer) : null;
    if (this.source !== asked) return; // somebody has connected or disconnected meanwhile
    this.#close();
    // 204 says that there is nothing more, and not to come back.
    if (answer?.status === 204) this.#end("everything was received");
    else if (error) this.#refused(error);
    else this.#later(this.#backoff(), "The connection was lost.");
  }

  #refused(error) {
    this.#close();
    if (LATER.has(error.status)) {
      this.#later(error.retryAfterS * 1000 || this.#backoff(), error.message);
      return;
    }
    const hint = error.status === 401 ? " Sign in, or use a token." : "";
    this.#show("offline", `Refused: ${error.message}${hint}`);
  }

  #backoff() {
    // A quarter more or less by chance, so that pages which were cut off together do not come back together.
    const ms = Math.min(MOST_MS, FIRST_MS * 2 ** this.tries);
    return ms * (0.75 + Math.random() / 2);
  }

  #later(ms, why) {
    this.tries += 1;
    this.#show("reconnecting", `${why} Trying again ${inSeconds(ms)}.`);
    this.timer = setTimeout(() => this.#open("reconnecting"), ms);
  }

  #show(state, words = "") {
    this.state = state;
    this.#say(words);
  }

  #say(words) {
    this.words = words;
    this.onState(this.state, words);
  }
}
