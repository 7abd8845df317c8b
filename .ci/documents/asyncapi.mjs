// Parse an AsyncAPI document: node asyncapi.mjs FILE. Exits with 1 for an error, and prints each finding.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
for (const { severity, code, message, path } of diagnostics) {
  if (severity <= 1) console.log(["error", "warning"][severity], code, path.join("."), message);
}
if (document) {
  console.log(document.channels().all().length, "channels,", document.allMessages().all().length, "messages");
}
process.exit(document && !diagnostics.some(({ severity }) => severity === 0) ? 0 : 1);
