// The first task: a new board offers one to try, with a script; one press creates it, runs it and opens its page.

import { api, call, Refused } from "./api.js";
import { $ } from "./dom.js";
import { onPress } from "./forms.js";

/**
 * @import { Task } from "schemas"
 */

const TITLE = "Try a first task";

/**
 * Prepare the offer. Answers a function that shows or hides it.
 *
 * @returns {(board: { isEmpty: boolean, isNew: boolean }) => void} - `isNew`: it has few tasks, and none has been run.
 */
export function firstTask() {
  const place = $("first");
  const press = document.getElementById("first-run"); // absent where scripts cannot run
  /** What a press has created; one whose run was refused is run by the next press. @type {Task | null} */
  let made = null;
  if (press) onPress(press, $("first-problem"), run);

  async function run() {
    const script = $("first-script").textContent;
    const description = `A task to try. Its run takes the script from here:\n\n\`\`\`bash\n${script.trim()}\n\`\`\`\n`;
    made ??= /** @type {Task} */ (await call("POST", api("tasks"), { title: TITLE, description, tags: ["first"] }));
    await started(made);
    location.assign(`/tasks/${made.id}/`);
  }

  return ({ isEmpty, isNew }) => {
    place.hidden = !(press ? isNew : isEmpty) && !made;
  };
}

/**
 * @param {Task} task
 * @throws {Refused}
 */
async function started({ id }) {
  try {
    await call("POST", api("exec", id), {});
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    error.message = `The task is there, but its run was refused: ${error.message}`;
    throw error;
  }
}
