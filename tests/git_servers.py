"""Repositories for tests, and servers of them: `git daemon`, and `git http-backend` behind Basic authentication."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from tests.local_server.daemon_front import forwarded
from tests.processes import Process, free_port, wait_until

ENV = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "protocol.file.allow",
    "GIT_CONFIG_VALUE_0": "always",
    **{
        f"GIT_{who}_{what}": f"{what.lower()}@example.com"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    },
}


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, env=ENV, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout.strip()


def commit(folder: Path, **files: str) -> str:
    """The commit's name; dots of the files' names are written as two underscores."""
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", " ".join(files))
    return git(folder, "rev-parse", "HEAD")


def make_repository(folder: Path, **files: str) -> Path:
    """With one commit on the branch main."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    commit(folder, **files)
    return folder


@contextmanager
def git_daemon(root: Path) -> Iterator[str]:
    """The address of the folder's repositories."""
    port = free_port()
    program = Path(git(root, "--exec-path")) / "git-daemon"
    process = Process(
        [str(program), f"--base-path={root}", "--export-all", "--listen=127.0.0.1", f"--port={port}", str(root)], ENV
    )

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(listens, "git daemon listens")
        forwarded.add(port)
        yield f"git://127.0.0.1:{port}"
    finally:
        forwarded.discard(port)
        process.end()


class GitServer(ThreadingHTTPServer):
    """Serves the folder's repositories to those who show the credential, if there is one, by HTTP.

    `asked` has the path and the Authorization header of each request. `elsewhere`: what all are sent to instead.
    """

    def __init__(self, root: Path, credential: tuple[str, str] | None = None, elsewhere: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.elsewhere = elsewhere
        self.asked: list[tuple[str, str | None]] = []
        self.wanted: str | None = None
        if credential is not None:
            self.wanted = "Basic " + base64.b64encode(":".join(credential).encode()).decode()
        self.host = f"127.0.0.1:{self.server_port}"
        self.url = f"http://{self.host}"

    @contextmanager
    def serving(self) -> Iterator[GitServer]:
        thread = Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        forwarded.add(self.server_port)
        try:
            yield self
        finally:
            forwarded.discard(self.server_port)
            self.shutdown()
            self.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: GitServer

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        given = self.headers.get("Authorization")
        self.server.asked.append((self.path, given))
        if self.server.elsewhere:
            self._answer(302, [("Location", f"{self.server.elsewhere}{self.path}")], b"")
        elif self.server.wanted is not None and given != self.server.wanted:
            self._answer(401, [("WWW-Authenticate", 'Basic realm="git"')], b"")
        else:
            self._run(body)

    def do_POST(self) -> None:
        self.do_GET()

    def _run(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        env = {
            **ENV,
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type") or "",
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or "",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol") or "",
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True, check=True)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self._answer(int(fields.pop("Status", "200 OK")[:3]), list(fields.items()), content)

    def _answer(self, status: int, fields: list[tuple[str, str]], content: bytes) -> None:
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing: `asked` has it."""
