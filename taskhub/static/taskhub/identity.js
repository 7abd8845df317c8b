// Who uses this page, and what their role permits. The page itself names the account of a session; for a token the
// service is asked.

import { api, call, isSignedIn, Refused, token } from "./api.js";
import { enums } from "./enums.js";
import { tokenError } from "./forms.js";

/**
 * @import { Me } from "schemas"
 * @typedef {{ name: string, role: string, problem: string }} Identity - `name` is empty where no one is signed in;
 *   `problem` says why this tab's token is not accepted.
 */

/** @type {Promise<Identity>} */
export const me = identify();

/** @returns {Promise<Identity>} */
async function identify() {
  /** @type {HTMLMetaElement | null} */
  const meta = document.querySelector("meta[name=role]");
  const known = { name: meta?.dataset["name"] ?? "", role: meta?.content ?? "", problem: "" };
  if (isSignedIn() || !token.get()) return known;
  try {
    /** @type {Me} */
    const said = await call("GET", api("me"));
    return { ...said, problem: "" };
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return { ...known, problem: tokenError(error) };
  }
}

/**
 * Whether this identity may change and execute tasks. That always takes an account.
 *
 * @param {Identity} identity
 */
export const mayWork = ({ name, role }) =>
  name !== "" && enums().roles.some((each) => each.value === role && each.mayWork);
