// A task's page: its fields, history and executions, and the actions on it.

import { api, call, isSignedIn, readAll, Refused } from "./api.js";
import { confirmed } from "./confirm-dialog.js";
import { $, agoElement, element, tickTimes } from "./dom.js";
import { closable, onPress, showError, tryAction } from "./forms.js";
import { entryOf, enums } from "./enums.js";
import { split } from "./format.js";
import { hubStream } from "./hub.js";
import { mayWork as worksAs, me } from "./identity.js";
import { editInPlace } from "./in-place.js";
import { linkNodes } from "./links.js";
import { showMarkdown } from "./markdown.js";
import { addOffers } from "./palette.js";
import { RepeatedVariables } from "./run-again.js";
import { Asks } from "./task-asks.js";
import { showCheck, verifier } from "./task-check.js";
import { Executions } from "./task-executions.js";
import { changesOrder, hasOrder, showBlockers, showDependents } from "./task-order.js";
import { changeProperties, showProperties } from "./task-properties.js";
import { save } from "./task-save.js";
import { ticker } from "./task-ticks.js";
import { Timeline } from "./task-timeline.js";
import { tellChange } from "./task-undo.js";
import { toast } from "./toasts.js";

/**
 * @import { ExecuteRequest, Execution, ExecutionWithScript, RenderedTask, Task, Variable } from "schemas"
 */

const RETRY_MS = 3000;
const ORDER_MS = 60_000; // no event tells that one of several blockers was waived
const CALM_MS = 1000; // between an event of another task and the reading after it, however many more come
const EVENTS =
  "task_created,task_updated,task_deleted,task_ready,task_verified,note_added,execution_event,announcement";
const TICK_MS = 15_000;
const NO_SCRIPT = "There is nothing to run. Write a script here, or a ```bash block into the description.";

const taskId = document.body.dataset["task"] ?? "";
const problem = $("problem");
/** @type {Task | null} */
let task = null;
let isGone = false;
let isRunning = false;
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
    isRunning = Boolean(active);
    keepFocus(() => {
      showFinish();
      $("run").hidden = Boolean(active) && active?.kind !== "verify"; // a run supersedes a verification
      $("stop").hidden = !active || active.ending !== null;
    });
    timeline.showRuns(all);
  },
  mayRun: () => mayWork,
  onAgain: (execution) => tryAction(problem, () => runAgain(execution)),
});

// --- Showing ---------------------------------------------------------------------------------------------

/**
 * Buttons come and go with the task: one that goes leaves the focus to another one, but to none that deletes.
 *
 * @param {() => void} change
 */
function keepFocus(change) {
  const focused = document.activeElement; // Chromium takes the focus from what is hidden at once
  change();
  if (focused && $("actions").contains(focused) && !focused.checkVisibility()) focusOnAction();
}

function focusOnAction() {
  /** @type {NodeListOf<HTMLElement>} */
  const presses = $("actions").querySelectorAll("button:not(#delete)");
  ([...presses].find((press) => press.checkVisibility()) ?? $("title")).focus();
}

/**
 * A token of this tab acts as an agent, and agents release nothing that is held back.
 *
 * @param {Task} task
 */
const isReleasable = ({ holder, held_back: isHeldBack }) => holder !== "" || (isHeldBack && isSignedIn());

/** The status of what is done. */
const lastStatus = () => entryOf(enums().statuses, enums().statuses.at(-1)?.value ?? "").value;

/** What comes next, where nothing runs. */
function showFinish() {
  const next = task ? entryOf(enums().statuses, task.status).next : [];
  // What waits for people has its own buttons, and what is still to do is not done.
  const isAfoot = task !== null && task.status !== enums().statuses[0]?.value && !task.waiting_for;
  $("finish").hidden = isRunning || !isAfoot || !next.includes(lastStatus());
}

/** @param {Task} now */
function show(now) {
  if (task && task.version > now.version) return;
  task = now;
  document.title = `${task.title} · TaskHub`;
  $("title").textContent = task.title;
  $("no-description").hidden = task.description !== "";
  showProperties(task);
  showFinish();
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
  ownScript = now.script ?? "";
  showMarkdown($("description"), now.description, now.description_html, { mayTick: mayWork });
}

function showGone() {
  isGone = true;
  keepFocus(() => ($("actions").hidden = true));
  showError(problem, "This task was deleted, or you may not see it any more. The page shows its last known state.");
}

/** Read everything again; for any number of events meanwhile, once more is enough. */
function refresh() {
  mustReadAgain = true;
  reading ??= readAgain().finally(() => (reading = null));
}

/** @type {ReturnType<typeof setTimeout> | undefined} */
let soon;

/** However many events come until then. */
function refreshSoon() {
  soon ??= setTimeout(() => {
    soon = undefined;
    refresh();
  }, CALM_MS);
}

async function readAgain() {
  while (mustReadAgain && !isGone) {
    mustReadAgain = false;
    try {
      const [now] = await Promise.all([current(), timeline.refresh(), executions.refresh(), showDependents(taskId)]);
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
  keepFocus(() => {
    show(now);
    showBlockers(now, { mayWork, onWaived: refresh });
    showCheck(now, { mayWork });
  });
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
  field.placeholder = ownScript;
  showError($("run-problem"), "");
  $("run-script-note").textContent = id ? "As it ran then." : scriptText(field.value);
  runner.showModal();
  void offerEnvironments();
}

/** @param {string} script - In the box. */
function scriptText(script) {
  if (!script) return ownScript ? "Left empty, the script in grey runs: the description’s." : NO_SCRIPT;
  return script === ownScript
    ? "The first bash block of the description. What you change here is for this run alone."
    : "";
}

/** Names of those that the reader may use. Without them a name can still be written. */
async function offerEnvironments() {
  const list = $("environments");
  if (list.childElementCount) return;
  try {
    /** @type {{ rows: { name: string }[] }} */
    const { rows } = await readAll(api("environments"));
    list.replaceChildren(...rows.map(({ name }) => new Option(name)));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
  }
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
  try {
    await call("POST", api("exec", taskId), askedRun());
  } catch (error) {
    if (!(error instanceof Refused) || error.code !== "script_missing") throw error;
    $("script").focus();
    throw new Refused(NO_SCRIPT);
  }
  runner.close();
  if (!$("run").checkVisibility()) focusOnAction(); // it ran before the dialog closed
  refresh();
});

/** What is asked for in the dialog. @returns {ExecuteRequest} */
function askedRun() {
  const script = $("script", HTMLTextAreaElement).value;
  const timeout = $("timeout", HTMLInputElement).value;
  const environment = $("environment", HTMLInputElement).value.trim();
  /** @type {ExecuteRequest} */
  const body = {};
  if (script.trim()) body.script_content = script;
  if (timeout) body.timeout_s = Number(timeout);
  if (environment) body.environment = environment;
  return again ? { ...body, again, env: repeated.env } : body;
}

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

onPress($("finish"), problem, async () => {
  const before = await current();
  const fields = { status: lastStatus() };
  const after = await save(before, () => fields);
  onSaved(after);
  tellChange(fields, { before, after, onSaved });
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

/**
 * What a button says to those who do not see it.
 *
 * @param {HTMLElement} press
 */
function wordsOf(press) {
  const copy = /** @type {HTMLElement} */ (press.cloneNode(true));
  for (const each of copy.querySelectorAll("[aria-hidden]")) each.remove();
  return copy.textContent.replace(/\s+/g, " ").trim();
}

addOffers(() => {
  /** @type {NodeListOf<HTMLElement>} */
  const presses = document.querySelectorAll(".head button, #description-edit, #artifacts-edit");
  return [...presses]
    .filter((press) => press.checkVisibility() && !press.closest(".popup, .tags"))
    .map((press) => ({ label: wordsOf(press), hint: "this task", act: () => press.click() }));
});

setInterval(tickTimes, TICK_MS);
setInterval(() => {
  if (hasOrder() && !document.hidden) refresh();
}, ORDER_MS);
refresh(); // once now, also without a stream, and once more when the stream is connected
hubStream({
  // Of all tasks: also of those that this one waits for, and of those that come to wait for it.
  target: () => ({ types: EVENTS }),
  onSnapshot: refresh,
  onEvent: (event) => {
    const { name, data } = event;
    if (!("task_id" in data)) return;
    if (data.task_id !== taskId) {
      if (changesOrder(event)) refreshSoon();
    } else if (name === "task_deleted") showGone();
    else refresh();
  },
}).connect();
