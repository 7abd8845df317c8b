"""The image and the services of compose: what runs without Docker is run, and all start what the units start."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.deploy.container import ACCOUNT, Image, build, instructions
from tests.deploy.shipped import DATA, DEPLOY, read_env_file, unit_command
from tests.processes import ROOT, Process, descendants, free_port, wait_until

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
LOCAL: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICE: dict[str, Any] = LOCAL["services"]["taskhub"]
OURS = ("migrate", "web-1", "web-2", "worker", "beat")
WEB = "taskhub-web@.service"


def plain(command: list[str]) -> list[str]:
    """A unit's command as a container has it, whose PATH knows the programs."""
    return [command[0].rpartition("/")[2], *command[1:]]


def once(command: list[str]) -> list[str]:
    """A unit's wait for the first answer as a check that asks once."""
    words = iter(plain(command))
    kept = []
    for word in words:
        if word in {"--retry", "--retry-delay"}:
            next(words)
        elif word != "--retry-all-errors":
            kept.append(word)
    return kept


def exec_form(text: str) -> list[str]:
    found: list[str] = yaml.safe_load(text)
    return found


def test_every_container_starts_what_its_unit_starts() -> None:
    for instance in ("1", "2"):
        assert SERVICES[f"web-{instance}"]["command"] == plain(unit_command(WEB, instance=instance))
    for name in ("worker", "beat"):
        assert SERVICES[name]["command"] == plain(unit_command(f"taskhub-{name}.service"))
    (command,) = [words for word, words in instructions() if word == "CMD"]
    assert exec_form(command) == plain(unit_command(WEB, instance="1"))


def test_every_container_is_asked_as_its_unit_asks() -> None:
    (health,) = [words for word, words in instructions() if word == "HEALTHCHECK"]
    assert exec_form(health.partition("CMD ")[2]) == once(unit_command(WEB, "ExecStartPost", instance="1"))
    assert SERVICES["web-2"]["healthcheck"]["test"] == ["CMD", *once(unit_command(WEB, "ExecStartPost", instance="2"))]
    unasked = {name for name, service in SERVICES.items() if service.get("healthcheck") == {"disable": True}}
    assert unasked == {"migrate", "worker", "beat"}


def test_images_of_others_are_pinned_by_digest() -> None:
    """Of both Dockerfiles and of compose; ours is built."""
    made = (ROOT / ".devcontainer" / "Dockerfile").read_text()
    bases = [words.split()[0] for word, words in instructions() if word == "FROM"]
    bases += re.findall(r"^FROM (\S+)", made, re.MULTILINE)
    named = [service["image"] for service in SERVICES.values() if service["image"] != "taskhub"]
    assert (len(bases), len(named)) == (3, 3)
    loose = [image for image in [*bases, *named] if not re.fullmatch(r"[a-z]+:[\w.-]+@sha256:[0-9a-f]{64}", image)]
    assert loose == []
    assert len(set(bases)) == 1


def test_nothing_starts_before_what_it_stands_on() -> None:
    for name in OURS[1:]:
        assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
        assert SERVICES[name]["restart"] == "unless-stopped"
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert SERVICES["migrate"]["restart"] == "no"
    assert set(SERVICES["nginx"]["depends_on"]) == {"web-1", "web-2"}
    assert set(SERVICES) == {*OURS, "postgres", "redis", "nginx"}


def test_only_nginx_is_reached_from_outside_and_no_secret_stands_in_the_files() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["nginx"]
    secrets = {"POSTGRES_PASSWORD", "SECRET_KEY", "DAYTONA_API_KEY"}
    for name in OURS:
        told = SERVICES[name]["environment"]
        assert told["DATABASE_URL"].startswith("postgresql://taskhub:${POSTGRES_PASSWORD:?")
        assert not secrets & set(told)
        assert SERVICES[name]["env_file"] == "taskhub.env"
    assert SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD"].startswith("${POSTGRES_PASSWORD:?")
    example = (DEPLOY / "taskhub.env.example").read_text()
    assert {f"#{name}=" for name in secrets} <= set(example.splitlines())
    assert not secrets & set(read_env_file(DEPLOY / "taskhub.env.example"))


def test_what_is_mounted_is_there() -> None:
    shipped = [volume.split(":")[0] for volume in SERVICES["nginx"]["volumes"] if volume.startswith("./nginx")]
    assert len(shipped) == 2
    assert all((DEPLOY / path).is_file() for path in shipped)


# Where the package index is slow, the first of these tests waits for the whole installation.
UNHURRIED = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return build(tmp_path_factory.mktemp("image") / "taskhub")


@UNHURRIED
def test_the_image_is_made_of_steps_that_work(image: Image, tmp_path: Path) -> None:
    """The locked requirements, the files of the image and no others, and the static files of production."""
    assert len(image.ran) == 2
    assert (image.home / "staticfiles/staticfiles.json").is_file()
    # What was copied is enough to start everything.
    asked = {"SECRET_KEY": "k" * 50, "ALLOWED_HOSTS": "hub.example.com", "DATABASE_URL": "postgresql:///none"}
    check = ["python", "-c", "import config.asgi, config.celery; config.celery.app.loader.import_default_modules()"]
    env = image.env_here | asked | {"TASKHUB_DATA_DIR": str(tmp_path / "data")}
    subprocess.run(check, cwd=image.home, env=env, check=True)


# --- The local profile in one container: compose.yaml of the root ----------------------------------------


def test_local_container_is_published_on_loopback_alone_and_keeps_its_data_in_a_volume() -> None:
    assert set(LOCAL["services"]) == {"taskhub"}
    assert [port.split(":")[0] for port in SERVICE["ports"]] == ["127.0.0.1"]
    # The same number on both sides: the container prints addresses for a browser of the host.
    assert SERVICE["ports"] == ["127.0.0.1:${TASKHUB_PORT:-8000}:${TASKHUB_PORT:-8000}"]
    assert SERVICE["environment"]["TASKHUB_PORT"] == "${TASKHUB_PORT:-8000}"
    assert SERVICE["volumes"] == [f"data:{DATA}"]
    assert SERVICE["environment"]["TASKHUB_DATA_DIR"] == DATA
    assert "data" in LOCAL["volumes"]
    assert SERVICE["build"] == {"context": ".", "dockerfile": "deploy/Dockerfile"}
    assert (SERVICE["read_only"], SERVICE["init"], SERVICE["cap_drop"]) == (True, True, ["ALL"])


class Container:
    """compose.yaml's service, confined as Docker does, but on the network of this machine."""

    def __init__(self, image: Image, data: Path, **more: str) -> None:
        self.port = free_port()
        shell = {"TASKHUB_PORT": str(self.port)}
        self.env = {
            name: re.sub(r"\$\{(\w+):-(.*?)\}", lambda match: shell.get(match[1], match[2]), text)
            for name, text in SERVICE["environment"].items()
        } | more
        self._image, self._data = image, data
        self.address = f"http://localhost:{self.port}"
        self.process = Process(image.command(SERVICE["command"], self.env, data), os.environ)

    def wait_ready(self) -> str:
        """Returns the sign-in link."""
        self.process.wait_for_line("TaskHub is ready", 300)
        link = self.process.wait_for_line("sign in").split()[-1]
        self.process.wait_for_line("ends everything")
        return link

    def stop(self) -> int:
        """As `docker stop` does: SIGTERM to the container's first process. Returns its exit code."""
        (first,) = (
            pid
            for pid, line in descendants(self.process.pid).items()
            if "config.launcher " in line and not line.startswith("bwrap")
        )
        os.kill(first, signal.SIGTERM)
        return self.process.wait(30)

    def run(self, *words: str) -> str:
        """As `docker compose exec` does."""
        command = self._image.command(list(words), self.env, self._data)
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def container(image: Image, tmp_path: Path) -> Iterator[Callable[..., Container]]:
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    started: list[Container] = []

    def start(**more: str) -> Container:
        (tmp_path / "data").mkdir(exist_ok=True)
        started.append(Container(image, tmp_path / "data", **more))
        return started[-1]

    yield start
    for each in started:
        each.process.end()


def own_address() -> str:
    """One of this machine that is not loopback, as the bridge of Docker is; loopback where there is no other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


@UNHURRIED
def test_local_container_signs_in_by_its_link_and_runs_nothing_without_isolation(
    container: Callable[..., Container],
) -> None:
    hub = container()
    link = hub.wait_ready()
    said = "\n".join(hub.process.output)
    assert "Scripts do not run here: bubblewrap does not work in this container" in said
    assert "all clients count as one address" in said
    token = re.search(r"API token: (\w+)", said)
    assert token
    # A published port: the peer is the bridge, the Host is the host's loopback.
    bridge = f"http://{own_address()}:{hub.port}"
    host = {"Host": f"localhost:{hub.port}"}
    with httpx.Client(base_url=bridge, headers=host, trust_env=False, timeout=60) as http:
        assert http.get("/api/tasks/").status_code == 401
        assert http.get("/").headers["location"] == "/login/?next=/"
        assert http.get("/api/tasks/", headers={"Host": "evil.example"}).status_code == 400
        headers = {"Authorization": f"Bearer {token[1]}"}
        task = http.post("/api/tasks/", headers=headers, json={"title": "t"}).json()["id"]
        refused = http.post("/api/sandboxes/", headers=headers, json={})
        assert refused.json()["error"]["code"] == "sandboxes_off"
        assert "TASKHUB_RUN_UNISOLATED=1" in refused.json()["error"]["message"]
        assert http.post(f"/api/exec/{task}", headers=headers, json={"script_content": "id"}).status_code == 202

        def executed() -> Any:
            return http.get(f"/api/exec/status/{task}", headers=headers).json()

        wait_until(lambda: executed()["status"] == "failed", "the execution fails", 60)
        assert "TASKHUB_RUN_UNISOLATED=1" in str(executed())
        signed_in = http.get(link.removeprefix(hub.address))
        assert (signed_in.status_code, signed_in.headers["location"]) == (302, "/")
        assert http.get("/").status_code == 200
        # Wrong credentials are counted for all together, and the refusal says so.
        for _ in range(60):
            http.get("/api/tasks/", headers={"Authorization": "Bearer " + "0" * 64})
        throttled = http.get("/api/tasks/", headers={"Authorization": "Bearer " + "0" * 64})
        assert throttled.status_code == 429
        assert "all clients of this container together" in throttled.json()["error"]["message"]


@UNHURRIED
def test_local_container_runs_scripts_where_a_setting_says_so_and_keeps_its_data(
    container: Callable[..., Container],
) -> None:
    hub = container(TASKHUB_RUN_UNISOLATED="1")
    hub.wait_ready()
    token = hub.run("cat", f"{DATA}/token").strip()
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=hub.address, headers=headers, trust_env=False, timeout=60) as http:
        task = http.post("/api/tasks/", json={"title": "kept"}).json()["id"]
        http.post(f"/api/exec/{task}", json={"script_content": "id -u"})
        wait_until(lambda: http.get(f"/api/exec/status/{task}").json()["status"] == "completed", "it ran", 60)
        assert http.get(f"/api/exec/logs/{task}").json()["lines"][0]["line"] == ACCOUNT
    assert hub.stop() == 0
    again = container()
    link = again.wait_ready()
    assert "shown this once" not in "\n".join(again.process.output)
    with httpx.Client(base_url=again.address, trust_env=False, follow_redirects=True, timeout=60) as browser:
        assert browser.get(link).status_code == 200
        assert browser.get(f"/api/tasks/{task}").json()["title"] == "kept"
