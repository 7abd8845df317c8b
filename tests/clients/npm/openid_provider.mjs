// A real OpenID provider for the tests of sign-on. `node openid_provider.mjs <redirect address> <after sign-out>`
// prints its issuer. Lines of JSON on its input change the people, the clock of its tokens and its signing keys.
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { Provider } from "oidc-provider";

const [redirect, afterSignOut] = process.argv.slice(2);
const state = { people: {}, clock_s: 0 };
const keys = [];

function addKey() {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  keys.unshift({ ...privateKey.export({ format: "jwk" }), kid: randomUUID(), use: "sig", alg: "RS256" });
}

function build(issuer) {
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: "taskhub",
        client_secret: "a secret of the tests",
        redirect_uris: [redirect],
        post_logout_redirect_uris: [afterSignOut],
        token_endpoint_auth_method: "client_secret_post",
      },
    ],
    jwks: { keys: structuredClone(keys) },
    pkce: { required: () => true },
    claims: { openid: ["sub"], email: ["email"], profile: ["preferred_username", "groups"] },
    conformIdTokenClaims: false,
    cookies: { keys: ["only for tests"] },
    findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub, ...state.people[sub] }) }),
    ttl: { IdToken: 600 },
    features: { devInteractions: { enabled: true } },
  });
  provider.on("server_error", (_, error) => console.error(error));
  return provider;
}

addKey();
let handle;
const server = createServer((request, response) => {
  // Its clock differs from the hub's while it answers.
  const now = Date.now;
  Date.now = () => now() + state.clock_s * 1000;
  response.on("close", () => {
    Date.now = now;
  });
  handle(request, response);
});
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  handle = build(issuer).callback();
  createInterface({ input: process.stdin }).on("line", (line) => {
    const { rotate, ...changed } = JSON.parse(line);
    Object.assign(state, changed);
    if (rotate) {
      keys.length = 0;
      addKey();
      handle = build(issuer).callback();
    }
    console.log("done");
  });
  console.log(issuer);
});
