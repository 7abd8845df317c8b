"""What work costs agents: a day of eight tasks over MCP alone, by scripted agents (`tests/agents/day.py`)."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.scenarios import Sample, Scenario
from benchmarks.servers import Template
from benchmarks.writers import WriterProcess
from tests.agents.day import day, sign_in_link
from tests.processes import running_hub


def run(_: Template, __: WriterProcess) -> Sample:
    with (
        tempfile.TemporaryDirectory(prefix="taskhub-bench-agents-") as folder,
        running_hub(Path(folder) / "data") as hub,
    ):
        tally, tasks = asyncio.run(day(hub.address, hub.token, sign_in_link(hub)))
    print(*tally.story, sep="\n")
    done = [task for task in tasks if task["status"] == "done"]
    return {
        "done": len(done),
        "calls": len(tally.calls) / len(tasks),
        "tokens": tally.tokens / len(tasks),
    }


SCENARIO: Final = Scenario(
    "agents",
    "An orchestrator, three agents and a person share eight tasks over MCP: order, a file of another task, a long "
    "run, a failing run, a question, a review that is sent back. The agents are scripts that do what the prompts "
    "say; a token is four characters of a result. Before `wait_s`, notes and short answers such a day took 11.4 "
    "calls and 2,126 tokens a task, 59 % of them polls, and one task of eight was not finished: measured earlier "
    "with other scripts, not by turns with this.",
    run,
    [
        ("done", "of 8 tasks done", "", None, None),
        ("calls", "calls of a tool for a task", "", None, None),
        ("tokens", "tokens of results for a task", "", None, None),
    ],
)
