"""The day of `day.py`: all is done, in few calls and few words."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.agents.day import TASKS, day, sign_in_link
from tests.processes import running_hub

CALLS_PER_TASK = 5
TOKENS_PER_TASK = 900


@pytest.mark.timeout(600)
def test_eight_tasks_are_done_in_few_calls_and_words(tmp_path: Path) -> None:
    with running_hub(tmp_path / "hub") as hub:
        tally, tasks = asyncio.run(day(hub.address, hub.token, sign_in_link(hub)))
    told = {task["title"]: task["status"] for task in tasks}
    assert told == {task["title"]: "done" for task in TASKS}
    print(*tally.story, sep="\n")  # noqa: T201 - shown where it fails
    assert len(tally.calls) <= CALLS_PER_TASK * len(TASKS), Counter(tally.calls)
    assert tally.tokens <= TOKENS_PER_TASK * len(TASKS)
