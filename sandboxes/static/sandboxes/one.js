// The page of a sandbox: its state over time, sessions, commands with exit codes, a log, files.

import { api, call, file, Refused } from "../taskhub/api.js";
import { $, button, element, find, saveFile, timeElement } from "../taskhub/dom.js";
import { onPress, tryAction } from "../taskhub/forms.js";
import { ago, dateTime, fileSize } from "../taskhub/format.js";
import { indicator, withButton } from "../taskhub/indicator.js";
import { LogView } from "../taskhub/log.js";
import { refresher } from "../taskhub/refresher.js";
import { Stream } from "../taskhub/stream.js";
import { toast } from "../taskhub/toasts.js";
import { commandLine, exitText } from "./command-text.js";
import { actionsOf, ageOf, nameOf, showState, sizeOf, taskNodes, watchersOf } from "./facts.js";

/**
 * @import { Folder, SandboxExecution, SandboxHistory, Session, StateChange } from "schemas"
 * @import { StreamEvent } from "../taskhub/stream.js"
 * @import { Known } from "./facts.js"
 *
 * @typedef {{ sessionId: string, commandId: string, line: string }} Selected
 */

const EVERY_MS = 20_000; // watchers, and executions in it
const asked = $("main").dataset["sandbox"] ?? "";
/** @type {Known | null} */
let sandbox = null;
/** As its last event had it. */
let state = "";
/** @type {Selected | null} */
let selected = null;

// --- What is known of it -------------------------------------------------------------------------------

const actions = actionsOf({
  place: $("actions"),
  problem: $("problem"),
  focus: $("title"),
  sandbox: () => sandbox,
  onDone: async (_, text) => {
    toast(text);
    await refresh.now();
  },
});

async function read() {
  await tryAction($("problem"), async () => {
    try {
      sandbox = await call("GET", `${api("sandboxes", asked)}?facts=true`);
    } catch (error) {
      // What the hub has seen of it is still there.
      if (!(error instanceof Refused) || error.status !== 404) throw error;
      $("said").textContent = "It does not exist any more.";
      if (sandbox) sandbox = { ...sandbox, state: "destroyed" };
    }
    show();
    await readHistory();
  });
}

function show() {
  if (!sandbox) return;
  $("title").textContent = nameOf(sandbox);
  showState($("state"), sandbox.state);
  /** @type {[string, (string | HTMLElement)[]][]} */
  const facts = [
    ["Task", taskNodes(sandbox)],
    ["Age", [ageOf(sandbox)]],
    ["Holds", [sizeOf(sandbox)]],
    ["Watched by", [watchersOf(sandbox)]],
    ["Yours", [sandbox.hub?.own ? "yes" : "no"]],
    ["Id", [sandbox.id]],
  ];
  const { errorReason: reason } = sandbox;
  if (typeof reason === "string" && reason) facts.push(["Error", [reason]]);
  $("facts").replaceChildren(
    ...facts.flatMap(([name, nodes]) => {
      const value = element("dd");
      value.append(...nodes);
      return [element("dt", name), value];
    }),
  );
  actions.offer();
  if (sandbox.hub?.may_read_files) startFiles();
}

async function readHistory() {
  /** @type {SandboxHistory} */
  const history = await call("GET", api("sandboxes", asked, "history"));
  const moments = [...history.states.map(ofState), ...history.executions.flatMap(ofExecution)];
  moments.sort((one, other) => (one.at < other.at ? 1 : -1));
  $("history").replaceChildren(...moments.map(({ item }) => item));
  $("history").hidden = !moments.length;
  $("no-history").hidden = moments.length > 0;
}

/** @param {StateChange} change */
function ofState({ state: of, at, action, by }) {
  const badge = element("span", "", "badge state");
  showState(badge, of);
  return moment(at, badge, action ? `${action}, asked for by ${by || "the hub"}` : "");
}

/** @param {SandboxExecution} execution */
function ofExecution({ task_id: task, title, status, exit_code: code, started_at: start, finished_at: end }) {
  /** @param {string} at @param {string} text */
  const of = (at, text) => {
    const link = element("a", title);
    link.href = `/tasks/${task ?? ""}/`;
    return moment(at, link, text);
  };
  const ended = `execution ${status.replace("_", " ")}${code === null ? "" : `, exit ${code}`}`;
  return [...(start ? [of(start, "execution started")] : []), ...(end ? [of(end, ended)] : [])];
}

/**
 * @param {string} at
 * @param {HTMLElement} what
 * @param {string} text
 */
function moment(at, what, text) {
  const item = element("li");
  const time = timeElement(at);
  time.textContent = ago(at);
  time.title = dateTime(at);
  item.append(time, what, text);
  return { at: Date.parse(at), item };
}

// --- Sessions and commands -----------------------------------------------------------------------------

/** @param {Session[] | undefined} sessions - Left out where it is too large for an event. */
function showSessions(sessions = []) {
  const key = JSON.stringify(sessions);
  const list = $("sessions");
  if (list.dataset["shown"] === key) return; // the focus may be in it
  list.dataset["shown"] = key;
  const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset["command"] : "";
  list.replaceChildren(...sessions.map(sessionItem));
  list.hidden = !sessions.length;
  $("no-sessions").hidden = sessions.length > 0;
  if (focused) list.querySelector(`[data-command="${CSS.escape(focused)}"]`)?.dispatchEvent(new Event("refocus"));
}

/** @param {Session} session */
function sessionItem({ sessionId, commands }) {
  const item = element("li");
  const list = element("ul", "", "commands");
  // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- Daytona leaves out an empty list
  const all = commands ?? [];
  list.append(
    ...all.map(({ id, command, exitCode }) => {
      const line = commandLine(command);
      const row = element("li");
      const how = element("span", exitText(exitCode), exitCode ? "badge bad" : "badge");
      how.dataset["of"] = exitText(exitCode);
      const press = button("Log", "small");
      press.dataset["command"] = id;
      press.append(element("span", ` of ${line.slice(0, 60)}`, "unseen"));
      press.addEventListener("click", () => select({ sessionId, commandId: id, line }));
      press.addEventListener("refocus", () => press.focus());
      row.append(how, element("code", line), press);
      return row;
    }),
  );
  if (!all.length) list.append(element("li", "no commands", "note"));
  item.append(element("h3", sessionId), list);
  return item;
}

// --- The log -------------------------------------------------------------------------------------------

const log = new LogView({
  log: $("log"),
  pause: $("pause"),
  copy: $("copy"),
  toEnd: $("to-end"),
  count: $("count", HTMLOutputElement),
  copied: $("copied"),
  earlier: $("earlier"),
  outcome: $("outcome"),
});

/** @param {Selected} chosen */
function select(chosen) {
  selected = chosen;
  const { sessionId, commandId, line } = chosen;
  $("log-of").textContent = line;
  $("log-part").hidden = false;
  const whole = find($("earlier"), "a", HTMLAnchorElement);
  whole.href = `${api("sandboxes", asked, "sessions", sessionId, "commands", commandId)}logs`;
  streams.log.connect();
  $("log-title").focus();
}

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
      return wanted && { eventType, sandboxId: asked, ...wanted };
    },
    onState: indicator(place),
    onEvent,
    onReset,
  });
  withButton(place, made);
  return made;
}

const streams = {
  status: stream(
    "status-stream",
    "sandbox-status",
    () => ({}),
    ({ name, data }) => {
      if (name !== "sandbox-status" || data.state === state) return;
      state = data.state;
      if (sandbox) sandbox = { ...sandbox, ...data };
      show();
      refresh.soon(); // what may be done now, and its place in the history
    },
  ),
  sessions: stream(
    "sessions-stream",
    "sessions",
    () => ({}),
    ({ name, data }) => {
      if (name === "sessions-update") showSessions(data.sessions);
    },
  ),
  log: stream(
    "log-stream",
    "logs",
    () => selected && { sessionId: selected.sessionId, commandId: selected.commandId },
    ({ name, data }) => {
      if (name === "log") log.add(data);
      else if (name === "log-error") log.fail(data);
      else if (name === "log-complete") log.complete(data);
    },
    () => log.reset(),
  ),
};

// --- Files ---------------------------------------------------------------------------------------------

/** @param {string} path - Empty: where commands begin. */
async function openFolder(path) {
  const query = path ? `?${new URLSearchParams({ path }).toString()}` : "";
  /** @type {Folder} */
  const folder = await call("GET", `${api("sandboxes", asked, "files")}${query}`);
  $("path", HTMLInputElement).value = folder.path;
  $("files").replaceChildren(...folder.items.map(fileItem));
  $("files").hidden = !folder.items.length;
  $("no-files").hidden = folder.items.length > 0;
}

/** @param {Folder["items"][number]} item */
function fileItem({ name, path, is_dir: isFolder, size, modified }) {
  const item = element("li");
  const press = button(isFolder ? `${name}/` : name, "small");
  onPress(press, $("files-problem"), isFolder ? () => openFolder(path) : () => download(path, name));
  item.append(press);
  if (!isFolder) item.append(element("span", fileSize(size), "size"));
  if (!Number.isNaN(Date.parse(modified))) item.append(timeElement(modified));
  return item;
}

/**
 * @param {string} path
 * @param {string} name
 */
async function download(path, name) {
  const query = new URLSearchParams({ path }).toString();
  saveFile(await file(`${api("sandboxes", asked, "files", "content")}?${query}`), name);
}

/** Once the hub has said that the reader may see them. */
function startFiles() {
  const part = $("files-part");
  if (!part.hidden) return;
  part.hidden = false;
  const path = $("path", HTMLInputElement);
  onPress($("folder"), $("files-problem"), () => openFolder(path.value));
  onPress($("up"), $("files-problem"), () => openFolder(path.value.replace(/\/[^/]*\/?$/, "") || "/"));
  void tryAction($("files-problem"), () => openFolder(""));
}

const refresh = refresher(read, EVERY_MS);
void refresh.now();
streams.status.connect();
streams.sessions.connect();
