// The page "Agents": who works here, what each holds and runs, and what may be ended of it.

import { api, call, Refused } from "./api.js";
import { confirmed } from "./confirm-dialog.js";
import { $, button, element, find, reconcileChildren } from "./dom.js";
import { onPress, tryAction } from "./forms.js";
import { entryOf, enums } from "./enums.js";
import { ago, count, date, dateTime } from "./format.js";
import { hubStream } from "./hub.js";
import { refresher } from "./refresher.js";
import { toast } from "./toasts.js";

/**
 * @import { Acted, Agent, AgentClaim } from "schemas"
 * @import { Page } from "./api.js"
 * @import { Question } from "./confirm-dialog.js"
 *
 * @typedef {"release" | "stop-executions" | "stop"} Verb
 */

const EVERY_MS = 20_000; // "last seen" has no event
const STEP = 50;
const MOST = 200; // in one answer
const EVENTS = "task_updated,task_deleted,execution_event,announcement";
/** @type {Record<Verb, { label: string, hint: string, done: string }>} */
const WORDS = {
  release: { label: "Release", hint: "Gives back what it holds", done: "was released" },
  "stop-executions": { label: "Stop executions", hint: "Ends what it runs", done: "is being stopped" },
  stop: { label: "Stop agent", hint: "Revokes its token, and gives back what it holds", done: "was released" },
};
/** @type {Record<Verb, string>} */
const NOUNS = { release: "task", "stop-executions": "execution", stop: "task" };

const list = $("agents");
const template = $("agent-item", HTMLTemplateElement).content.firstElementChild;
/** By id. @type {Map<number, { item: HTMLElement, agent: Agent }>} */
const items = new Map();
let size = STEP;

async function read() {
  await tryAction($("problem"), async () => {
    /** @type {Page<Agent>} */
    const page = await call("GET", `${api("agents")}?page_size=${size}`);
    const shown = page.results.map(itemOf);
    const focused = document.activeElement;
    reconcileChildren(list, shown);
    if (focused instanceof HTMLElement && list.contains(focused)) focused.focus(); // a moved one loses it
    for (const [id, { item }] of items) if (!shown.includes(item)) items.delete(id);
    $("no-agents").hidden = shown.length > 0;
    $("more").hidden = !page.next || size >= MOST;
    $("most").hidden = !page.next || size < MOST;
  });
  list.ariaBusy = null;
}

/** @param {Agent} agent */
function itemOf(agent) {
  const known = items.get(agent.id);
  const item = known?.item ?? made(agent);
  items.set(agent.id, { item, agent });
  show(item, agent);
  return item;
}

/** @param {Agent} agent */
function made(agent) {
  const item = /** @type {HTMLElement} */ (template?.cloneNode(true));
  find(item, "h2").textContent = titleOf(agent);
  const presses = find(item, ".presses");
  presses.ariaLabel = `Actions for ${titleOf(agent)}`;
  for (const verb of /** @type {Verb[]} */ (Object.keys(WORDS))) {
    const press = button("", verb === "stop" ? "small danger" : "small");
    press.dataset["verb"] = verb;
    press.title = WORDS[verb].hint;
    press.append(WORDS[verb].label, element("span", ` of ${titleOf(agent)}`, "unseen"));
    onPress(press, $("problem"), () => act(verb, agent.id));
    presses.append(press);
  }
  return item;
}

/**
 * @param {HTMLElement} item
 * @param {Agent} agent
 */
function show(item, agent) {
  const seen = find(item, "time", HTMLTimeElement);
  seen.dateTime = agent.last_seen_at;
  seen.textContent = ago(agent.last_seen_at);
  seen.title = dateTime(agent.last_seen_at);
  find(item, ".token").textContent = tokenText(agent);
  showHeld(item, agent);
  find(item, ".now").textContent = `${agent.active.toLocaleString("en")} now`;
  const today = find(item, ".today");
  today.replaceChildren(`${count(agent.runs_today, "run")} today`);
  if (agent.failures_today) today.append(", ", element("span", `${agent.failures_today} failed`, "bad"));
  const offered = offeredOf(agent);
  for (const press of item.querySelectorAll("button")) {
    const isOffered = offered[/** @type {Verb} */ (press.dataset["verb"])];
    if (!isOffered && press === document.activeElement) find(item, "h2").focus();
    press.hidden = !isOffered;
  }
}

/**
 * What may be pressed, and has something to do.
 *
 * @param {Agent} agent
 * @returns {Record<Verb, boolean>}
 */
function offeredOf({ may_release: mayRelease, may_stop: mayStop, may_stop_executions: mayEnd, holds, active, token }) {
  const release = mayRelease && holds > 0;
  return { release, "stop-executions": mayEnd && active > 0, stop: mayStop && (token !== null || release) };
}

/**
 * @param {HTMLElement} item
 * @param {Agent} agent
 */
function showHeld(item, { holds, held }) {
  const note = find(item, ".holds .note");
  note.textContent = holds ? "" : "nothing";
  note.hidden = holds > 0;
  const rows = held.map(heldItem);
  const more = holds - held.length;
  if (more > 0) rows.push(element("li", `and ${more.toLocaleString("en")} more`));
  find(item, ".holds ul").replaceChildren(...rows);
}

/** @param {AgentClaim} claim */
function heldItem({ task_id: id, title, since, status }) {
  const item = element("li");
  const link = element("a", title);
  link.href = `/tasks/${id}/`;
  const time = element("time", ago(since));
  time.dateTime = since;
  time.title = dateTime(since);
  const about = element("span", `${entryOf(enums().statuses, status).label}, claimed `, "note");
  about.append(time);
  item.append(link, " ", about);
  return item;
}

/** @param {Agent} agent */
const titleOf = ({ account, name }) => `${account}/${name}`;

/** @param {Agent} agent */
function tokenText({ token, may_stop: mayStop }) {
  if (!token) return mayStop ? "its token has ended" : "";
  const ends = token.expires_at ? `expires ${date(token.expires_at)}` : "does not expire";
  return `token “${token.name || "without a name"}” · ${token.role ?? "what the account may"} · ${ends}`;
}

/**
 * @param {Verb} verb
 * @param {Agent} agent
 * @returns {Question}
 */
function questionOf(verb, agent) {
  const name = titleOf(agent);
  const held = count(agent.holds, "task");
  if (verb === "release") {
    const text = [
      `${held} will be to do and unassigned. The agent is told at its next call that it holds them no more.`,
    ];
    return { title: `Release what ${name} holds?`, text, action: "Release" };
  }
  if (verb === "stop-executions") {
    const text = [`${count(agent.active, "execution")} will be ended; what they have written so far is kept.`];
    return { title: `Stop all executions of ${name}?`, text, action: "Stop executions" };
  }
  const text = agent.token
    ? [`The token “${agent.token.name}” is revoked, for good; its streams close within 5 s.`]
    : [];
  if (agent.token?.is_shared) text.push("Other agents use this token too: they lose it as well.");
  if (agent.holds) text.push(`${held} will be to do and unassigned.`);
  if (agent.active) text.push(`${count(agent.active, "execution")} of it will go on until stopped.`);
  return { title: `Stop ${name}?`, text, action: "Stop agent" };
}

/**
 * @param {Verb} verb
 * @param {number} id
 */
async function act(verb, id) {
  const agent = items.get(id)?.agent;
  if (!agent || !(await confirmed(questionOf(verb, agent)))) return;
  const { changed, refused } = await all(verb, id);
  const words = doneText(verb, agent, changed);
  if (words) toast(words);
  await refresh.now();
  if (refused.length) throw new Refused(`${count(refused.length, NOUNS[verb])} stayed: ${refused[0]?.message ?? ""}`);
}

/**
 * @param {Verb} verb
 * @param {Agent} agent
 * @param {number} changed
 */
function doneText(verb, agent, changed) {
  const done = changed ? `${count(changed, NOUNS[verb])} ${plural(verb, changed)}.` : "";
  return verb === "stop" ? `${titleOf(agent)} was stopped. ${done}`.trim() : done;
}

/**
 * As many requests as it takes.
 *
 * @param {Verb} verb
 * @param {number} id
 */
async function all(verb, id) {
  let changed = 0;
  /** @type {Acted["refused"]} */
  const refused = [];
  /** @type {Acted} */
  let acted;
  do {
    // An operator's token in this tab acts as an agent, and must say that it means what another one holds.
    acted = await call("POST", `${api("agents", String(id), verb)}?force=true`);
    changed += acted.done.length;
    refused.push(...acted.refused);
  } while (acted.remaining > 0 && acted.done.length > 0);
  return { changed, refused };
}

/**
 * @param {Verb} verb
 * @param {number} n
 */
const plural = (verb, n) =>
  n === 1 ? WORDS[verb].done : WORDS[verb].done.replace(/^was/, "were").replace(/^is/, "are");

const refresh = refresher(read, EVERY_MS);
onPress($("more"), $("problem"), async () => {
  size = Math.min(MOST, 2 * size);
  await refresh.now();
});
void refresh.now();
hubStream({ target: () => ({ types: EVENTS }), onSnapshot: refresh.soon, onEvent: refresh.soon }).connect();
