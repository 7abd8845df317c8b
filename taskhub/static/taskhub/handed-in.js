// What a person reviews: the result that was written down, by whom, what the task names as artifacts, and the files of
// its last run.

import { api, call, Refused } from "./api.js";
import { agoElement, element } from "./dom.js";
import { fileLink } from "./file-link.js";
import { linkNodes } from "./links.js";
import { showMarkdown } from "./markdown.js";
import { whoElements } from "./who.js";

/**
 * @import { Artifacts, RenderedNote } from "schemas"
 *
 * @typedef {object} Work
 * @property {string} id - Of the task.
 * @property {readonly string[]} artifacts - Of the task.
 * @property {readonly RenderedNote[]} notes - The newest first.
 * @property {string} run - Id of the run whose files belong to it; empty: none.
 */

const FILES_MOST = 5;

/**
 * The result that was handed in last; one that a person has sent back is none, and the service only remarks on it.
 *
 * @param {readonly RenderedNote[]} notes - The newest first.
 */
function resultOf(notes) {
  const last = lastOf(notes);
  return last?.kind === "result" ? last : undefined;
}

/** What follows a hand-in, and whether the service may have written it. @type {Record<string, boolean>} */
const STEPS = { result: true, review: false };

/** The last result or review of a person. @param {readonly RenderedNote[]} notes - The newest first. */
export const lastOf = (notes) => notes.find(({ kind, author }) => kind in STEPS && (STEPS[kind] || author));

/**
 * Show it. The files come a little later.
 *
 * @param {HTMLElement} place
 * @param {Work} work
 * @param {HTMLElement} problem - Where it is said that a file cannot be had.
 * @param {{ keeps?: boolean }} [options] - `keeps`: what is said there already is older than these notes.
 */
export async function showHandedIn(place, { id, artifacts, notes, run }, problem, { keeps = false } = {}) {
  const result = resultOf(notes);
  const by = element("p", "", "note");
  const text = element("div", "", "markdown");
  const links = element("ul", "", "links");
  if (result) {
    by.append(...whoElements(result), " handed it in ", agoElement(result.at));
    showMarkdown(text, result.text, result.text_html);
  } else by.append("Handed in without a note.");
  links.append(...artifacts.map((artifact) => rowOf(...linkNodes(artifact))));
  links.hidden = !artifacts.length;
  if (keeps) place.append(links);
  else place.replaceChildren(by, ...(result ? [text] : []), links);
  if (!run) return;
  try {
    /** @type {Artifacts} */
    const { items } = await call("GET", `${api("exec", "artifacts", id)}?execution_id=${run}`);
    links.append(...items.slice(0, FILES_MOST).map((artifact) => rowOf(fileLink(artifact, problem))));
    if (items.length > FILES_MOST) links.append(rowOf(`${items.length - FILES_MOST} more on the task’s page`));
    links.hidden = !links.childElementCount;
  } catch (error) {
    if (!(error instanceof Refused)) throw error; // the task's page has them, and says why not
  }
}

/** @param {(Node | string)[]} content */
function rowOf(...content) {
  const row = element("li");
  row.append(...content);
  return row;
}
