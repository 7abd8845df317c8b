"""`.env`: what it sets, what wins, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config import env_file
from config.env_file import EnvFileRefused
from tests.processes import ROOT


def load(path: Path, **environment: str) -> dict[str, str]:
    loaded = {"TASKHUB_ENV_FILE": str(path), **environment}
    env_file.load(loaded)
    return loaded


def test_file_sets_what_the_environment_does_not(tmp_path: Path) -> None:
    (tmp_path / "env").write_text(
        "\ufeff# a comment\n\nTASKHUB_PORT=8123 # ours\nexport A='with # and $HOME'\nB=\"two\\nlines\"\r\nC=\n"
        "DATABASE_URL=postgresql://u:p%40@h/n?a=b\n",
        encoding="utf-8",
    )
    loaded = load(tmp_path / "env", A="set", EMPTY="")
    assert loaded["TASKHUB_PORT"] == "8123"
    assert loaded["A"] == "set"
    assert loaded["B"] == "two\nlines"
    assert loaded["C"] == ""
    assert loaded["DATABASE_URL"] == "postgresql://u:p%40@h/n?a=b"
    (tmp_path / "env").write_text("A='with # and ${HOME}'\nA=last\nEMPTY=x\n")
    assert load(tmp_path / "env", EMPTY="")["A"] == "last"
    assert load(tmp_path / "env", EMPTY="")["EMPTY"] == ""


def test_values_are_taken_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A=${HOME}/x\n")
    assert load(tmp_path / "env")["A"] == "${HOME}/x"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("TASKHUB_PORT\n", 1),
        ("A=1\n\n\nTASKHUB_PORT: hunter2\n", 4),
        ("A=1\n# c\nB='hunter2\nC=3\n", 3),
        ("A=1\n  B C=hunter2\n", 2),
        ("A=hunter2\0\n", 1),
    ],
)
def test_line_that_is_not_understood_is_named_without_its_value(tmp_path: Path, text: str, line: int) -> None:
    (tmp_path / "env").write_text(text)
    with pytest.raises(EnvFileRefused, match=f"env, line {line}: ") as refused:
        load(tmp_path / "env")
    assert "hunter2" not in str(refused.value)


def test_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EnvFileRefused, match="cannot be read: No such file or directory"):
        load(tmp_path / "missing")
    (tmp_path / "env").write_bytes(b"A=\xff\n")
    with pytest.raises(EnvFileRefused, match="is not UTF-8"):
        load(tmp_path / "env")


def test_no_file_is_none_and_a_folder_is_none_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env_file, "ROOT", tmp_path)
    for _ in range(2):
        loaded = {"A": "1"}
        env_file.load(loaded)
        assert loaded == {"A": "1"}
        (tmp_path / ".env").mkdir(exist_ok=True)
    (tmp_path / ".env").rmdir()
    (tmp_path / ".env").write_text("B=2\n")
    env_file.load(loaded)
    assert loaded == {"A": "1", "B": "2"}


@pytest.mark.parametrize(
    "command", [["-m", "config.launcher"], ["manage.py", "check"], ["-m", "celery", "-A", "config", "report"]]
)
def test_every_way_in_reads_the_file_or_refuses_it_in_one_sentence(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "env").write_text("DJANGO_SETTINGS_MODULE=config.settings.local\nTASKHUB_PORT=http\n")
    unset = {"DJANGO_SETTINGS_MODULE", "TASKHUB_PORT"}
    environment = {name: value for name, value in os.environ.items() if name not in unset} | {
        "TASKHUB_ENV_FILE": str(tmp_path / "env"),
        "TASKHUB_DATA_DIR": str(tmp_path / "data"),
    }
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "TASKHUB_PORT must be a" in done.stderr
    (tmp_path / "env").write_text("TASKHUB_PORT\n")
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"TaskHub cannot start: {tmp_path / 'env'}, line 1: write NAME=value;")
    assert done.stderr.count("\n") == 1
