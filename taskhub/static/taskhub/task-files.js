// Artifacts: the files that the selected execution left, to look at and to download, one by one or all as one zip.

import { api, call, file } from "./api.js";
import { $, button, element, saveFile } from "./dom.js";
import { entryOf, enums } from "./enums.js";
import { fileLink } from "./file-link.js";
import { onPress, tryAction } from "./forms.js";
import { count, fileSize } from "./format.js";
import { FilePreview } from "./task-preview.js";

/**
 * @import { Artifact, Artifacts, Execution } from "schemas"
 */

export class Files {
  #taskId;
  #preview = new FilePreview();
  #shown = ""; // the execution whose files are on the page

  /** @param {string} taskId */
  constructor(taskId) {
    this.#taskId = taskId;
    onPress($("files-zip"), $("files-problem"), async () => {
      const id = this.#shown;
      saveFile(await file(this.#address("zip", id)), `task-${id}.zip`);
    });
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

  /**
   * @param {string} what - Empty for the list.
   * @param {string} id - Of the execution.
   */
  #address(what, id) {
    const names = ["exec", "artifacts", this.#taskId, what].filter(Boolean);
    return `${api(...names)}?execution_id=${id}`;
  }

  /** @param {string} id */
  async #load(id) {
    /** @type {Artifacts} */
    const files = await call("GET", this.#address("", id));
    const { items } = files;
    if (id !== this.#shown) return; // another one was selected meanwhile
    $("files").replaceChildren(...items.map((artifact) => this.#row(artifact)));
    $("files").hidden = !items.length;
    $("files-zip").hidden = items.length < 2;
    showLeftOut(files);
    $("files-part").hidden = false;
  }

  /** @param {Artifact} artifact */
  #row(artifact) {
    const { path, size } = artifact;
    const item = element("li");
    const preview = button("Preview", "small");
    preview.append(element("span", ` of ${path}`, "unseen"));
    onPress(preview, $("files-problem"), () => this.#preview.open(artifact));
    const facts = element("span");
    facts.append(fileLink(artifact, $("files-problem")), " ", element("span", fileSize(size), "note"));
    item.append(facts, preview);
    return item;
  }
}

/**
 * How many files were not kept, and the names and reasons that the hub knows.
 *
 * @param {Artifacts} files
 */
function showLeftOut({ items, left_out: leftOut, left_out_files: named }) {
  const verb = leftOut === 1 ? "was" : "were";
  $("files-left-out").textContent = `${count(leftOut, items.length ? "more file" : "file")} ${verb} not kept`;
  $("files-left-out-part").hidden = !leftOut;
  const others = leftOut - named.length;
  const rows = named.map(({ path, size, reason }) => {
    const row = element("li");
    const why = entryOf(enums().leftOutReasons, reason).label;
    row.append(element("bdi", path), " ", element("span", `${fileSize(size)}, ${why}`, "note"));
    return row;
  });
  if (others > 0) {
    const text = named.length ? `and ${others.toLocaleString("en")} more` : "too large, too many, or not readable";
    rows.push(element("li", text, "note"));
  }
  $("files-left-out-list").replaceChildren(...rows);
}
