// Verifies a webhook with a library: `node verify_webhook.mjs <library>`; the request comes as JSON by stdin.

import { text } from "node:stream/consumers";

const library = await import(process.argv[2]);
const { Webhook } = "Webhook" in library ? library : library.default;
const { secret, headers, body } = JSON.parse(await text(process.stdin));
let said = "refused";
try {
  const event = new Webhook(secret).verify(body, headers) ?? JSON.parse(body);
  said = event.event === "task_created" ? "verified" : `what? ${JSON.stringify(event)}`;
} catch (error) {
  if (error.name !== "WebhookVerificationError" && error.constructor.name !== "WebhookVerificationError") throw error;
}
console.log(said);
