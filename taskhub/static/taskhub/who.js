// Who did something: a person's account, or an agent with its account as a detail.

import { element } from "./dom.js";

/**
 * @param {{ author: string, agent: string }} by
 */
export function whoElements({ author, agent }) {
  const name = element("strong", agent || author || "The service");
  return agent ? [name, element("span", ` (${author})`, "note")] : [name];
}
