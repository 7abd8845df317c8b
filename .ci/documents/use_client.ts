// The generated TypeScript client's main job: create a task, list it, execute its script, follow it to the end.
//
//     node built/use_client.js ADDRESS TOKEN

import createClient from "openapi-fetch";
import type { paths } from "./built/schema.js";

declare const process: { argv: string[] };

const [, , address, token] = process.argv;
const client = createClient<paths>({ baseUrl: address, headers: { Authorization: `Bearer ${token}` } });

function check(holds: boolean, found: unknown): asserts holds {
  if (!holds) throw new Error(JSON.stringify(found));
}

const made = await client.POST("/api/tasks/", {
  params: { header: { "Idempotency-Key": "ts-1" } },
  body: { title: "made by the TypeScript client" },
});
check(made.data !== undefined && !Array.isArray(made.data), made.error);
const task = made.data;

const page = await client.GET("/api/tasks/", { params: { query: { ids: [task.id], ordering: "-priority" } } });
check(page.data?.results[0]?.title === "made by the TypeScript client" && page.data.next === null, page);

const queued = await client.POST("/api/exec/{task_id}/", {
  params: { path: { task_id: task.id } },
  body: { script_content: "echo from the TypeScript client" },
});
check(queued.data !== undefined, queued.error);

let execution;
do {
  const answer = await client.GET("/api/executions/{execution_id}/", {
    params: { path: { execution_id: queued.data.execution_id }, query: { wait_s: 50 } },
  });
  check(answer.data !== undefined, answer.error);
  execution = answer.data;
} while (execution.timed_out);
check(execution.status === "completed" && execution.exit_code === 0, execution);

const log = await client.GET("/api/exec/logs/{task_id}/", { params: { path: { task_id: task.id } } });
check(log.data?.lines[0]?.line === "from the TypeScript client", log);
