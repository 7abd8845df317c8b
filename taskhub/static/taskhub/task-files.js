// The files that the execution which is looked at has left, to download.

import { api, call, file } from "./api.js";
import { $, attempt, element } from "./forms.js";
import { size } from "./words.js";

export class Files {
  constructor(taskId) {
    this.taskId = taskId;
    this.of = ""; // the execution whose files are on the page
  }

  /** Those of this execution; undefined for none. */
  show(execution) {
    const id = execution?.finished_at ? execution.execution_id : "";
    if (id === this.of) return;
    this.of = id;
    $("files-part").hidden = true;
    if (id && execution.artifacts_kept + execution.artifacts_left_out) attempt($("log-problem"), () => this.#load(id));
  }

  async #load(id) {
    const address = `${api("exec", "artifacts", this.taskId)}?${new URLSearchParams({ execution_id: id })}`;
    const { items, left_out: leftOut } = await call("GET", address);
    if (id !== this.of) return; // another was chosen meanwhile
    $("files").replaceChildren(...items.map((item) => this.#row(item)));
    $("files-left-out").textContent = leftOut ? `${leftOut} more were not kept: too large, too many, or not to be read.` : "";
    $("files-part").hidden = false;
  }

  #row({ path, size: bytes, url }) {
    const item = element("li");
    const link = element("a", path, { href: url, download: "" });
    link.addEventListener("click", (event) => {
      event.preventDefault(); // a link sends no token
      attempt($("log-problem"), () => this.#download(url, path));
    });
    item.append(link, " ", element("span", size(bytes), { className: "note" }));
    return item;
  }

  async #download(url, path) {
    const link = element("a", "", { href: URL.createObjectURL(await file(url)), download: path.split("/").at(-1) });
    link.click();
    URL.revokeObjectURL(link.href);
  }
}
