// The least that Node needs for a fan-out: one response per client, events by PUT, nothing stored. PORT is its argument.
import http from "node:http";

const PAYLOAD = "x".repeat(500);
const clients = new Set();
let head = 0;

http
  .createServer((request, response) => {
    if (request.method === "PUT") {
      head += 1;
      const frame = `id: ${head}\ndata: ${PAYLOAD}\n\n`;
      for (const client of clients) client.write(frame);
      request.resume();
      response.end("ok");
    } else if (request.url === "/stream") {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write("event: stream-open\ndata: \n\n");
      clients.add(response);
      response.on("close", () => clients.delete(response));
    } else {
      response.end("ok");
    }
  })
  .listen(Number(process.argv[2]), "127.0.0.1");
