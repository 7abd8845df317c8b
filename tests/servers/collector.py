"""A collector of traces: OTLP over HTTP, as an exporter sends it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.processes import wait_until


class Collector:
    """`spans`: each with the name of the service that sent it; `status` is what senders are answered."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.status = 200
        self.requests = 0
        self.spans: list[tuple[str, Span]] = []
        self.text = ""

    def take(self, body: bytes) -> None:
        self.requests += 1
        sent = ExportTraceServiceRequest.FromString(body)
        self.text += str(sent)
        for resource in sent.resource_spans:
            service = next(
                each.value.string_value for each in resource.resource.attributes if each.key == "service.name"
            )
            self.spans += [(service, span) for scope in resource.scope_spans for span in scope.spans]

    def wait_for(self, wanted: Callable[[str, Span], bool], what: str) -> Span:
        """The first span that is wanted."""
        wait_until(lambda: any(wanted(*each) for each in self.spans), f"the span of {what}")
        return next(span for service, span in self.spans if wanted(service, span))


@contextlib.contextmanager
def running_collector() -> Iterator[Collector]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                collector.take(body)
            self.send_response(collector.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Tests listen to others."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
