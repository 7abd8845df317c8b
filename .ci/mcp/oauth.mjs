// The OAuth client of the official TypeScript SDK, against a hub that runs.
//
//     HUB=http://localhost:8000 node .ci/mcp/oauth.mjs
//
// Prints the address that a person's browser has to open, reads the address that the browser is led back to from its
// input, and creates a task with the tokens. Exits with 1 at the first thing that is not as it should be.

import assert from "node:assert/strict";
import { createInterface } from "node:readline/promises";
import { Client, StreamableHTTPClientTransport, UnauthorizedError } from "@modelcontextprotocol/client";

const { HUB } = process.env;
const CALLBACK = "http://127.0.0.1:49153/callback";
const kept = {};

const authProvider = {
  redirectUrl: CALLBACK,
  clientMetadata: {
    client_name: "TypeScript SDK",
    redirect_uris: [CALLBACK],
    grant_types: ["authorization_code", "refresh_token"],
    response_types: ["code"],
    token_endpoint_auth_method: "none",
  },
  state: () => "a state of the checks",
  clientInformation: () => kept.client,
  saveClientInformation: (client) => void (kept.client = client),
  tokens: () => kept.tokens,
  saveTokens: (tokens) => void (kept.tokens = tokens),
  codeVerifier: () => kept.verifier,
  saveCodeVerifier: (verifier) => void (kept.verifier = verifier),
  redirectToAuthorization: (url) => console.log(url.href),
};

async function createTask(transport) {
  const client = new Client({ name: "checks", version: "1" });
  await client.connect(transport);
  const done = await client.callTool({ name: "create_tasks", arguments: { tasks: [{ title: "by TypeScript" }] } });
  assert.ok(!done.isError, JSON.stringify(done));
  await client.close();
}

function transport() {
  return new StreamableHTTPClientTransport(new URL(`${HUB}/mcp`), { authProvider });
}

const first = transport();
await assert.rejects(
  createTask(first),
  (error) => error instanceof UnauthorizedError || /unauthorized/i.test(String(error)),
);
const input = createInterface({ input: process.stdin });
const back = new URL(await input.question(""));
input.close();
await first.finishAuth(back.searchParams);
await createTask(transport());
assert.equal(kept.tokens.scope, "viewer agent");
// A second refresh with one token is what only a thief does; the first one goes on.
const before = kept.tokens.access_token;
kept.tokens = { ...kept.tokens, access_token: "tho_expired" };
await createTask(transport());
assert.notEqual(kept.tokens.access_token, before);
console.log("signed in");
