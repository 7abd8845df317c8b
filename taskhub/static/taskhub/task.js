// A task's page: what it is, what happened to it, its executions; and what may be done with it.

import { api, call } from "./api.js";
import { $, closable, complain, element, onPress } from "./forms.js";
import { hubStream } from "./hub.js";
import { may, me } from "./identity.js";
import { editor } from "./task-edit.js";
import { Executions } from "./task-executions.js";
import { History } from "./task-history.js";
import { moment } from "./words.js";

const AGAIN_MS = 3000;

const taskId = document.body.dataset.task;
const statusNames = new Map(Array.from($("edit-form").elements.status.options, ({ value, text }) => [value, text]));
const problem = $("problem");
let task = null;
let isGone = false;
let reading = null;
let mustReadAgain = false;

const history = new History(taskId);
const executions = new Executions(taskId, (active) => {
  $("run").hidden = Boolean(active);
  $("stop").hidden = !active;
});

// --- Showing ---------------------------------------------------------------------------------------------

function show(now) {
  if (task && task.version > now.version) return;
  task = now;
  document.title = `${task.title} · TaskHub`;
  $("title").textContent = task.title;
  $("description").textContent = task.description;
  $("no-description").hidden = task.description !== "";
  $("status").textContent = statusNames.get(task.status);
  $("priority").textContent = $("priority").dataset.priority = task.priority;
  $("assignee").textContent = task.assignee || "nobody";
  $("seen-by").textContent = task.private ? "its assignee and operators" : "everybody";
  $("tags").textContent = task.tags.join(", ") || "none";
  const artifacts = task.artifacts.length ? task.artifacts : ["none"];
  $("artifacts").replaceChildren(...artifacts.map((artifact) => element("li", artifact)));
  $("created").replaceChildren(moment(task.created_at));
  $("updated").replaceChildren(moment(task.updated_at));
  $("version").textContent = task.version;
}

function bury() {
  isGone = true;
  $("actions").hidden = true;
  complain(problem, "This task was deleted, or you may not see it any more. What stands here is how it was.");
}

/** Read it all anew; however many events come meanwhile, once more is enough. */
function refresh() {
  mustReadAgain = true;
  reading ??= readAgain().finally(() => (reading = null));
}

async function readAgain() {
  while (mustReadAgain && !isGone) {
    mustReadAgain = false;
    try {
      const [now] = await Promise.all([call("GET", api("tasks", taskId)), history.refresh(), executions.refresh()]);
      show(now);
      if (problem.dataset.of === "reading") complain(problem, "");
    } catch (error) {
      if (error.status === 404) return bury();
      problem.dataset.of = "reading";
      complain(problem, `The task could not be read: ${error.message} Trying again.`);
      setTimeout(refresh, AGAIN_MS);
    }
  }
}

// --- Doing -------------------------------------------------------------------------------------------------

const mayWork = may(await me, "agent");
$("actions").hidden = !mayWork;
if (mayWork) $("no-executions").textContent = "None yet. “Run” starts one.";

/** The task as it is now, whether a stream tells of it or not. */
async function current() {
  show(await call("GET", api("tasks", taskId)));
  return task;
}

editor({
  button: $("edit"),
  problem,
  current,
  onSaved: (saved) => {
    show(saved);
    $("note").textContent = `Saved as version ${saved.version}.`;
  },
});

const runner = closable($("run-dialog"));
$("run").addEventListener("click", () => {
  complain($("run-problem"), "");
  runner.showModal();
});
onPress($("run-form"), $("run-problem"), async () => {
  const body = {};
  if ($("script").value.trim()) body.script_content = $("script").value;
  if ($("timeout").value) body.timeout_s = Number($("timeout").value);
  await call("POST", api("exec", taskId), body);
  runner.close();
  refresh();
});

onPress($("stop"), problem, async () => {
  await call("POST", api("exec", "stop", taskId));
  $("note").textContent = "It was asked to stop.";
  refresh();
});

onPress($("delete"), problem, async () => {
  const { title } = await current();
  if (!confirm(`Delete “${title}”?`)) return;
  await call("DELETE", api("tasks", taskId));
  location.assign("/");
});

refresh(); // what there is, whatever becomes of the stream; once that stands, again
hubStream({
  target: () => ({ task_id: taskId }),
  onSnapshot: refresh,
  onEvent: (name, data) => {
    if (data.task_id !== taskId) return;
    if (name === "task_deleted") bury();
    else refresh();
  },
}).connect();
