"""The image and the services of compose: what runs without Docker is run, and all start what the units start."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.shipped import DEPLOY, INSTALLED, read_env_file, unit_command
from tests.processes import ROOT

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
OURS = ("migrate", "web-1", "web-2", "worker", "beat")
WEB = "taskhub-web@.service"


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's, with continued lines joined."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in lines]


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


def test_the_image_is_made_of_steps_that_work(tmp_path: Path) -> None:
    """Each of the steps that a plain Debian can take, in its order: a virtual environment, hashed requirements, the
    files of the image and no others, and the static files with the production settings."""
    allowed = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"}
    home = tmp_path / "taskhub"
    home.mkdir()
    env = {name: value for name, value in os.environ.items() if not name.startswith(("TASKHUB_", "DJANGO_", "COV_"))}
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    ran = []
    for word, words in instructions():
        if word == "COPY" and not words.startswith("--from"):
            source, target = words.split()
            assert source in allowed, source
            (home / target).parent.mkdir(exist_ok=True)
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            copy(ROOT / source, home / target)
        elif word == "ENV":
            told = dict(pair.split("=", 1) for pair in shlex.split(words))
            env |= {name: value.replace(INSTALLED, str(home)) for name, value in told.items()}
        elif word == "RUN" and not re.match("apt-get|useradd|install -d", words):
            subprocess.run(["sh", "-c", words], cwd=home, env=env, check=True, timeout=500)
            ran.append(words)
    assert len(ran) == 3
    assert (home / "staticfiles/staticfiles.json").is_file()
    # What was copied is enough to start everything.
    asked = {"SECRET_KEY": "k" * 50, "ALLOWED_HOSTS": "hub.example.com", "DATABASE_URL": "postgresql:///none"}
    check = ["python", "-c", "import config.asgi, config.celery; config.celery.app.loader.import_default_modules()"]
    subprocess.run(check, cwd=home, env=env | asked | {"TASKHUB_DATA_DIR": str(tmp_path / "data")}, check=True)
