"""When open streams are frozen, and when they are looked at again."""

from __future__ import annotations

import gc

import pytest

from taskhub.lib.garbage import STEP, THRESHOLDS, Frozen


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    made: list[str] = []
    for name in ("freeze", "unfreeze", "collect", "enable", "set_threshold"):
        monkeypatch.setattr(gc, name, lambda *args, name=name: made.append(f"{name}{args}"))
    return made


def test_streams_are_frozen_as_they_become_more_and_anew_when_half_are_gone(calls: list[str]) -> None:
    frozen = Frozen()
    frozen.begin()
    assert calls == ["freeze()", f"set_threshold({THRESHOLDS},)".replace("((", "(").replace("),)", ")"), "enable()"]
    calls.clear()
    frozen.follow(STEP - 1)
    assert calls == []
    for streams in (STEP, 2 * STEP, 2 * STEP, STEP + 1, STEP):
        frozen.follow(streams)
    assert calls == ["collect()", "freeze()"] * 2
    frozen.follow(STEP - 1)
    assert calls[4:] == ["unfreeze()", "collect()", "freeze()"]


def test_a_process_that_has_not_begun_is_left_alone(calls: list[str]) -> None:
    Frozen().follow(10 * STEP)
    assert calls == []
