"""The hubs that the clients are run against: `make run`'s, and an installation of deploy/ behind nginx with TLS."""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from tests.deploy.deployment import WEB, Deployment, made_folder
from tests.deploy.proxy import BINARY
from tests.postgres import find_binaries, make_database, running_postgres
from tests.processes import RunningHub, reaper, wait_until
from tests.sandboxes.ill_daytona import KEY, Daytona

PATIENCE_S: Final = 240.0


@dataclass(frozen=True)
class Target:
    """A hub. `kill_web` kills its web processes, each once, and returns when they answer again.

    `open_reading`: pages of other ports of this machine read without credentials. `certificate`: what vouches for it.
    """

    name: str
    address: str
    headers: dict[str, str]
    kill_web: Callable[[], None]
    open_reading: bool = True
    certificate: Path | None = None

    @property
    def verify(self) -> ssl.SSLContext | bool:
        """For httpx."""
        return ssl.create_default_context(cafile=self.certificate) if self.certificate else True

    @property
    def trust(self) -> dict[str, str]:
        """The environment in which every client trusts the certificate."""
        names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE")
        return dict.fromkeys(names, str(self.certificate)) if self.certificate else {}

    def client(self) -> httpx.Client:
        """An operator."""
        return httpx.Client(base_url=self.address, headers=self.headers, timeout=60, verify=self.verify)


def local(hub: RunningHub) -> Target:
    """One web process, which the launcher starts again; SQLite; HTTP/1.1."""

    def kill_web() -> None:
        os.kill(hub.child_pid("uvicorn"), signal.SIGKILL)
        wait_until(lambda: _answers(hub.address), "the web process is back", PATIENCE_S)

    return Target("make run", hub.address, hub.headers, kill_web)


@contextmanager
def production() -> Iterator[Target]:
    """Two web processes behind nginx with TLS and HTTP/2, on PostgreSQL and Redis; a sandbox service beside them."""
    binaries = find_binaries()
    if binaries is None or BINARY is None or shutil.which("openssl") is None:
        raise RuntimeError("the production profile needs PostgreSQL, nginx and openssl")
    with (
        tempfile.TemporaryDirectory(prefix="taskhub-c-", ignore_cleanup_errors=True) as name,
        running_postgres(binaries) as postgres,
    ):
        reaper.tell("folder", name)
        folder = made_folder(Path(name))
        (folder / "sandboxes").mkdir()
        (folder / "hub").mkdir()
        daytona = Daytona(folder / "sandboxes")
        database_url = make_database(postgres.url, "clients")
        deployment = Deployment(
            made_folder(folder / "hub"), database_url, name="localhost", daytona=(daytona.api_url, KEY)
        )
        deployment.env["TASKHUB_OAUTH_REGISTRATION"] = "1"
        try:
            for instance in ("1", "2"):
                deployment.start_unit(WEB, instance)
            deployment.nginx.start()
            yield _target(deployment)
        finally:
            deployment.end()
            daytona.close()


def _target(deployment: Deployment) -> Target:
    def kill_web() -> None:
        for instance in ("1", "2"):
            deployment.processes[f"{WEB}{instance}"].popen.kill()
            deployment.start_unit(WEB, instance)

    return Target(
        "production, behind nginx",
        f"https://localhost:{deployment.nginx.https_port}",
        deployment.headers,
        kill_web,
        open_reading=False,
        certificate=deployment.nginx.certificate,
    )


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/healthz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False
