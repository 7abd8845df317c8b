// How a task is checked: policy and scripts in force, the verdict with its time, and the executions it is from.

import { api, call } from "./api.js";
import { $, agoElement, element } from "./dom.js";
import { entryOf, enums, isActive } from "./enums.js";
import { onPress } from "./forms.js";
import { toast } from "./toasts.js";

/**
 * @import { LastVerification, RenderedTask, Verification } from "schemas"
 */

/**
 * @param {RenderedTask} task
 * @param {{ mayWork: boolean }} options
 */
export function showCheck({ check, verified, verify, override_reason: reason }, { mayWork }) {
  $("verify").hidden = !mayWork || !check?.has_script;
  $("check").replaceChildren(...(check ? verdictOf(check, verified) : ["none is set up"]));
  $("check-policy").textContent = check ? `${entryOf(enums().verifyPolicies, check.policy).label}.` : "";
  const scripts = [check?.environment_verify ?? "", verify].filter(Boolean);
  $("check-scripts").hidden = !scripts.length;
  $("check-script").textContent = scripts.join("\n\n");
  $("override").textContent = reason ? `Done without a passed verification: ${reason}` : "";
}

/**
 * The verdict that stands, when and by which executions; else how the last verification has ended.
 *
 * @param {NonNullable<RenderedTask["check"]>} check
 * @param {RenderedTask["verified"]} verified
 * @returns {(string | HTMLElement)[]}
 */
function verdictOf({ verified_at: at, last, last_stands: stands, has_script: hasScript }, verified) {
  if (verified) {
    const { label, isGood } = entryOf(enums().verdicts, verified);
    const word = element("strong", label);
    word.dataset["good"] = String(isGood);
    return [word, ...(at ? [", ", agoElement(at)] : []), ...(last && stands ? originOf(last) : [])];
  }
  if (!last) return [hasScript ? "not verified yet" : "there is no script to verify with"];
  const words = linkTo(lastWords(last), last.execution_id);
  return isActive(last.status) ? [words] : ["not verified: ", words];
}

/**
 * Of the last verification, whose verdict does not stand.
 *
 * @param {Pick<LastVerification, "status" | "verdict">} last
 */
export function lastWords({ status, verdict }) {
  if (isActive(status)) return "being verified";
  if (!verdict) return "the last verification has no verdict";
  return `the last verification ${entryOf(enums().verdicts, verdict).label}, on an earlier state`;
}

/**
 * @param {LastVerification} verification
 * @returns {(string | HTMLElement)[]}
 */
function originOf({ execution_id: id, checked, error_message: why }) {
  const of = checked ? [" of ", linkTo("this run", checked)] : [];
  return [" ", linkTo("by this verification", id), ...of, why ? `. ${why}` : ""];
}

/**
 * @param {string} text
 * @param {string} execution
 */
function linkTo(text, execution) {
  const link = element("a", text);
  link.href = `${location.pathname}?execution=${execution}`;
  return link;
}

/**
 * Let the button verify the task; where a verdict stands, again.
 *
 * @param {string} taskId
 * @param {object} options
 * @param {HTMLElement} options.problem
 * @param {() => boolean} options.hasVerdict
 * @param {() => void} options.onAsked
 */
export function verifier(taskId, { problem, hasVerdict, onAsked }) {
  onPress($("verify"), problem, async () => {
    /** @type {Verification} */
    const { cached } = await call("POST", api("tasks", taskId, "verify"), hasVerdict() ? { again: true } : {});
    toast(cached ? "It was verified already." : "Verification requested.");
    onAsked();
  });
}
