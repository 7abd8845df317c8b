// The page to try /sse: select a sandbox, use it, and watch its streams. Spec 000's sse-demo.html.

import { api, call, Refused, token } from "../taskhub/api.js";
import { confirmed } from "../taskhub/confirm-dialog.js";
import { $, element, find } from "../taskhub/dom.js";
import { onPress as onPressIn, tokenError, tryAction as tryIn } from "../taskhub/forms.js";
import { count } from "../taskhub/format.js";
import { indicator, withButton } from "../taskhub/indicator.js";
import { LogView } from "../taskhub/log.js";
import { RawEvents } from "../taskhub/raw-events.js";
import { Stream } from "../taskhub/stream.js";
import { commandLine, exitText } from "./command-text.js";

/**
 * @import { Command, CommandStarted, Sandbox, SandboxPage, Session, SessionCreated } from "schemas"
 * @import { StreamEvent } from "../taskhub/stream.js"
 *
 * @typedef {{ sandboxId: string, sessionId: string, commandId: string }} Selection - Empty strings are none.
 * @typedef {"access" | "sandbox" | "sessions"} Section - A section of the page with a place for errors.
 */

const PAGES = 5; // of 200 sandboxes
const FACTS = ["state", "name", "id", "target", "cpu", "memory", "disk", "createdAt", "updatedAt", "errorReason"];
const LABEL_CHARS = 60;

/**
 * The address of a sandbox, or of something in it.
 *
 * @param {...string} names
 */
const sandboxes = (...names) => api("sandboxes", ...names);
/** @type {Selection} */
let selected = { sandboxId: "", sessionId: "", commandId: "" };
/** As they were listed. @type {Sandbox[]} */
let known = [];
/** Those of the selected sandbox, as they were last sent. @type {Session[]} */
let sessions = [];

const raw = new RawEvents({
  list: $("raw"),
  kept: $("raw-kept", HTMLOutputElement),
  count: $("raw-count", HTMLOutputElement),
});
const log = new LogView({
  log: $("log"),
  pause: $("pause"),
  clear: $("clear"),
  copy: $("copy"),
  toEnd: $("to-end"),
  count: $("count", HTMLOutputElement),
  copied: $("copied"),
  earlier: $("earlier"),
  outcome: $("outcome"),
});

// --- Streams -------------------------------------------------------------------------------------------

/**
 * @param {string} id - Of the indicator.
 * @param {string} eventType
 * @param {() => Record<string, string> | null} target
 * @param {(event: StreamEvent<"sse">) => void} onEvent
 * @param {() => void} [onReset]
 */
function stream(id, eventType, target, onEvent, onReset = () => {}) {
  const place = $(id);
  const made = new Stream({
    kind: "sse",
    target: () => {
      const wanted = target();
      return wanted && { eventType, ...wanted };
    },
    onState: indicator(place),
    onEvent,
    onReset,
    onRaw: (message) => raw.add(eventType, message),
  });
  withButton(place, made);
  return made;
}

const ofSandbox = () => (selected.sandboxId ? { sandboxId: selected.sandboxId } : null);

const streams = {
  status: stream(
    "status-stream",
    "sandbox-status",
    ofSandbox,
    ({ name, data }) => {
      if (name === "sandbox-status") showFacts(data);
    },
    () => showFacts(null),
  ),
  sessions: stream("sessions-stream", "sessions", ofSandbox, ({ name, data }) => {
    if (name === "sessions-update") showSessions(data.sessions, data.timestamp);
  }),
  log: stream(
    "log-stream",
    "logs",
    () => (selected.commandId ? { ...selected } : null),
    ({ name, data }) => {
      if (name === "log") log.add(data);
      else if (name === "log-error") log.fail(data);
      else if (name === "log-complete") {
        log.complete(data);
        void tryAction("sessions", readSessions); // the list says whether a command runs
      }
    },
    () => log.reset(),
  ),
};

// --- The selection -------------------------------------------------------------------------------------

/**
 * Select, show the selection in the address, and watch it. What is left out is none, except the sandbox.
 *
 * @param {Partial<Selection>} wanted
 */
function select({ sandboxId = selected.sandboxId, sessionId = "", commandId = "" }) {
  const before = selected;
  selected = { sandboxId, sessionId, commandId };
  const query = new URLSearchParams(Object.entries(selected).filter(([, value]) => value));
  history.replaceState(null, "", query.size ? `?${query.toString()}` : location.pathname);
  if (sandboxId !== before.sandboxId) {
    sessions = [];
    $("sessions-note").textContent = "";
    streams.status.connect();
    streams.sessions.connect();
  }
  if (sandboxId !== before.sandboxId || commandId !== before.commandId) streams.log.connect();
  const whole = find($("earlier"), "a", HTMLAnchorElement);
  whole.href = `${sandboxes(sandboxId, "sessions", sessionId, "commands", commandId)}logs`;
  showSandboxes();
  showChoices();
}

/**
 * Fill a list of choices. It stays as it is where nothing changed: it may be open.
 *
 * @param {string} id
 * @param {string} value
 * @param {[string, string][]} choices - Values and labels.
 */
function fill(id, value, choices) {
  const list = $(id, HTMLSelectElement);
  const all = [["", "none"], ...choices];
  if (value && !choices.some(([each]) => each === value)) all.push([value, value]);
  const key = JSON.stringify(all);
  if (key !== list.dataset["choices"]) {
    list.dataset["choices"] = key;
    list.replaceChildren(...all.map(([each, label]) => new Option(label, each)));
  }
  list.value = value;
}

function showSandboxes() {
  fill(
    "sandbox",
    selected.sandboxId,
    known.map((sandbox) => [sandbox.id, sandboxLabel(sandbox)]),
  );
  for (const id of ["start", "stop", "delete", "new-session"]) $(id, HTMLButtonElement).disabled = !selected.sandboxId;
}

/** @param {Sandbox} sandbox */
const sandboxLabel = ({ id, name, state }) => `${!name || name === id ? id : `${name}, ${id.slice(0, 8)}`}: ${state}`;

function showChoices() {
  fill(
    "session",
    selected.sessionId,
    sessions.map(({ sessionId, commands }) => [sessionId, `${sessionId} (${commands.length})`]),
  );
  const commands = sessions.find(({ sessionId }) => sessionId === selected.sessionId)?.commands ?? [];
  fill(
    "command",
    selected.commandId,
    commands.map((command) => [command.id, commandLabel(command)]),
  );
}

/** @param {Command} command */
function commandLabel({ command, exitCode }) {
  const line = commandLine(command);
  const short = line.length > LABEL_CHARS ? `${line.slice(0, LABEL_CHARS)}…` : line;
  return `${exitText(exitCode)}: ${short}`;
}

// --- What is known -------------------------------------------------------------------------------------

/** @param {(Sandbox & Record<string, unknown>) | null} sandbox */
function showFacts(sandbox) {
  const said = Object.entries(sandbox ?? {}).filter(([name, value]) => FACTS.includes(name) && isFact(value));
  said.sort(([one], [other]) => FACTS.indexOf(one) - FACTS.indexOf(other));
  const pairs = said.flatMap(([name, value]) => {
    const cell = element("dd", String(value));
    if (name === "state") cell.id = "sandbox-state";
    return [element("dt", name), cell];
  });
  $("facts").replaceChildren(...pairs);
  $("facts").hidden = !pairs.length;
  const listed = known.find(({ id }) => id === sandbox?.id);
  if (listed && sandbox && listed.state !== sandbox.state) {
    listed.state = sandbox.state;
    showSandboxes();
  }
}

/** @param {unknown} value */
const isFact = (value) => value !== null && value !== undefined && value !== "";

/**
 * @param {Session[] | undefined} list - Left out where it is too large for an event.
 * @param {string} timestamp
 */
function showSessions(list, timestamp) {
  sessions = list ?? [];
  // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- a frame leaves out what is too large for it
  const commands = sessions.reduce((sum, session) => sum + (session.commands?.length ?? 0), 0);
  $("sessions-note").textContent =
    `${count(sessions.length, "session")}, ${count(commands, "command")}, as of ${timestamp.slice(11, 19)} UTC`;
  showChoices();
}

async function readSandboxes() {
  /** @type {Sandbox[]} */
  const found = [];
  /** @type {string | null} */
  let cursor = "";
  for (let page = 0; page < PAGES && cursor !== null; page += 1) {
    const query = new URLSearchParams({ limit: "200", ...(cursor && { cursor }) });
    /** @type {SandboxPage} */
    const answer = await call("GET", `${sandboxes()}?${query.toString()}`);
    found.push(...answer.items);
    cursor = answer.nextCursor;
  }
  known = found;
  showSandboxes();
}

async function readSessions() {
  const { sandboxId } = selected;
  /** @type {Session[]} */
  const list = await call("GET", sandboxes(sandboxId, "sessions"));
  if (sandboxId === selected.sandboxId) showSessions(list, new Date().toISOString());
}

// --- Actions -------------------------------------------------------------------------------------------

/** @param {Refused} error */
const withHint = (error) =>
  error.message +
  ([401, 403].includes(error.status) && document.getElementById("token") ? " Enter an API token under Access." : "");

/**
 * Errors are shown in the section's own place.
 *
 * @param {Section} section
 * @param {() => unknown} action
 */
const tryAction = (section, action) => tryIn($(`${section}-problem`), action, withHint);

/**
 * @param {string} id - Of a button or form.
 * @param {Section} section
 * @param {() => unknown} action
 */
const onPress = (id, section, action) =>
  onPressIn($(id), $(`${section}-problem`), action, section === "access" ? tokenError : withHint);

/** @param {"start" | "stop"} verb */
async function change(verb) {
  /** @type {Sandbox & Record<string, unknown>} */
  const changed = await call("POST", `${sandboxes(selected.sandboxId)}${verb}/`);
  if (changed.id === selected.sandboxId) showFacts(changed);
  if (!streams.status.isActive) streams.status.connect();
}

async function createSession() {
  const { sandboxId } = selected; // of the answer, whatever is selected when it comes
  /** @type {SessionCreated} */
  const { sessionId } = await call("POST", sandboxes(sandboxId, "sessions"), {});
  select({ sandboxId, sessionId });
  await readSessions();
}

async function run() {
  if (!selected.sandboxId) throw new Refused("Select a sandbox first, or create one.");
  if (!selected.sessionId) await createSession();
  const { sandboxId, sessionId } = selected;
  const address = sandboxes(sandboxId, "sessions", sessionId, "commands");
  /** @type {CommandStarted} */
  const { commandId } = await call("POST", address, { command: $("line", HTMLInputElement).value });
  select({ sandboxId, sessionId, commandId });
  await readSessions();
}

async function create() {
  const name = $("name", HTMLInputElement);
  /** @type {Sandbox & Record<string, unknown>} */
  const created = await call("POST", sandboxes(), name.value ? { name: name.value } : {});
  name.value = "";
  known.unshift(created); // the list may be a little behind
  select({ sandboxId: created.id });
  showFacts(created);
}

async function remove() {
  const { sandboxId } = selected;
  const text = [`${sandboxId}, with everything in it.`];
  if (!(await confirmed({ title: "Delete this sandbox?", text, action: "Delete" }))) return;
  await call("DELETE", sandboxes(sandboxId));
  known = known.filter(({ id }) => id !== sandboxId);
  showSandboxes();
}

onPress("refresh", "sandbox", readSandboxes);
onPress("start", "sandbox", () => change("start"));
onPress("stop", "sandbox", () => change("stop"));
onPress("delete", "sandbox", remove);
onPress("create", "sandbox", create);
onPress("new-session", "sessions", createSession);
onPress("run", "sessions", run);

/** @type {[string, (value: string) => Partial<Selection>][]} */
const LISTS = [
  ["sandbox", (sandboxId) => ({ sandboxId })],
  ["session", (sessionId) => ({ sessionId })],
  ["command", (commandId) => ({ ...selected, commandId })],
];
for (const [id, wanted] of LISTS) {
  const list = $(id, HTMLSelectElement);
  list.addEventListener("change", () => select(wanted(list.value)));
}

// --- Access --------------------------------------------------------------------------------------------

function showAccess() {
  const has = token.get() !== "";
  $("access").hidden = has;
  $("forget").hidden = !has;
  const where = $("access-note").dataset.tokenFile; // only where it is a file of this machine
  $("access-note").textContent = has
    ? "A token is in use; this tab forgets it when it is closed."
    : `Writing needs a token.${where ? ` make run keeps one in ${where}.` : ""}`;
}

async function useToken() {
  const input = $("token", HTMLInputElement);
  const given = input.value.trim();
  await call("GET", `${sandboxes()}?limit=1`, undefined, { bearer: given }); // a wrong one is refused
  token.set(given);
  input.value = "";
  showAccess();
  $("forget").focus(); // the field has disappeared
  await tryAction("sandbox", readSandboxes);
}

if (document.getElementById("access")) {
  onPress("access", "access", useToken);
  $("forget").addEventListener("click", () => {
    token.forget();
    showAccess();
    $("token").focus();
  });
  showAccess();
}

void tryAction("sandbox", readSandboxes);
const asked = new URLSearchParams(location.search);
select(Object.fromEntries(Object.keys(selected).map((name) => [name, asked.get(name) ?? ""])));
