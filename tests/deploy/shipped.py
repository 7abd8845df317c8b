"""What `deploy/` ships, read the way its readers read it, and moved to another place for a test."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.processes import ROOT

DEPLOY = ROOT / "deploy"
UNITS = DEPLOY / "systemd"
NAME = "hub.example.com"
INSTALLED = "/opt/taskhub"
SOCKETS = "/run/taskhub"
DATA = "/var/lib/taskhub"


def unit_lines(name: str, option: str) -> list[str]:
    """The values of a unit's option, in order."""
    lines = (UNITS / name).read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{option}=")]


def unit_command(name: str, option: str = "ExecStart", *, instance: str = "") -> list[str]:
    """The one command line of a unit, as words."""
    (line,) = unit_lines(name, option)
    return shlex.split(line.replace("%i", instance))


def read_env_file(path: Path) -> dict[str, str]:
    """As systemd, compose and sh read it alike."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    read: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition("=")
        (read[name],) = shlex.split(value)
    return read


def moved(text: str, places: Mapping[str, str]) -> str:
    """The text with each of the shipped paths replaced; the longest first, for one may lie in another."""
    for shipped in sorted(places, key=len, reverse=True):
        text = text.replace(shipped, places[shipped])
    return text


def places(sockets: Path) -> dict[str, str]:
    """Where a test has what the units name: the programs of its own environment, the code it tests, its sockets."""
    return {f"{INSTALLED}/.venv/bin": f"{sys.prefix}/bin", INSTALLED: str(ROOT), SOCKETS: str(sockets)}
