// The page "Sandboxes": all of them, those of the reader first.

import { api, call } from "../taskhub/api.js";
import { $, find, reconcileChildren } from "../taskhub/dom.js";
import { tryAction } from "../taskhub/forms.js";
import { hubStream } from "../taskhub/hub.js";
import { refresher } from "../taskhub/refresher.js";
import { toast } from "../taskhub/toasts.js";
import { actionsOf, ageOf, nameOf, showState, sizeOf, taskNodes, watchersOf } from "./facts.js";

/**
 * @import { SandboxPage } from "schemas"
 * @import { Known } from "./facts.js"
 *
 * @typedef {{ item: HTMLElement, sandbox: Known, actions: { offer: () => void } }} Row
 */

const EVERY_MS = 15_000; // Daytona's list has no events
const CALM_MS = 5000; // each reading asks Daytona
const PAGES = 5; // of 200
const list = $("sandboxes");
const template = $("sandbox-item", HTMLTemplateElement).content.firstElementChild;
/** By id. @type {Map<string, Row>} */
const rows = new Map();

async function read() {
  await tryAction($("problem"), async () => {
    const { found, isCut } = await readAll();
    const own = found.filter(({ hub }) => hub?.own);
    const shown = [...own, ...found.filter(({ hub }) => !hub?.own)].map(rowOf);
    const focused = document.activeElement;
    reconcileChildren(list, shown);
    if (focused instanceof HTMLElement && list.contains(focused)) focused.focus(); // a moved one loses it
    for (const [id, { item }] of rows) if (!shown.includes(item)) rows.delete(id);
    $("no-sandboxes").hidden = shown.length > 0;
    $("most").hidden = !isCut;
  });
  list.ariaBusy = null;
}

async function readAll() {
  /** @type {Known[]} */
  const found = [];
  /** @type {string | null} */
  let cursor = "";
  for (let page = 0; page < PAGES && cursor !== null; page += 1) {
    const query = new URLSearchParams({ limit: "200", facts: "true", ...(cursor && { cursor }) });
    /** @type {SandboxPage} */
    const answer = await call("GET", `${api("sandboxes")}?${query.toString()}`);
    found.push(.../** @type {Known[]} */ (answer.items));
    cursor = answer.nextCursor;
  }
  // The same one may be on two pages, as its place in Daytona's list changes.
  const byId = new Map(found.map((sandbox) => [sandbox.id, sandbox]));
  return { found: [...byId.values()], isCut: cursor !== null };
}

/** @param {Known} sandbox */
function rowOf(sandbox) {
  const row = rows.get(sandbox.id) ?? made(sandbox);
  row.sandbox = sandbox;
  show(row);
  return row.item;
}

/**
 * @param {Known} sandbox
 * @returns {Row}
 */
function made(sandbox) {
  const item = /** @type {HTMLElement} */ (template?.cloneNode(true));
  const link = find(item, "h2 a", HTMLAnchorElement);
  link.textContent = nameOf(sandbox);
  link.href = `/sandboxes/${encodeURIComponent(sandbox.id)}/`;
  const place = find(item, ".presses");
  place.ariaLabel = `Actions for ${nameOf(sandbox)}`;
  const actions = actionsOf({
    place,
    problem: $("problem"),
    focus: link,
    sandbox: () => rows.get(sandbox.id)?.sandbox ?? null,
    onDone: async (_, text) => {
      toast(text);
      await refresh.now();
    },
  });
  const row = { item, sandbox, actions };
  rows.set(sandbox.id, row);
  return row;
}

/** @param {Row} row */
function show({ item, sandbox, actions }) {
  showState(find(item, ".state"), sandbox.state);
  find(item, ".own").hidden = !sandbox.hub?.own;
  find(item, ".task").replaceChildren(...taskNodes(sandbox));
  find(item, ".age").textContent = ageOf(sandbox);
  find(item, ".size").textContent = sizeOf(sandbox);
  find(item, ".watchers").textContent = watchersOf(sandbox);
  actions.offer();
}

const refresh = refresher(read, EVERY_MS, CALM_MS);
void refresh.now();
hubStream({
  target: () => ({ types: "execution_event,announcement" }),
  onSnapshot: refresh.soon,
  onEvent: refresh.soon,
}).connect();
