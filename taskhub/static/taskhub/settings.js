// The page "Settings": times in the reader's own time zone, and which notices this browser shows.

import { confirmed } from "./confirm-dialog.js";
import { $ } from "./dom.js";
import { dateTime } from "./format.js";
import { wish, wishes } from "./notices.js";

for (const place of document.querySelectorAll("main time")) {
  const iso = place.getAttribute("datetime");
  if (iso) place.textContent = dateTime(iso);
}

/** @type {NodeListOf<HTMLFormElement>} */
const asking = document.querySelectorAll("form[data-asks]");
for (const form of asking)
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void ask(form);
  });

/** @param {HTMLFormElement} form - What it does cannot be undone. */
async function ask(form) {
  const { asks = "", means = "" } = form.dataset;
  if (await confirmed({ title: asks, text: [means, "This cannot be undone."], action: "Revoke" })) form.submit();
}

const count = $("told-title-count", HTMLInputElement);
const notify = $("told-notify", HTMLInputElement);
const said = $("told-note");

function isAllowed() {
  return "Notification" in window && Notification.permission === "granted";
}

count.checked = wishes().title;
notify.checked = wishes().notify && isAllowed();
count.addEventListener("change", () => wish({ ...wishes(), title: count.checked }));
notify.addEventListener("change", () => void changeNotify());

async function changeNotify() {
  if (notify.checked && "Notification" in window) await Notification.requestPermission();
  if (notify.checked && !isAllowed()) {
    notify.checked = false;
    said.textContent = "This browser does not allow notifications of this page; its own settings may change that.";
    return;
  }
  said.textContent = "";
  wish({ ...wishes(), notify: notify.checked });
}
