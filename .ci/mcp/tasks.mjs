// The tasks extension of a hub that runs, by the official TypeScript SDK and @modelcontextprotocol/ext-tasks.
//
//     HUB=http://127.0.0.1:8000 TOKEN=... node .ci/mcp/tasks.mjs
//
// Exits with 1 at the first thing that is not as it should be.

import assert from "node:assert/strict";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { createTaskSessionFromClient } from "@modelcontextprotocol/ext-tasks/client";

const NEWEST = "2026-07-28";
const EXTENSION = "io.modelcontextprotocol/tasks";
const { HUB, TOKEN } = process.env;
const INFO = { name: "checks", version: "1" };
const AUTHORIZATION = { Authorization: `Bearer ${TOKEN}` };

/** A client that speaks this revision. */
async function connected(mode, capabilities = {}, headers = AUTHORIZATION) {
  const client = new Client(INFO, { capabilities, versionNegotiation: { mode } });
  const transport = new StreamableHTTPClientTransport(new URL(`${HUB}/mcp`), { requestInit: { headers } });
  await client.connect(transport);
  return client;
}

const seen = { answers: [] };
let lastId = 0;

/** The SDK does not send what belongs to an extension: the request as it is, with the headers of the transport. */
async function rawDispatch(request, options) {
  const name = request.params.taskId ?? request.params.name;
  const headers = {
    ...AUTHORIZATION,
    Accept: "application/json, text/event-stream",
    "Content-Type": "application/json",
    "MCP-Protocol-Version": NEWEST,
    "Mcp-Method": request.method,
    "Mcp-Name": name,
  };
  lastId += 1;
  const body = JSON.stringify({ ...request, jsonrpc: "2.0", id: lastId });
  const answer = await fetch(`${HUB}/mcp`, { method: "POST", headers, body, signal: options?.signal });
  const message = await answer.json();
  seen.answers.push({ request, message, status: answer.status });
  return message.error ? { kind: "error", error: message.error } : { kind: "result", result: message.result };
}

async function rest(method, path, body) {
  const headers = { ...AUTHORIZATION, "Content-Type": "application/json" };
  const answer = await fetch(`${HUB}${path}`, { method, headers, body: JSON.stringify(body) });
  assert.ok(answer.ok, `${path}: ${answer.status}`);
  return answer.json();
}

async function newTask(title) {
  return (await rest("POST", "/api/tasks/", { title })).id;
}

function statuses(taskId) {
  const asked = seen.answers.filter(({ request }) => request.method === "tasks/get" && request.params.taskId === taskId);
  return asked.map(({ message }) => message.result.status);
}

async function runsToItsEnd(session) {
  const task = await newTask("runs to its end");
  const execution = await session.callTool("execute_task", { task_id: task, script_content: "echo hello; exit 3" });
  assert.equal(execution.kind, "task");
  const { outcome } = await execution.settle();
  assert.equal(outcome.status, "completed");
  const result = outcome.result.structuredContent;
  assert.deepEqual([result.status, result.exit_code, result.log], ["failed", 3, "hello\n"]);
  assert.equal(outcome.result.isError, false);
}

async function isCancelled(session) {
  const task = await newTask("is cancelled");
  const execution = await session.callTool("execute_task", { task_id: task, script_content: "sleep 600" });
  await execution.cancel();
  const { outcome } = await execution.settle();
  assert.equal(outcome.status, "cancelled");
  const now = await rest("GET", `/api/exec/status/${task}?wait_s=50`);
  assert.equal(now.status, "stopped");
}

async function questionIsAnswered(session) {
  const task = await newTask("has a question");
  const execution = await session.callTool("add_note", { task_id: task, kind: "question", text: "Which?" });
  assert.equal(execution.kind, "task");
  await rest("POST", `/api/tasks/${task}/notes/`, { kind: "answer", text: "This one." });
  const { outcome } = await execution.settle();
  assert.equal(outcome.status, "completed");
  assert.equal(outcome.result.structuredContent.text, "This one.");
  assert.ok(!statuses(execution.handle.taskId).includes("input_required"));
}

async function resultsAtOnce(session) {
  const task = await newTask("waits itself");
  const waits = { task_id: task, script_content: "echo hello", wait_s: 50 };
  const execution = await session.callTool("execute_task", waits);
  assert.equal(execution.kind, "immediate");
  const { outcome } = await execution.settle();
  assert.equal(outcome.result.structuredContent.status, "completed");
  const refused = await session.callTool("execute_task", { task_id: "no" });
  assert.equal(refused.kind, "immediate");
  assert.equal((await refused.settle()).outcome.result.isError, true);
}

async function unknownTask() {
  const meta = {
    "io.modelcontextprotocol/protocolVersion": NEWEST,
    "io.modelcontextprotocol/clientInfo": INFO,
    "io.modelcontextprotocol/clientCapabilities": { extensions: { [EXTENSION]: {} } },
  };
  const { error } = await rawDispatch({ method: "tasks/get", params: { taskId: "nothing", _meta: meta } });
  assert.equal(error.code, -32602);
  meta["io.modelcontextprotocol/clientCapabilities"] = {};
  const undeclared = await rawDispatch({ method: "tasks/get", params: { taskId: "nothing", _meta: meta } });
  assert.equal(undeclared.error.code, -32021);
  assert.deepEqual(undeclared.error.data, { requiredCapabilities: { extensions: { [EXTENSION]: {} } } });
}

/** Clients that do not declare the extension, and those of earlier revisions. */
async function othersDoNotSeeIt() {
  for (const [mode, capabilities] of [[{ pin: NEWEST }, {}], ["legacy", { extensions: { [EXTENSION]: {} } }]]) {
    const client = await connected(mode, capabilities);
    const task = await newTask("for others");
    const called = { name: "execute_task", arguments: { task_id: task, script_content: "true" } };
    const result = await client.callTool(called);
    assert.equal(result.structuredContent.status, "queued");
    assert.equal(result.taskId, undefined);
    if (mode === "legacy") {
      const told = client.getServerCapabilities();
      assert.equal(told.extensions?.[EXTENSION], undefined);
      assert.equal(told.tasks, undefined);
    }
    await client.close();
  }
}

/** With a wrong token the SDK's error has the hub's words: in its message, or with the newest revision in its data. */
async function isToldWhyItIsRefused() {
  for (const mode of [{ pin: NEWEST }, "legacy"]) {
    const wrong = { Authorization: `Bearer ${"0".repeat(64)}` };
    await assert.rejects(connected(mode, {}, wrong), (error) => {
      assert.match(`${error.message} ${error.data?.text}`, /The token is wrong.*Connect with the header/s);
      return true;
    });
  }
}

const client = await connected({ pin: NEWEST });
assert.deepEqual(client.getServerCapabilities().extensions, { [EXTENSION]: {} });
const framing = { protocolVersion: NEWEST, clientInfo: INFO, clientCapabilities: {} };
const session = createTaskSessionFromClient(client, { endpointId: "hub", rawDispatch, v2RequestFraming: framing });
const checks = [runsToItsEnd, isCancelled, questionIsAnswered, resultsAtOnce, unknownTask, othersDoNotSeeIt];
for (const check of [...checks, isToldWhyItIsRefused]) {
  await check(session);
  console.log(`tasks: ${check.name}`);
}
await session.close();
await client.close();
