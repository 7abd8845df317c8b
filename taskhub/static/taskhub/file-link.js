// Link to a file that an execution left. It is fetched, since a link sends no token.

import { file } from "./api.js";
import { element, saveFile } from "./dom.js";
import { tryAction } from "./forms.js";

/** @import { Artifact } from "schemas" */

/**
 * @param {Artifact} artifact
 * @param {HTMLElement} problem - Where a refusal is shown.
 */
export function fileLink({ path, url }, problem) {
  const link = element("a", path);
  link.href = url;
  link.download = "";
  link.addEventListener("click", (event) => {
    event.preventDefault();
    void tryAction(problem, async () => saveFile(await file(url), nameOf(path)));
  });
  return link;
}

/** @param {string} path */
const nameOf = (path) => path.split("/").at(-1) ?? path;
