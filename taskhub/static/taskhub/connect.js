// The page "Connect": makes a token on demand, fills it into the snippets, and copies them.

import { api, call } from "./api.js";
import { $, field, find } from "./dom.js";
import { onPress, tryAction } from "./forms.js";
import { me } from "./identity.js";
import { dateTime } from "./format.js";

/**
 * @import { Ticket, TokenCreated } from "schemas"
 */

/** What the server sent of each snippet. @type {Map<HTMLElement, string>} */
const codes = new Map(
  [...document.querySelectorAll(".snippet pre")].map((pre) => [/** @type {HTMLElement} */ (pre), pre.textContent]),
);
const form = $("make", HTMLFormElement);
let token = "";
let role = ""; // of the token
let ticketUrl = "";

function fill() {
  for (const [place, code] of codes)
    place.textContent = code
      .replaceAll("YOUR_TOKEN", (suffices(place.dataset["needs"]) && token) || "YOUR_TOKEN")
      .replaceAll("TICKET_URL", ticketUrl || "TICKET_URL");
}

/** From the least to the most. */
const roles = [...field(form, "role", HTMLSelectElement).options].map(({ value }) => value);

/**
 * Whether the token's role is enough for a snippet.
 *
 * @param {string | undefined} needed
 */
const suffices = (needed) => roles.indexOf(role) >= roles.indexOf(needed ?? "");

async function makeToken() {
  const body = {
    name: field(form, "name", HTMLInputElement).value.trim(),
    role: field(form, "role", HTMLSelectElement).value,
    expires_in_days: Number(field(form, "days", HTMLSelectElement).value),
  };
  /** @type {TokenCreated} */
  const made = await call("POST", api("tokens"), body);
  token = made.token;
  role = body.role;
  const until = made.expires_at ? `, until ${dateTime(made.expires_at)}` : "";
  $("made").textContent = `“${made.name}” is filled in below, for the role ${made.role ?? "of your account"}${until}.`;
  fill();
  await makeTicket();
}

/** With the new token: the ticket ends with it. */
async function makeTicket() {
  /** @type {Ticket} */
  const ticket = await call("POST", api("tickets"), { kind: "events" }, { bearer: token });
  ticketUrl = ticket.url;
  $("ticket").hidden = false;
  fill();
}

/**
 * Up to the reader's own; the server does not know who uses the page where a tab has a token.
 *
 * @param {string} own
 */
function offerRoles(own) {
  const select = field(form, "role", HTMLSelectElement);
  while (select.options.length > 1 && select.options[select.options.length - 1]?.value !== own)
    select.options.remove(select.options.length - 1);
  const usual = [...select.options].find(({ dataset }) => dataset["usual"] !== undefined);
  select.value = (usual ?? select.options[0])?.value ?? "";
}

/** @param {HTMLElement} pressed */
async function copy(pressed) {
  const code = $(pressed.dataset["code"] ?? "");
  const said = find(/** @type {HTMLElement} */ (pressed.parentElement), ".note");
  try {
    await navigator.clipboard.writeText(code.textContent);
    said.textContent = /YOUR_TOKEN|TICKET_URL/.test(code.textContent)
      ? `Copied; make a token of the role ${code.dataset["needs"] ?? ""} above to fill it in.`
      : "Copied.";
  } catch {
    // Only pages of this machine, or over HTTPS, may write to the clipboard.
    getSelection()?.selectAllChildren(code);
    said.textContent = "Selected; copy with Ctrl+C.";
  }
}

for (const pressed of document.querySelectorAll(".copy"))
  pressed.addEventListener("click", () => void copy(/** @type {HTMLElement} */ (pressed)));
onPress(form, $("make-problem"), makeToken);
$("ticket").addEventListener("click", () => void tryAction($("make-problem"), makeTicket));

const identity = await me;
form.hidden = $("may-make").hidden = identity.name === "";
$("may-not-make").hidden = identity.name !== "";
offerRoles(identity.role);
