"""The shipped nginx files under a real nginx: moved to ports and folders of a test, and nothing else changed."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.deploy.shipped import DEPLOY, NAME, SOCKETS, moved
from tests.processes import ROOT, Process, free_port, wait_until
from tests.streaming import Frame, parse

BINARY = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def account() -> str:
    """nginx runs as an unprivileged account if the tests run as root, otherwise as their own."""
    return "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


class Nginx:
    """nginx in front of the sockets in `sockets`; `folder` takes its files. `more` is said for all its servers.

    `name` is the hub's, as docs/deploy.md has it set.
    """

    def __init__(self, folder: Path, sockets: Path, more: str = "", *, name: str = NAME) -> None:
        self.folder = folder
        self.name = name
        self._more = more
        self.http_port, self.https_port = free_port(), free_port()
        self.figures_ports = {instance: free_port() for instance in ("1", "2")}
        self._write(sockets)
        self._process: Process | None = None

    def _write(self, sockets: Path) -> None:
        for name in ("conf.d", "log", "tls", "temp"):
            (self.folder / name).mkdir()
        make_certificate(self.folder / "tls", self.name)
        site = moved(
            (DEPLOY / "nginx/taskhub.conf").read_text(),
            {
                NAME: self.name,
                SOCKETS: str(sockets),
                "/etc/ssl/taskhub": f"{self.folder}/tls",
                "/var/log/nginx": f"{self.folder}/log",
            },
        )
        site = re.sub(r"(listen (?:\[::\]:)?)80\b", rf"\g<1>{self.http_port}", site)
        site = re.sub(r"(listen (?:\[::\]:)?)443\b", rf"\g<1>{self.https_port}", site)
        for instance, port in self.figures_ports.items():
            site = site.replace(f"127.0.0.1:800{instance};", f"127.0.0.1:{port};")
        if not _has_ipv6():
            site = re.sub(r" *listen \[::\].*\n", "", site)
        (self.folder / "conf.d/taskhub.conf").write_text(site)
        main = (DEPLOY / "nginx/nginx.conf").read_text().replace("/etc/nginx/conf.d", f"{self.folder}/conf.d")
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temp = "".join(f"    {kind}_temp_path {self.folder}/temp/{kind};\n" for kind in kinds)
        main = main.replace("http {\n", f"http {{\n{temp}    access_log off;\n{self._more}")
        (self.folder / "nginx.conf").write_text(f"pid {self.folder}/nginx.pid;\n{main}")
        if os.geteuid() == 0:
            for path in (self.folder, *self.folder.rglob("*")):
                shutil.chown(path, account())

    def _command(self, *options: str) -> list[str]:
        assert BINARY is not None
        unprivileged = [
            "setpriv",
            "--reuid",
            account(),
            "--regid",
            str(pwd.getpwnam(account()).pw_gid),
            "--clear-groups",
        ]
        words = [BINARY, "-p", str(self.folder), "-c", str(self.folder / "nginx.conf"), "-e", self.main_log, *options]
        return [*unprivileged, *words] if os.geteuid() == 0 else words

    @property
    def main_log(self) -> str:
        return f"{self.folder}/log/main.log"

    def check(self) -> str:
        """What `nginx -t` says; it must succeed."""
        done = subprocess.run(self._command("-t"), check=False, capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def start(self) -> None:
        self._process = Process(self._command("-g", "daemon off;"), os.environ, cwd=ROOT)
        process = self._process

        def listens() -> bool:
            assert process.popen.poll() is None, Path(self.main_log).read_text()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.https_port)) == 0

        wait_until(listens, "nginx listens")

    def end(self) -> None:
        if self._process is not None:
            self._process.end()

    @property
    def certificate(self) -> Path:
        return self.folder / "tls/fullchain.pem"

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.certificate)

    def client(self, *, source: str = "127.0.0.1", **options: object) -> httpx.Client:
        """A client from an address of this machine that asks for the hub by its name."""
        transport = httpx.HTTPTransport(local_address=source, verify=self.trust)
        return httpx.Client(
            transport=_ByName(transport), base_url=f"https://127.0.0.1:{self.https_port}", timeout=90, **options
        )

    def logged(self) -> str:
        """All that nginx has written down."""
        return "".join(path.read_text() for path in (self.folder / "log").iterdir())


@contextmanager
def streaming(client: httpx.Client, path: str) -> Iterator[Iterator[Frame]]:
    """The frames of a stream of the hub, as they come."""
    with client.stream("GET", path) as response:
        assert response.status_code == 200, response.read()
        yield parse(response.iter_lines())


class _ByName(httpx.BaseTransport):
    """Asks 127.0.0.1, as a resolver that knows the name would have it."""

    def __init__(self, transport: httpx.HTTPTransport) -> None:
        self._transport = transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions = {**request.extensions, "sni_hostname": NAME}
        if request.url.host in request.headers["Host"]:  # unless the test names another
            request.headers["Host"] = NAME
        return self._transport.handle_request(request)

    def close(self) -> None:
        self._transport.close()


def make_certificate(folder: Path, name: str = NAME) -> None:
    """A self-signed one for the hub's name, where the shipped file looks for it."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", f"{folder}/privkey.pem", "-out", f"{folder}/fullchain.pem"]
    names = ["-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    subprocess.run([*command, *files, *names], check=True, capture_output=True, timeout=60)


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True
