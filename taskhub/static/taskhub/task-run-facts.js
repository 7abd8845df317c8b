// What a run was: its script, environment, commit, limits and sandbox. Read when they are opened.

import { api, call } from "./api.js";
import { $, element, timeElement } from "./dom.js";
import { tryAction } from "./forms.js";
import { count, duration } from "./format.js";

/** @import { Execution, ExecutionWithScript } from "schemas" */

export class RunFacts {
  #place = $("run-facts", HTMLDetailsElement);
  #id = "";
  #status = ""; // of what is shown or being read

  constructor() {
    this.#place.addEventListener("toggle", () => void this.#load());
  }

  /** @param {Execution | undefined} execution */
  show(execution) {
    this.#place.hidden = !execution;
    if (!execution) return;
    const { execution_id: id, status } = execution;
    if (id === this.#id && status === this.#status) return;
    if (id !== this.#id) $("run-facts-list").replaceChildren();
    this.#id = id;
    this.#status = status;
    void this.#load();
  }

  async #load() {
    if (!this.#place.open || !this.#id) return;
    const id = this.#id;
    await tryAction($("log-problem"), async () => {
      /** @type {ExecutionWithScript} */
      const run = await call("GET", api("executions", id));
      if (id !== this.#id) return; // another one was selected meanwhile
      $("run-facts-list").replaceChildren(...factsOf(run).flatMap(([name, value]) => rowOf(name, value)));
      $("run-script").textContent = run.script;
    });
  }
}

/**
 * @param {string} name
 * @param {string | Node} value
 */
function rowOf(name, value) {
  const place = element("dd");
  place.append(value);
  return [element("dt", name), place];
}

/**
 * @param {ExecutionWithScript} run
 * @returns {[string, string | Node][]}
 */
function factsOf(run) {
  const { queued_at: queued, started_at: started, finished_at: finished, exit_code: code, commit } = run;
  /** @type {[string, string | Node | null][]} */
  const facts = [
    ["Requested", timeElement(queued)],
    ["Started", started && timeElement(started)],
    ["Ended", finished && timeElement(finished)],
    ["Took", started && finished && duration(started, finished)],
    ["Exit code", code === null ? null : String(code)],
    ["Sandbox", run.sandbox_id && linkTo(`/sandboxes/${encodeURIComponent(run.sandbox_id)}/`, run.sandbox_id)],
    ["Session", run.session_name && element("code", run.session_name)],
    ["Environment", environmentText(run)],
    ["Limits", limitsText(run)],
    ["Variables", variablesText(run)],
    ["Commit", commit && element("code", commit)],
    ["Why it failed", failureElement(run)],
    ["Id", element("code", run.execution_id)],
  ];
  return facts.flatMap(([name, value]) => (value ? [[name, value]] : []));
}

/** @param {ExecutionWithScript} run */
const variablesText = ({ variables }) =>
  (variables ?? []).map(({ name, secret }) => (secret ? `${name} (secret)` : name)).join(", ");

/** @param {ExecutionWithScript} run */
function failureElement({ error, error_detail: detail }) {
  if (!error) return null;
  const place = element("div", error["message"]);
  if (detail) place.append(element("pre", detail));
  return place;
}

/** @param {ExecutionWithScript} run */
function environmentText({ environment }) {
  if (!environment) return "none: the hub’s own settings";
  const { name, version, network_kind: network, variables } = environment;
  const parts = [`${name}, version ${version}`, `network: ${network}`];
  if (variables.length) parts.push(`variables: ${variables.join(", ")}`);
  return parts.join("; ");
}

/** @param {ExecutionWithScript} run */
function limitsText({ timeout_s: timeout, environment }) {
  const { cpu = null, memory = null, disk = null, gpu = null } = environment ?? {};
  return [
    count(timeout, "second"),
    cpu && count(cpu, "CPU"),
    memory && `${memory} GiB of memory`,
    disk && `${disk} GiB of disk`,
    gpu && count(gpu, "GPU"),
  ]
    .filter(Boolean)
    .join(", ");
}

/**
 * @param {string} address
 * @param {string} text
 */
function linkTo(address, text) {
  const link = element("a", text);
  link.href = address;
  return link;
}
