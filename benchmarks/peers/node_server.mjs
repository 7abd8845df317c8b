// The least that Node.js needs for a fan-out: a set of responses, events by PUT, nothing stored. Usage: node … PORT
import { createServer } from "node:http";

const PAYLOAD = "x".repeat(500);
const streams = new Set();
let number = 0;

function publish() {
    number += 1;
    const frame = `id: ${number}\ndata: ${PAYLOAD}\n\n`;
    for (const stream of streams) stream.write(frame);
}

const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url, "http://localhost");
    if (pathname === "/stream") {
        response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache" });
        response.write("event: stream-open\ndata: \n\n");
        streams.add(response);
        response.on("close", () => streams.delete(response));
        return;
    }
    if (pathname === "/publish") {
        request.resume();
        for (let left = Number(searchParams.get("count") ?? 1); left > 0; left -= 1) publish();
    }
    response.end("ok");
});
server.keepAliveTimeout = 60_000;
server.listen(Number(process.argv[2]), "127.0.0.1");
