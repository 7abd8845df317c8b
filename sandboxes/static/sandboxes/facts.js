// What the pages say of a sandbox: its state, age, what it holds, who watches it; and its actions.

import { api, call } from "../taskhub/api.js";
import { confirmed } from "../taskhub/confirm-dialog.js";
import { button, element } from "../taskhub/dom.js";
import { onPress } from "../taskhub/forms.js";
import { age, count } from "../taskhub/format.js";

/**
 * @import { Sandbox } from "schemas"
 *
 * @typedef {Sandbox & Record<string, unknown>} Known - Daytona's object; `hub` where it was asked for.
 * @typedef {"start" | "stop" | "delete"} Verb
 */

const DONE = { start: "is being started", stop: "is being stopped", delete: "is being deleted" };
const LABELS = { start: "Start", stop: "Stop", delete: "Delete" };

/**
 * @param {HTMLElement} badge
 * @param {string} state
 */
export function showState(badge, state) {
  badge.textContent = state.replaceAll("_", " ");
  badge.dataset["of"] = state;
}

/** @param {Known} sandbox */
export const nameOf = ({ id, name }) => name || id;

/** @param {Known} sandbox */
export function ageOf({ createdAt }) {
  if (typeof createdAt !== "string" || Number.isNaN(Date.parse(createdAt))) return "unknown";
  const text = age(createdAt);
  return text === "now" ? "less than a minute" : text;
}

/**
 * What it holds of CPU and memory, which is nothing while it rests.
 *
 * @param {Known} sandbox
 */
export function sizeOf({ state, hub }) {
  if (state === "destroyed") return "nothing";
  if (hub?.cpu == null || hub.memory == null) return "unknown";
  const kept = hub.disk === null ? "its disk" : `${hub.disk} GiB of disk`;
  if (hub.cpu === 0 && hub.memory === 0) return `no CPU, no memory; ${kept}`;
  return `${hub.cpu} CPU, ${hub.memory} GiB of memory; ${kept}`;
}

/** @param {Known} sandbox */
export function watchersOf({ hub }) {
  if (!hub?.watchers.length) return "no open stream";
  return hub.watchers
    .map(({ user, streams }) => `${user || "someone without an account"} (${count(streams, "stream")})`)
    .join(", ");
}

/**
 * The task of its newest execution.
 *
 * @param {Known} sandbox
 */
export function taskNodes({ hub }) {
  const execution = hub?.execution;
  if (!execution?.task_id) return ["none"];
  const link = element("a", execution.title);
  link.href = `/tasks/${execution.task_id}/`;
  const by = execution.account ? `, asked for by ${execution.account}` : "";
  return [link, element("span", ` ${execution.status.replace("_", " ")}${by}`, "note")];
}

/**
 * @param {Known | null} sandbox
 * @returns {Record<Verb, boolean>}
 */
function offeredOf(sandbox) {
  const hub = sandbox?.hub;
  if (!hub || sandbox.state === "destroyed") return { start: false, stop: false, delete: false };
  return { start: hub.may_start, stop: hub.may_stop, delete: hub.may_delete };
}

/**
 * Buttons for what may be done to a sandbox; `offer` shows those that may be pressed now.
 *
 * @param {object} options
 * @param {HTMLElement} options.place
 * @param {HTMLElement} options.problem
 * @param {HTMLElement} options.focus - Where the focus goes when the button that has it disappears.
 * @param {() => Known | null} options.sandbox
 * @param {(verb: Verb, text: string) => Promise<unknown>} options.onDone
 */
export function actionsOf({ place, problem, focus, sandbox, onDone }) {
  /** @param {Verb} verb */
  async function act(verb) {
    const known = sandbox();
    if (!known) return;
    const name = nameOf(known);
    if (verb === "delete") {
      const text = ["Its processes end, and its files are lost."];
      if (!(await confirmed({ title: `Delete the sandbox ${name}?`, text, action: "Delete" }))) return;
    }
    if (verb === "stop") {
      const text = ["Its processes end; its files stay."];
      if (!(await confirmed({ title: `Stop the sandbox ${name}?`, text, action: "Stop" }))) return;
    }
    if (verb === "delete") await call("DELETE", api("sandboxes", known.id));
    else await call("POST", api("sandboxes", known.id, verb));
    await onDone(verb, `${name} ${DONE[verb]}.`);
  }

  const presses = /** @type {Verb[]} */ (Object.keys(LABELS)).map((verb) => {
    const press = button(LABELS[verb], verb === "delete" ? "small danger" : "small");
    const name = element("span", "", "unseen");
    press.append(name);
    press.hidden = true;
    onPress(press, problem, () => act(verb));
    return { verb, press, name };
  });
  place.append(...presses.map(({ press }) => press));

  return {
    offer() {
      const known = sandbox();
      const may = offeredOf(known);
      for (const { verb, press, name } of presses) {
        const isOffered = may[verb];
        if (!isOffered && press === document.activeElement) focus.focus();
        press.hidden = !isOffered;
        name.textContent = known ? ` ${nameOf(known)}` : "";
      }
    },
  };
}
