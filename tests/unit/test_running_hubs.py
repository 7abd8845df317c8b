"""Which hub a command is about: the folder that is set, `var/`, or the one hub that runs elsewhere."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config.launcher import running
from config.launcher.running import RunningHub, SeveralHubsError, choose_data_dir, forget, running_on


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(running, "USUAL", tmp_path / "var")
    monkeypatch.setattr(running, "_ELSEWHERE", tmp_path / ".running")
    return tmp_path


@pytest.fixture
def take() -> Iterator[Callable[[Path], int]]:
    """Holds the lock of a folder, as a launcher does; the descriptor that it returns is closed at the end."""
    held: list[int] = []

    def taken(folder: Path) -> int:
        folder.mkdir()
        held.append(os.open(folder, os.O_RDONLY))
        fcntl.flock(held[-1], fcntl.LOCK_EX)
        return held[-1]

    yield taken
    for descriptor in held:
        os.close(descriptor)


def start(folder: Path, take: Callable[[Path], int], pid: int) -> int:
    descriptor = take(folder)
    RunningHub(pid, 8000, {"SECRET_KEY": "k"}).record(folder)
    return descriptor


def test_folder_that_is_set_is_taken_as_it_is(project: Path, take: Callable[[Path], int]) -> None:
    start(project / "var", take, 1)
    assert choose_data_dir({"TASKHUB_DATA_DIR": str(project / "x")}) == project / "x"
    assert choose_data_dir({"TASKHUB_DATA_DIR": ""}) == project / "var"


def test_usual_folder_comes_first_and_then_the_only_one_elsewhere(project: Path, take: Callable[[Path], int]) -> None:
    assert choose_data_dir({}) == project / "var"
    start(project / "one", take, 1)
    assert choose_data_dir({}) == project / "one"
    start(project / "two", take, 2)
    with pytest.raises(SeveralHubsError, match=f"{project / 'one'}, {project / 'two'}"):
        choose_data_dir({})
    start(project / "var", take, 3)
    assert choose_data_dir({}) == project / "var"


def test_hub_that_was_killed_does_not_count(project: Path, take: Callable[[Path], int]) -> None:
    descriptor = start(project / "one", take, 1)
    assert running_on(project / "one") == RunningHub(1, 8000, {"SECRET_KEY": "k"})
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    assert running_on(project / "one") is None
    assert choose_data_dir({}) == project / "var"
    assert not list((project / ".running").iterdir())


def test_record_is_its_owners_alone_and_ends_with_the_hub(project: Path, take: Callable[[Path], int]) -> None:
    take(project / "one")
    hub = RunningHub.of(8123, {"REDIS_URL": "unix:///r", "DATABASE_URL": "", "HOME": "/root", "SECRET_KEY_FILE": "/s"})
    assert hub.settings == {"REDIS_URL": "unix:///r", "SECRET_KEY_FILE": "/s", "TASKHUB_PORT": "8123"}
    hub.record(project / "one")
    assert (project / "one/hub.json").stat().st_mode & 0o777 == 0o600
    assert running_on(project / "one") == hub
    forget(project / "one")
    assert running_on(project / "one") is None
    assert not list((project / ".running").iterdir())


@pytest.mark.parametrize("text", ["", "[]", '{"pid": 1}', "{"])
def test_record_that_makes_no_sense_is_none(project: Path, take: Callable[[Path], int], text: str) -> None:
    take(project / "one")
    (project / "one/hub.json").write_text(text)
    assert running_on(project / "one") is None
