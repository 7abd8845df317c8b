// Every page: shows the identity, accepts a token, and shows announcements where the page has no stream of its own.

import { api, call, isSignedIn, token } from "./api.js";
import { $ } from "./dom.js";
import { closable, onPress, showError, tokenError } from "./forms.js";
import { hubStream } from "./hub.js";
import { me, mayWork } from "./identity.js";
import { addKeys, showKeys, startKeys } from "./keys.js";
import { NEW } from "./new-task.js";
import { startNotices } from "./notices.js";
import { addOffers, openPalette, search, startPalette } from "./palette.js";
import { undoLast } from "./toasts.js";

async function showIdentity() {
  const { name, role, problem } = await me;
  if (isSignedIn() || !document.getElementById("token-ask")) return;
  const has = Boolean(token.get());
  $("token-who").textContent = problem || (has ? `${name} (${role}, by a token)` : "");
  $("token-who").hidden = !has;
  $("token-drop").hidden = !has;
  $("token-ask").hidden = has;
  $("sign-in").hidden = has;
  $("ways-in").hidden = has && !problem;
  if (has) document.documentElement.dataset["token"] = "known"; // the page says it itself from here on
}

async function useToken() {
  const given = $("token-field", HTMLInputElement).value.trim();
  await call("GET", api("me"), undefined, { bearer: given }); // a wrong one is refused
  if ($("token-keep", HTMLInputElement).checked) {
    $("token-form", HTMLFormElement).submit(); // the hub makes it a session, and leads back to this page
    return;
  }
  token.set(given);
  location.reload();
}

if (document.getElementById("token-ask")) {
  const dialog = closable($("token-dialog", HTMLDialogElement));
  $("token-ask").addEventListener("click", () => {
    showError($("token-problem"), "");
    dialog.showModal();
  });
  onPress($("token-form"), $("token-problem"), useToken, tokenError);
  $("token-drop").addEventListener("click", () => {
    token.forget();
    location.reload();
  });
}
void showIdentity();
startNotices();
void offerKeys();

async function offerKeys() {
  startKeys();
  startPalette();
  addKeys(
    { key: "/", label: "Search", act: search },
    { key: "Control+k", shown: "Ctrl K", label: "Tasks, pages and actions" },
    { key: "z", label: "Undo what was just done", act: undoLast },
  );
  addOffers(() => [{ label: "Keys", hint: "what each key does", act: showKeys }]);
  document.getElementById("find")?.addEventListener("click", openPalette);
  if (mayWork(await me)) addKeys({ key: "c", label: "New task", act: newTask });
}

/** The board's dialog, or the board with it. */
function newTask() {
  const press = document.getElementById("new-task");
  if (press) press.click();
  else location.assign(`/${NEW}`);
}

// Pages with a stream of events show announcements by it.
if (document.body.dataset["stream"] === "announcement")
  hubStream({ target: () => ({ types: "announcement" }) }).connect();
