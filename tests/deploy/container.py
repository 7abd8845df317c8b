"""The image without Docker: its steps run in a folder, and a command in it, confined as Docker's defaults confine."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.deploy.shipped import DATA, DEPLOY, INSTALLED
from tests.processes import ROOT

ACCOUNT: Final = "10001"
"""Of the image: its uid and its gid."""


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's, with continued lines joined."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in lines]


@dataclass
class Image:
    """`home` is what the image has as /opt/taskhub; `env` what `ENV` sets, with the image's own paths."""

    home: Path
    env: dict[str, str] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)

    @property
    def env_here(self) -> dict[str, str]:
        """To run a command in `home` itself."""
        kept = {name: text for name, text in os.environ.items() if not name.startswith(("TASKHUB_", "DJANGO_", "COV_"))}
        kept["PATH"] = f"{Path(sys.executable).parent}:{kept['PATH']}"
        return kept | {name: text.replace(INSTALLED, str(self.home)) for name, text in self.env.items()}

    def command(self, words: list[str], env: Mapping[str, str], data: Path) -> list[str]:
        """The command in a container: by the image's account, read-only but for its data and /tmp, in namespaces in
        which no further ones can be made. The network is this machine's."""
        variables = [word for name, text in {**self.env, **env}.items() for word in ("--setenv", name, text)]
        return [
            *("bwrap", "--die-with-parent", "--unshare-user", "--disable-userns", "--unshare-pid", "--as-pid-1"),
            *("--uid", ACCOUNT, "--gid", ACCOUNT, "--cap-drop", "ALL"),
            *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"),
            *("--tmpfs", str(Path(INSTALLED).parent), "--ro-bind", str(self.home), INSTALLED),
            *("--tmpfs", str(Path(DATA).parent), "--bind", str(data), DATA, "--chdir", INSTALLED),
            *("--clearenv", *variables, "--", *words),
        ]


def build(home: Path) -> Image:
    """Each of the steps that a plain Debian can take, in its order."""
    allowed = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"}
    image = Image(home)
    home.mkdir()
    for word, words in instructions():
        if word == "COPY" and not words.startswith("--from"):
            source, target = words.split()
            assert source in allowed, source
            (home / target).parent.mkdir(exist_ok=True)
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            copy(ROOT / source, home / target)
        elif word == "ENV":
            image.env |= dict(pair.split("=", 1) for pair in shlex.split(words))
        elif word == "RUN" and not re.match("apt-get|useradd|install -d", words):
            subprocess.run(["sh", "-c", words], cwd=home, env=image.env_here, check=True, timeout=1500)
            image.ran.append(words)
    return image
