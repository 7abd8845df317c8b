// What every page does: say who looks at it, take a token, and show announcements where the page has no stream itself.

import { api, call, isSignedIn, token } from "./api.js";
import { $, closable, complain, ofToken, onPress } from "./forms.js";
import { hubStream } from "./hub.js";
import { me } from "./identity.js";

const asked = $("token-ask");

async function showIdentity() {
  const { name, role, problem } = await me;
  if (isSignedIn || !asked) return;
  const has = Boolean(token.get());
  $("token-who").textContent = problem || (has ? `${name} (${role}, by a token)` : "");
  $("token-who").hidden = !has;
  $("token-drop").hidden = !has;
  asked.hidden = has;
  $("sign-in").hidden = has;
}

if (asked) {
  const dialog = closable($("token-dialog"));
  asked.addEventListener("click", () => {
    complain($("token-problem"), "");
    dialog.showModal();
  });
  const take = async () => {
    const given = $("token-field").value.trim();
    await call("GET", api("me"), undefined, { bearer: given }); // a wrong one is refused
    token.set(given);
    location.reload();
  };
  onPress($("token-form"), $("token-problem"), take, ofToken);
  $("token-drop").addEventListener("click", () => {
    token.forget();
    location.reload();
  });
}
showIdentity();

// Pages with a stream of events hear of announcements on it.
if (document.body.dataset.stream === "announcement") hubStream({ target: () => ({ types: "announcement" }) }).connect();
