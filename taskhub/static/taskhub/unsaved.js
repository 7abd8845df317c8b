// What is written and not saved: the browser asks before the page is left.

/** Whether a form has what is not saved. @type {(() => boolean)[]} */
const unsaved = [];

/** @param {() => boolean} isUnsaved - The browser asks before the page is left. */
export function guardUnsaved(isUnsaved) {
  if (!unsaved.length)
    addEventListener("beforeunload", (event) => {
      if (unsaved.some((each) => each())) event.preventDefault();
    });
  unsaved.push(isUnsaved);
}
