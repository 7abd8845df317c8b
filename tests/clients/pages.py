"""Pages of other origins: a server of files on any address of this machine, and a page that lies in a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

from tests.clients.environments import NPM

_MODULES: Final = {
    "/event-source-polyfill/": "node_modules/event-source-polyfill",
    "/fetch-event-source/": "node_modules/@microsoft/fetch-event-source/lib/esm",
    "/sse.js/": "node_modules/sse.js",
}
_IN_A_FILE: Final = """<!doctype html>
<title>A page in a file</title>
<script>
  const source = new EventSource(%r);
  for (const name of %r)
    source.addEventListener(name, ({ type, lastEventId, data }) =>
      console.log(JSON.stringify({ event: type, id: lastEventId, data: shorten(JSON.parse(data)) })));
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) console.log(JSON.stringify({ closed: true }));
  });
  const shorten = (value) => {
    if (typeof value === "string" && value.length > 1000)
      return { length: [...value].length, end: [...value].slice(-3).join("") };
    if (Array.isArray(value)) return value.map(shorten);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, shorten(inner)]));
  };
</script>
"""


class _Files(SimpleHTTPRequestHandler):
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".js": "text/javascript", ".mjs": "text/javascript"}

    def __init__(self, *args: Any, pages: Mapping[str, str], **options: Any) -> None:
        self._pages = pages
        super().__init__(*args, directory=str(NPM), **options)

    def do_GET(self) -> None:
        text = self._pages.get(self.path.partition("?")[0])
        if text is None:
            super().do_GET()
            return
        body = text.encode()
        self.send_response(200)
        self.send_header(
            "Content-Type", "text/javascript" if self.path.endswith(".mjs") else "text/html; charset=utf-8"
        )
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def translate_path(self, path: str) -> str:
        for prefix, folder in _MODULES.items():
            if path.startswith(prefix):
                path = f"/{folder}/{path.removeprefix(prefix)}"
        found = Path(super().translate_path(path))
        # One of the modules imports its neighbours without their ending.
        return str(found if found.suffix else found.with_suffix(".js"))

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(address: str, pages: Mapping[str, str] | None = None) -> Iterator[str]:
    """Serves the files, and `pages` by their paths, which may grow meanwhile; yields the origin."""
    server = ThreadingHTTPServer((address, 0), partial(_Files, pages={} if pages is None else pages))
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://{address}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def page_in_a_file(folder: Path, name: str, url: str, events: list[str]) -> str:
    """The address of a page whose origin is `null`."""
    path = folder / f"{name}.html"
    path.write_text(_IN_A_FILE % (url, events), encoding="utf-8")
    return path.as_uri()
