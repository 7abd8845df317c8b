"""`manage.py`: what it does about errors of the database."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from django.db import OperationalError

from config import command_line


class Command:
    """Django's commands: fails so many times, with one error of PostgreSQL's."""

    def __init__(self, times: int, cause: Exception) -> None:
        self.times = times
        self.cause = cause
        self.runs = 0

    def __call__(self, _: Any) -> None:
        self.runs += 1
        if self.runs <= self.times:
            raise OperationalError(str(self.cause)) from self.cause


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "config.settings.test")
    monkeypatch.setattr(command_line.connection, "close", lambda: None)

    def run(command: Command, *arguments: str) -> int:
        monkeypatch.setattr(command_line, "execute_from_command_line", command)
        return command_line.run(["manage.py", *arguments])

    return run


def test_migration_that_met_a_deadlock_is_tried_again(ran: Any, capsys: pytest.CaptureFixture[str]) -> None:
    command = Command(2, psycopg.errors.DeadlockDetected("deadlock detected"))
    assert ran(command, "migrate", "--no-input") == 0
    assert command.runs == 3
    assert capsys.readouterr().err.count("it is tried again") == 2


@pytest.mark.parametrize(
    ("command", "arguments", "runs"),
    [
        (Command(9, psycopg.errors.DeadlockDetected("deadlock")), ["migrate"], command_line.TRIES),
        (Command(1, psycopg.errors.LockNotAvailable("lock timeout")), ["migrate"], 1),
        # What another command has done already may not be done twice.
        (Command(1, psycopg.errors.DeadlockDetected("deadlock")), ["after_restore"], 1),
    ],
)
def test_other_errors_are_told_at_once(
    ran: Any, capsys: pytest.CaptureFixture[str], command: Command, arguments: list[str], runs: int
) -> None:
    assert ran(command, *arguments) == 1
    assert command.runs == runs
    assert capsys.readouterr().err.count("it is tried again") == runs - 1
