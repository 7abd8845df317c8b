// A task's page: its fields, history and executions, and the actions on it.

import { api, call, isSignedIn, Refused } from "./api.js";
import { $, element, timeElement } from "./dom.js";
import { entryOf, enums, priorityRank } from "./enums.js";
import { closable, onPress, showError, tryAction } from "./forms.js";
import { hubStream } from "./hub.js";
import { mayWork as worksAs, me } from "./identity.js";
import { linkNodes } from "./links.js";
import { showMarkdown } from "./markdown.js";
import { RepeatedVariables } from "./run-again.js";
import { showBlockers } from "./task-blockers.js";
import { showCheck, verifier } from "./task-check.js";
import { editor } from "./task-edit.js";
import { Executions } from "./task-executions.js";
import { historyOf } from "./task-history.js";
import { Notes } from "./task-notes.js";
import { ticker } from "./task-ticks.js";

/**
 * @import { ExecuteRequest, Execution, ExecutionWithScript, RenderedTask, Task, Variable } from "schemas"
 */

const RETRY_MS = 3000;

const taskId = document.body.dataset["task"] ?? "";
const problem = $("problem");
/** @type {Task | null} */
let task = null;
let isGone = false;
/** @type {Promise<void> | null} */
let reading = null;
let mustReadAgain = false;

const history = historyOf(taskId);
const notes = new Notes(taskId, refresh);
const executions = new Executions(taskId, {
  onChange: (active) => {
    $("run").hidden = Boolean(active) && active?.kind !== "verify"; // a run supersedes a verification
    $("stop").hidden = !active || active.ending !== null;
  },
  mayRun: () => mayWork,
  onAgain: (execution) => tryAction(problem, () => runAgain(execution)),
});

// --- Showing ---------------------------------------------------------------------------------------------

/**
 * A token of this tab acts as an agent, and agents release nothing that is held back.
 *
 * @param {Task} task
 */
const isReleasable = ({ holder, held_back: isHeldBack }) => holder !== "" || (isHeldBack && isSignedIn());

/** @param {Task} now */
function show(now) {
  if (task && task.version > now.version) return;
  task = now;
  document.title = `${task.title} · TaskHub`;
  $("title").textContent = task.title;
  $("no-description").hidden = task.description !== "";
  $("status").textContent = entryOf(enums().statuses, task.status).label;
  $("priority").textContent = $("priority").dataset["priority"] = task.priority;
  $("priority").dataset["rank"] = priorityRank(task.priority);
  $("assignee").textContent = task.assignee || "unassigned";
  $("holder").textContent = task.held_back
    ? "no agent: attempts at it failed, release it to let them try again"
    : task.holder || "no agent";
  $("release").hidden = !isReleasable(task);
  $("seen-by").textContent = task.private ? "its assignee and operators" : "everyone";
  $("tags").textContent = task.tags.join(", ") || "none";
  const artifacts = task.artifacts.length ? task.artifacts : ["none"];
  $("artifacts").replaceChildren(...artifacts.map(artifactRow));
  $("created").replaceChildren(timeElement(task.created_at));
  $("updated").replaceChildren(timeElement(task.updated_at));
  $("version").textContent = String(task.version);
}

/** @param {string} artifact */
function artifactRow(artifact) {
  const row = element("li");
  row.append(...linkNodes(artifact));
  return row;
}

/** @param {RenderedTask} now */
function showDescription(now) {
  if (task && task.version > now.version) return; // the next answer has the description of that version
  showMarkdown($("description"), now.description, now.description_html, { mayTick: mayWork });
}

function showGone() {
  isGone = true;
  $("actions").hidden = true;
  showError(problem, "This task was deleted, or you may not see it any more. The page shows its last known state.");
}

/** Read everything again; for any number of events meanwhile, once more is enough. */
function refresh() {
  mustReadAgain = true;
  reading ??= readAgain().finally(() => (reading = null));
}

async function readAgain() {
  while (mustReadAgain && !isGone) {
    mustReadAgain = false;
    try {
      await Promise.all([current(), history.refresh(), executions.refresh(), notes.refresh()]);
      if (problem.dataset["of"] === "reading") showError(problem, "");
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (error.status === 404) {
        showGone();
        return;
      }
      problem.dataset["of"] = "reading";
      showError(problem, `The task could not be read: ${error.message} Trying again.`);
      setTimeout(refresh, RETRY_MS);
    }
  }
}

// --- Actions -----------------------------------------------------------------------------------------------

const mayWork = worksAs(await me);
$("actions").hidden = !mayWork;
$("note-form").hidden = !mayWork;
if (mayWork) $("no-executions").textContent = "None yet. “Run” starts one.";

/**
 * The task as it is now, also where no stream reports its changes.
 *
 * @throws {Refused}
 */
async function current() {
  /** @type {RenderedTask} */
  const now = await call("GET", `${api("tasks", taskId)}?html=true`);
  showDescription(now);
  show(now);
  showBlockers(now, refresh);
  showCheck(now, { mayWork });
  notes.show(now);
  return now;
}

editor({
  button: $("edit"),
  problem,
  current,
  onSaved: (saved) => {
    show(saved);
    refresh();
    $("note").textContent = `Saved as version ${saved.version}.`;
  },
});

ticker({
  place: $("description"),
  problem,
  task: () => task,
  onSaved: (saved) => {
    show(saved);
    refresh();
  },
  onRefused: refresh,
});

const runner = closable($("run-dialog", HTMLDialogElement));
const repeated = new RepeatedVariables($("run-variables"));
let filledIn = ""; // the script of an earlier run, as it was filled in
let again = ""; // that run
$("run").addEventListener("click", () => openRunner({ script: "", timeout: "", environment: "" }));
runner.addEventListener("close", () => repeated.clear());

/**
 * A script that a person has written or changed stays.
 *
 * @param {{ script: string, timeout: string, environment: string, again?: string, variables?: Variable[] | null }} values
 */
function openRunner({ script, timeout, environment, again: id = "", variables = [] }) {
  const field = $("script", HTMLTextAreaElement);
  if (id || field.value === filledIn) {
    field.value = filledIn = script;
    $("timeout", HTMLInputElement).value = timeout;
    $("environment", HTMLInputElement).value = environment;
    again = id;
    repeated.show(variables);
  }
  showError($("run-problem"), "");
  runner.showModal();
}

/**
 * Run a script again, in the environment that it ran in and with its variables: what is shown first may be changed.
 *
 * @param {Execution} execution
 */
async function runAgain({ execution_id: id, timeout_s: timeout, environment }) {
  /** @type {ExecutionWithScript} */
  const { script, variables } = await call("GET", api("executions", id));
  openRunner({ script, timeout: String(timeout), environment: environment?.name ?? "", again: id, variables });
}
onPress($("run-form"), $("run-problem"), async () => {
  const script = $("script", HTMLTextAreaElement).value;
  const timeout = $("timeout", HTMLInputElement).value;
  /** @type {ExecuteRequest} */
  const body = {};
  if (script.trim()) body.script_content = script;
  if (timeout) body.timeout_s = Number(timeout);
  const environment = $("environment", HTMLInputElement).value.trim();
  if (environment) body.environment = environment;
  if (again) {
    body.again = again;
    body.env = repeated.env;
  }
  await call("POST", api("exec", taskId), body);
  runner.close();
  refresh();
});

onPress($("stop"), problem, async () => {
  await call("POST", api("exec", "stop", taskId));
  $("note").textContent = "Stop requested.";
  refresh();
});

verifier(taskId, {
  problem,
  hasVerdict: () => task !== null && task.verified !== null,
  onAsked: refresh,
});

onPress($("release"), problem, async () => {
  await call("POST", api("tasks", taskId, "release"));
  $("note").textContent = "Released.";
  refresh();
});

onPress($("delete"), problem, async () => {
  const { title } = await current();
  if (!confirm(`Delete “${title}”?`)) return;
  await call("DELETE", api("tasks", taskId));
  location.assign("/");
});

refresh(); // once now, also without a stream, and once more when the stream is connected
hubStream({
  target: () => ({ task_id: taskId }),
  onSnapshot: refresh,
  onEvent: ({ name, data }) => {
    if (!("task_id" in data) || data.task_id !== taskId) return;
    if (name === "task_deleted") showGone();
    else refresh();
  },
}).connect();
