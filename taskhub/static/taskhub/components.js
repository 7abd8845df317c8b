// The page "Components": its dialog and its toasts.

import { confirmed } from "./confirm-dialog.js";
import { $ } from "./dom.js";
import { toast } from "./toasts.js";

/** @returns {Promise<void>} */
function undo() {
  toast("Undone.");
  return Promise.resolve();
}

async function ask() {
  const question = { title: "Delete the task?", text: ["Its runs and files are deleted, too."], action: "Delete" };
  toast((await confirmed(question)) ? "It was deleted." : "Nothing was done.");
}

$("ask").addEventListener("click", () => void ask());
$("say").addEventListener("click", () => {
  toast("“Upgrade the client” is now in Review.", { undo });
});
$("say-bad").addEventListener("click", () => {
  toast("It could not be moved.", { isBad: true });
});
