// A task's page: its fields, history and executions, and the actions on it.

import { api, call, isSignedIn, Refused } from "./api.js";
import { confirmed } from "./confirm-dialog.js";
import { $, agoElement, element, tickTimes } from "./dom.js";
import { closable, onPress, showError, tryAction } from "./forms.js";
import { split } from "./format.js";
import { hubStream } from "./hub.js";
import { mayWork as worksAs, me } from "./identity.js";
import { editInPlace } from "./in-place.js";
import { linkNodes } from "./links.js";
import { showMarkdown } from "./markdown.js";
import { RepeatedVariables } from "./run-again.js";
import { Asks } from "./task-asks.js";
import { showCheck, verifier } from "./task-check.js";
import { Executions } from "./task-executions.js";
import { showBlockers, showDependents } from "./task-order.js";
import { changeProperties, showProperties } from "./task-properties.js";
import { ticker } from "./task-ticks.js";
import { Timeline } from "./task-timeline.js";
import { toast } from "./toasts.js";

/**
 * @import { ExecuteRequest, Execution, ExecutionWithScript, RenderedTask, Task, Variable } from "schemas"
 */

const RETRY_MS = 3000;
const ORDER_MS = 20_000; // other tasks that this one waits for, or that wait for it, change without an event here
const TICK_MS = 15_000;

const taskId = document.body.dataset["task"] ?? "";
const problem = $("problem");
/** @type {Task | null} */
let task = null;
let isGone = false;
/** @type {Promise<void> | null} */
let reading = null;
let mustReadAgain = false;
let ownScript = ""; // of the description: what a run without a script of its own runs

const timeline = new Timeline(taskId, {
  onAdded: refresh,
  onRun: (id) => {
    executions.show(id);
    $("log-title").scrollIntoView({ block: "start" });
    $("log-title").focus({ preventScroll: true });
  },
});
const executions = new Executions(taskId, {
  onChange: (active, all) => {
    $("run").hidden = Boolean(active) && active?.kind !== "verify"; // a run supersedes a verification
    $("stop").hidden = !active || active.ending !== null;
    timeline.showRuns(all);
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
  showProperties(task);
  $("holder").textContent = task.held_back
    ? "no agent: attempts at it failed, release it to let them try again"
    : task.holder || "no agent";
  $("release").hidden = !isReleasable(task);
  const artifacts = task.artifacts.length ? task.artifacts : ["none"];
  $("artifacts").replaceChildren(...artifacts.map(artifactRow));
  $("created").replaceChildren(agoElement(task.created_at));
  $("updated").replaceChildren(agoElement(task.updated_at));
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
      const [now] = await Promise.all([current(), timeline.refresh(), executions.refresh(), showDependents(taskId)]);
      timeline.showHolder(now.holder);
      asks.show(now, timeline.notes, executions.lastRun);
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

const identity = await me;
const mayWork = worksAs(identity);
for (const id of ["actions", "note-form", "title-edit", "description-edit", "artifacts-edit"]) $(id).hidden = !mayWork;
if (mayWork) $("no-executions").textContent = "None yet. “Run” starts one.";
const asks = new Asks({ mayWork, name: identity.name, onDone: refresh });

/**
 * The task as it is now, also where no stream reports its changes.
 *
 * @throws {Refused}
 */
async function current() {
  /** @type {RenderedTask} */
  const now = await call("GET", `${api("tasks", taskId)}?html=true`);
  showDescription(now);
  ownScript = now.script ?? "";
  show(now);
  showBlockers(now, { mayWork, onWaived: refresh });
  showCheck(now, { mayWork });
  return now;
}

/** @param {Task} saved */
function onSaved(saved) {
  show(saved);
  refresh();
}

if (mayWork) changeProperties({ task: () => task, name: identity.name, problem, onSaved });

editInPlace({
  press: $("title-edit"),
  form: $("title-form", HTMLFormElement),
  view: [$("title")],
  current,
  problem,
  textOf: ({ title }) => title,
  fieldsOf: (text) => ({ title: text.trim() }),
  onSaved,
});
editInPlace({
  press: $("description-edit"),
  form: $("description-form", HTMLFormElement),
  view: [$("description")],
  current,
  problem,
  textOf: ({ description }) => description,
  fieldsOf: (description) => ({ description }),
  onSaved,
});
editInPlace({
  press: $("artifacts-edit"),
  form: $("artifacts-form", HTMLFormElement),
  view: [$("artifacts")],
  current,
  problem,
  textOf: ({ artifacts }) => artifacts.join("\n"),
  fieldsOf: (text) => ({ artifacts: split(text, "\n") }),
  onSaved,
});

ticker({
  place: $("description"),
  problem,
  task: () => task,
  onSaved,
  onRefused: refresh,
});

const runner = closable($("run-dialog", HTMLDialogElement));
const repeated = new RepeatedVariables($("run-variables"));
let filledIn = ""; // the script of an earlier run, as it was filled in
let again = ""; // that run
$("run").addEventListener("click", () => openRunner({ script: ownScript, timeout: "", environment: "" }));
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
  const isOwn = !id && field.value !== "" && field.value === ownScript;
  $("run-script-note").textContent = isOwn
    ? "The first bash block of the description. What you change here is for this run alone."
    : id
      ? "As it ran then."
      : field.value
        ? ""
        : "The description has no bash block: write what is to run.";
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
  try {
    await call("POST", api("exec", taskId), body);
  } catch (error) {
    if (error instanceof Refused && error.code === "script_missing") {
      $("script").focus();
      error.message = "There is nothing to run. Write a script here, or a ```bash block into the description.";
    }
    throw error;
  }
  runner.close();
  refresh();
});

onPress($("stop"), problem, async () => {
  await call("POST", api("exec", "stop", taskId));
  toast("Stop requested.");
  refresh();
});

verifier(taskId, {
  problem,
  hasVerdict: () => task !== null && task.verified !== null,
  onAsked: refresh,
});

onPress($("release"), problem, async () => {
  await call("POST", api("tasks", taskId, "release"));
  toast("Released.");
  refresh();
});

onPress($("delete"), problem, async () => {
  const { title } = await current();
  const text = ["This cannot be undone."];
  if (!(await confirmed({ title: `Delete “${title}”?`, text, action: "Delete" }))) return;
  await call("DELETE", api("tasks", taskId));
  location.assign("/");
});

setInterval(tickTimes, TICK_MS);
setInterval(() => {
  const hasOrder = $("blockers").childElementCount > 0 || $("dependents").querySelector("a") !== null;
  if (hasOrder && !document.hidden) refresh();
}, ORDER_MS);
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
