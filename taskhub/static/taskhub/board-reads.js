// What the board reads beside itself: runs (executions that are queued or under way, one for each task), and facts of
// single tasks.

import { api, readAll } from "./api.js";
import { enums } from "./enums.js";

/**
 * @import { Card, Execution } from "schemas"
 * @import { Run } from "./task-store.js"
 */

/**
 * @param {Map<string, Run>} from
 * @param {Map<string, Run>} to
 * @param {string} id
 */
export function copyRun(from, to, id) {
  const run = from.get(id);
  if (run) to.set(id, run);
  else to.delete(id);
}

/**
 * @param {Execution[]} active
 * @returns {Map<string, Run>}
 */
export function runsOf(active) {
  const runs = new Map();
  for (const { task_id: id, status, started_at: startedAt, queued_at: queuedAt, waiting, ending, kind } of active)
    if (id && (kind !== "verify" || !runs.has(id)))
      runs.set(id, { step: status, since: startedAt ?? queuedAt, waiting, ending, kind });
  return runs;
}

/**
 * @returns {Promise<Execution[]>}
 * @throws {Refused}
 */
export async function activeExecutions() {
  const active = enums().executionStatuses.filter((status) => status.isActive);
  /** @type {{ rows: Execution[] }} */
  const { rows } = await readAll(
    api("executions"),
    active.map(({ value }) => ["status", value]),
  );
  return rows;
}

/**
 * @param {string[][]} query
 * @param {number} most
 * @returns {Promise<{ rows: Card[], isCut: boolean }>}
 * @throws {Refused}
 */
export const cards = (query, most) => readAll(api("tasks", "cards"), query, most);
