// Who looks at this page, and what that role may do. The page itself says it of a session; of a token the service does.

import { api, call, isSignedIn, token } from "./api.js";

const ROLES = ["nobody", "viewer", "agent", "operator"];

/** `{name, role}`; `name` is empty for who is not signed in. `problem` says why this tab's token does not count. */
export const me = identify();

async function identify() {
  const said = document.querySelector("meta[name=role]");
  const known = { name: said?.dataset.name ?? "", role: said?.content ?? "nobody", problem: "" };
  if (isSignedIn || !token.get()) return known;
  try {
    return { ...(await call("GET", api("me"))), problem: "" };
  } catch (error) {
    return { ...known, problem: error.status === 401 ? "The token is wrong or has expired." : error.message };
  }
}

/** Whether they may do what takes `role`. Writing always takes an account. */
export const may = ({ name, role }, needed) => Boolean(name) && ROLES.indexOf(role) >= ROLES.indexOf(needed);
