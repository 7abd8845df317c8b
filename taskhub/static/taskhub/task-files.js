// Artifacts: the files that the selected execution left, to download.

import { api, call, file } from "./api.js";
import { $, element, saveFile } from "./dom.js";
import { tryAction } from "./forms.js";
import { fileSize } from "./format.js";

/**
 * @import { Artifact, Artifacts, Execution } from "schemas"
 */

export class Files {
  #taskId;
  #shown = ""; // the execution whose files are on the page

  /** @param {string} taskId */
  constructor(taskId) {
    this.#taskId = taskId;
  }

  /** @param {Execution | undefined} execution - One that has not ended has no files yet. */
  show(execution) {
    const id = execution?.finished_at ? execution.execution_id : "";
    if (id === this.#shown) return;
    this.#shown = id;
    $("files-part").hidden = true;
    if (id && execution && execution.artifacts_kept + execution.artifacts_left_out)
      void tryAction($("log-problem"), () => this.#load(id));
  }

  /** @param {string} id */
  async #load(id) {
    const address = `${api("exec", "artifacts", this.#taskId)}?execution_id=${id}`;
    /** @type {Artifacts} */
    const { items, left_out: leftOut } = await call("GET", address);
    if (id !== this.#shown) return; // another one was selected meanwhile
    $("files").replaceChildren(...items.map(row));
    $("files-left-out").textContent = leftOut
      ? `${leftOut} more were not kept: too large, too many, or not readable.`
      : "";
    $("files-part").hidden = false;
  }
}

/** @param {Artifact} artifact */
function row({ path, size, url }) {
  const item = element("li");
  const link = element("a", path);
  link.href = url;
  link.download = "";
  link.addEventListener("click", (event) => {
    event.preventDefault(); // a link sends no token
    void tryAction($("log-problem"), async () => saveFile(await file(url), path.split("/").at(-1) ?? path));
  });
  item.append(link, " ", element("span", fileSize(size), "note"));
  return item;
}
