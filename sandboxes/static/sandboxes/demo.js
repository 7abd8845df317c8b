// The page to try /sse: choose a sandbox, do something with it, and watch. Spec 000's sse-demo.html.

import { api, call, Refused, token } from "../taskhub/api.js";
import { $, attempt as attemptIn, ofToken, onPress as press } from "../taskhub/forms.js";
import { indicator, withButton } from "../taskhub/indicator.js";
import { LogView, number } from "../taskhub/log.js";
import { RawEvents } from "../taskhub/raw.js";
import { Stream } from "../taskhub/stream.js";

const PAGES = 5; // of 200 sandboxes
const FACTS = ["state", "name", "id", "target", "cpu", "memory", "disk", "createdAt", "updatedAt", "errorReason"];
const LABEL_CHARS = 60;

/** The address of a sandbox, or of something in it. */
const sandboxes = (...names) => api("sandboxes", ...names);
const chosen = { sandboxId: "", sessionId: "", commandId: "" };
let known = []; // sandboxes, as they were listed
let sessions = []; // of the chosen sandbox, as they were last told

const raw = new RawEvents({ list: $("raw"), kept: $("raw-kept"), count: $("raw-count") });
const log = new LogView({
  log: $("log"),
  pause: $("pause"),
  clear: $("clear"),
  copy: $("copy"),
  toEnd: $("to-end"),
  count: $("count"),
  copied: $("copied"),
  earlier: $("earlier"),
  outcome: $("outcome"),
});

// --- Streams -------------------------------------------------------------------------------------------

function stream(id, kind, target, onEvent) {
  const place = $(id);
  const made = new Stream({
    kind: "sse",
    target: () => target() && { eventType: kind, ...target() },
    onState: indicator(place),
    onEvent,
    onRaw: (message) => raw.add(kind, message),
  });
  withButton(place, made);
  return made;
}

const ofSandbox = () => (chosen.sandboxId ? { sandboxId: chosen.sandboxId } : null);

const streams = {
  status: stream("status-stream", "sandbox-status", ofSandbox, (name, data) => {
    if (name === "reset") showFacts({});
    if (name === "sandbox-status") showFacts(data);
  }),
  sessions: stream("sessions-stream", "sessions", ofSandbox, (name, data) => {
    if (name === "sessions-update") showSessions(data.sessions, data.timestamp);
  }),
  log: stream(
    "log-stream",
    "logs",
    () => (chosen.commandId ? { ...chosen } : null),
    (name, data) => {
      if (name === "reset") log.reset();
      if (name === "log") log.add(data);
      if (name === "log-error") log.fail(data);
      if (name === "log-complete") {
        log.complete(data);
        attempt("sessions", readSessions); // the list says whether a command runs
      }
    },
  ),
};

// --- What is chosen ------------------------------------------------------------------------------------

/** Choose, show it in the address, and watch it. What is left out below the first name that changes is none. */
function choose({ sandboxId = chosen.sandboxId, sessionId = "", commandId = "" }) {
  const before = { ...chosen };
  Object.assign(chosen, { sandboxId, sessionId, commandId });
  const query = new URLSearchParams(Object.entries(chosen).filter(([, value]) => value));
  history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
  if (sandboxId !== before.sandboxId) {
    sessions = [];
    $("sessions-note").textContent = "";
    streams.status.connect();
    streams.sessions.connect();
  }
  if (sandboxId !== before.sandboxId || commandId !== before.commandId) streams.log.connect();
  $("earlier").querySelector("a").href = `${sandboxes(sandboxId, "sessions", sessionId, "commands", commandId)}logs`;
  showSandboxes();
  showChoices();
}

/** Fill a list of choices, and leave it as it is where nothing changed: it may be open. */
function fill(select, value, choices) {
  const all = [["", "none"], ...choices];
  if (value && !choices.some(([id]) => id === value)) all.push([value, value]);
  if (JSON.stringify(all) !== select.dataset.choices) {
    select.dataset.choices = JSON.stringify(all);
    select.replaceChildren(...all.map(([id, label]) => new Option(label, id)));
  }
  select.value = value;
}

function showSandboxes() {
  const label = ({ id, name, state }) => `${!name || name === id ? id : `${name}, ${id.slice(0, 8)}`}: ${state}`;
  fill(
    $("sandbox"),
    chosen.sandboxId,
    known.map((sandbox) => [sandbox.id, label(sandbox)]),
  );
  for (const id of ["start", "stop", "delete", "new-session"]) $(id).disabled = !chosen.sandboxId;
}

function showChoices() {
  fill(
    $("session"),
    chosen.sessionId,
    sessions.map(({ sessionId, commands }) => [sessionId, `${sessionId} (${commands.length})`]),
  );
  const commands = sessions.find(({ sessionId }) => sessionId === chosen.sessionId)?.commands ?? [];
  fill(
    $("command"),
    chosen.commandId,
    commands.map((command) => [command.id, commandLabel(command)]),
  );
}

function commandLabel({ command, exitCode }) {
  // The hub runs each command in a shell of its own; what people wrote is what is in the quotes.
  const line = command.replace(/^bash -c '(.*)'$/s, "$1").replaceAll(`'"'"'`, "'");
  const short = line.length > LABEL_CHARS ? `${line.slice(0, LABEL_CHARS)}…` : line;
  return `${exitCode == null ? "runs" : `exit ${exitCode}`}: ${short}`;
}

// --- What is known -------------------------------------------------------------------------------------

function showFacts(sandbox) {
  const said = FACTS.filter((name) => sandbox[name] != null && sandbox[name] !== "");
  const pairs = said.flatMap((name) => {
    const [term, value] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    value.textContent = sandbox[name];
    if (name === "state") value.id = "sandbox-state";
    return [term, value];
  });
  $("facts").replaceChildren(...pairs);
  $("facts").hidden = !pairs.length;
  const listed = known.find(({ id }) => id === sandbox.id);
  if (listed && listed.state !== sandbox.state) {
    listed.state = sandbox.state;
    showSandboxes();
  }
}

function showSessions(list, timestamp) {
  sessions = list;
  const commands = list.reduce((sum, session) => sum + session.commands.length, 0);
  $("sessions-note").textContent =
    `${number(list.length, "session")}, ${number(commands, "command")}, as of ${timestamp.slice(11, 19)} UTC`;
  showChoices();
}

async function readSandboxes() {
  const found = [];
  let cursor = "";
  for (let page = 0; page < PAGES && cursor !== null; page += 1) {
    const answer = await call(
      "GET",
      `${sandboxes()}?${new URLSearchParams({ limit: 200, ...(cursor && { cursor }) })}`,
    );
    found.push(...answer.items);
    cursor = answer.nextCursor;
  }
  known = found;
  showSandboxes();
}

async function readSessions() {
  const { sandboxId } = chosen;
  const list = await call("GET", sandboxes(sandboxId, "sessions"));
  if (sandboxId === chosen.sandboxId) showSessions(list, new Date().toISOString());
}

// --- What is done --------------------------------------------------------------------------------------

const hint = (error) =>
  error.message + ([401, 403].includes(error.status) && $("token") ? " Give an API token under Access." : "");

/** What goes wrong is said in the section's own place. */
const attempt = (section, action) => attemptIn($(`${section}-problem`), action, hint);
const onPress = (target, section, action) =>
  press(target, $(`${section}-problem`), action, section === "access" ? ofToken : hint);

async function change(verb) {
  const changed = await call("POST", `${sandboxes(chosen.sandboxId)}${verb}/`);
  if (changed.id === chosen.sandboxId) showFacts(changed);
  if (!streams.status.isActive) streams.status.connect();
}

async function makeSession() {
  const { sandboxId } = chosen; // the answer belongs to this one, whatever is chosen when it comes
  const { sessionId } = await call("POST", sandboxes(sandboxId, "sessions"), {});
  choose({ sandboxId, sessionId });
  await readSessions();
}

async function run() {
  if (!chosen.sandboxId) throw new Refused("Choose a sandbox first, or make one.");
  if (!chosen.sessionId) await makeSession();
  const { sandboxId, sessionId } = chosen;
  const { commandId } = await call("POST", sandboxes(sandboxId, "sessions", sessionId, "commands"), {
    command: $("line").value,
  });
  choose({ sandboxId, sessionId, commandId });
  await readSessions();
}

async function create() {
  const made = await call("POST", sandboxes(), $("name").value ? { name: $("name").value } : {});
  $("name").value = "";
  known.unshift(made); // the list may be a little behind
  choose({ sandboxId: made.id });
  showFacts(made);
}

async function remove() {
  const { sandboxId } = chosen;
  if (!confirm(`Delete sandbox ${sandboxId}, with everything in it?`)) return;
  await call("DELETE", sandboxes(sandboxId));
  known = known.filter(({ id }) => id !== sandboxId);
  showSandboxes();
}

onPress($("refresh"), "sandbox", readSandboxes);
onPress($("start"), "sandbox", () => change("start"));
onPress($("stop"), "sandbox", () => change("stop"));
onPress($("delete"), "sandbox", remove);
onPress($("create"), "sandbox", create);
onPress($("new-session"), "sessions", makeSession);
onPress($("run"), "sessions", run);
$("sandbox").addEventListener("change", () => choose({ sandboxId: $("sandbox").value }));
$("session").addEventListener("change", () => choose({ sessionId: $("session").value }));
$("command").addEventListener("change", () => choose({ ...chosen, commandId: $("command").value }));

// --- Access --------------------------------------------------------------------------------------------

function showAccess() {
  $("access").hidden = token.get() !== "";
  $("forget").hidden = token.get() === "";
  const where = $("access-note").dataset.tokenFile; // only where it is a file of this machine
  $("access-note").textContent = token.get()
    ? "A token is in use; this tab forgets it when it is closed."
    : `Writing needs a token.${where ? ` make run keeps one in ${where}.` : ""}`;
}

if ($("access")) {
  onPress($("access"), "access", async () => {
    const given = $("token").value.trim();
    await call("GET", `${sandboxes()}?limit=1`, undefined, { bearer: given }); // a wrong one is refused
    token.set(given);
    $("token").value = "";
    showAccess();
    $("forget").focus(); // the field is gone
    await attempt("sandbox", readSandboxes);
  });
  $("forget").addEventListener("click", () => {
    token.forget();
    showAccess();
    $("token").focus();
  });
  showAccess();
}

attempt("sandbox", readSandboxes);
choose(
  Object.fromEntries(Object.keys(chosen).map((name) => [name, new URLSearchParams(location.search).get(name) ?? ""])),
);
