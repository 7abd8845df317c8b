"""What work costs agents: a day of eight tasks over MCP alone, by scripted agents (`tests/agents/day.py`)."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks.peers.day_before import PreviousHub, day_before, polls
from benchmarks.scenarios import Sample, Scenario
from benchmarks.servers import Template
from benchmarks.writers import WriterProcess
from tests.agents.day import Tally, day, sign_in_link
from tests.deploy.previous_release import PreviousRelease
from tests.processes import running_hub


def run(_: Template, __: WriterProcess) -> Sample:
    """By turns: the day on the previous release, then on this one."""
    with tempfile.TemporaryDirectory(prefix="taskhub-bench-agents-") as name:
        folder = Path(name)
        (folder / "release").mkdir()
        before = PreviousHub(PreviousRelease(folder / "release"), folder / "before")
        try:
            before.wait_ready()
            asked, old_tasks = asyncio.run(day_before(before.address, before.token))
        finally:
            before.process.end()
        with running_hub(folder / "data") as hub:
            tally, tasks = asyncio.run(day(hub.address, hub.token, sign_in_link(hub)))
    print(*tally.story, sep="\n")
    share = {"before_polls": 100 * polls(asked) / len(asked.calls)}
    return {**_of(tally, tasks, ""), **_of(asked, old_tasks, "before_"), **share}


def _of(tally: Tally, tasks: list[dict[str, Any]], prefix: str) -> Sample:
    """For each task that was finished."""
    done = sum(task["status"] == "done" for task in tasks)
    return {
        f"{prefix}done": done,
        f"{prefix}calls": len(tally.calls) / done,
        f"{prefix}tokens": tally.tokens / done,
    }


SCENARIO: Final = Scenario(
    "agents",
    "An orchestrator, three agents and a person share eight tasks over MCP: order, a file of another task, a long "
    "run, a failing run, a question, a review that is sent back. The agents are scripts that do what the prompts "
    "say; a token is four characters of a result. By turns with the previous release (tests/deploy/PREVIOUS_RELEASE), "
    "whose twelve tools wait for nothing, under its own prompts: there the summary is made when the others are done, "
    "and the task that is sent back is offered to no agent again (benchmarks/peers/day_before.py). Measured by hand "
    "before this release, such a day took 11.4 calls and 2,126 tokens for each of seven finished tasks, 59 % of them "
    "polls.",
    run,
    [
        ("done", "of 8 tasks done", "", None, 8),
        ("calls", "calls of a tool for a task", "", 5, None),
        ("tokens", "tokens of results for a task", "", 900, None),
        ("before_done", "previous release: of 8 tasks done", "", None, None),
        ("before_calls", "previous release: calls of a tool for a finished task", "", None, None),
        ("before_tokens", "previous release: tokens of results for a finished task", "", None, None),
        ("before_polls", "previous release: calls that ask again", "%", None, None),
    ],
)
