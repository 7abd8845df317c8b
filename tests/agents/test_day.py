"""The day of `day.py`, and the two prompts to the letter (`letters.py`): all is done, in few calls and few words."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.agents import letters
from tests.agents.day import TASKS, day, sign_in_link
from tests.processes import RunningHub, running_hub

CALLS_PER_TASK = 5
TOKENS_PER_TASK = 900


@pytest.fixture(scope="module")
def own_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """The day's agents take whatever task there is."""
    with running_hub(tmp_path_factory.mktemp("day")) as hub:
        yield hub


@pytest.mark.timeout(600)
def test_eight_tasks_are_done_in_few_calls_and_words(own_hub: RunningHub) -> None:
    tally, tasks = asyncio.run(day(own_hub.address, own_hub.token, sign_in_link(own_hub)))
    told = {task["title"]: task["status"] for task in tasks if "letters" not in f"{task['tags']}"}
    assert told == {task["title"]: "done" for task in TASKS}
    print(*tally.story, sep="\n")  # noqa: T201 - shown where it fails
    assert len(tally.calls) <= CALLS_PER_TASK * len(TASKS), Counter(tally.calls)
    assert tally.tokens <= TOKENS_PER_TASK * len(TASKS)


@pytest.mark.timeout(600)
def test_both_prompts_to_the_letter_lose_no_task(own_hub: RunningHub) -> None:
    told = asyncio.run(letters.by_the_letter(own_hub))
    assert {title: task["status"] for title, task in told.tasks.items()} == {
        task["title"]: "done" for task in letters.TASKS
    }
    notes = {title: [note["text"] for note in reversed(task["notes"])] for title, task in told.tasks.items()}
    # The one that was given back was taken up again, the one that was sent back was done again, each once.
    assert notes["Broken"] == ["it needs REGION=eu", "Broken is done"]
    assert notes["Text"] == ["Text is done", "Name the sources.", "Text is done; sources: the sum"]
    assert notes["Colour"] == ["Which colour?", "blue", "it is blue"]
    assert (told.tasks["Data"]["artifacts"], told.tasks["Sum"]["artifacts"]) == (["out/data.txt"], ["out/sum.txt"])
    # What a step says is what the hub takes: nothing was refused, and every tool that is named was of use.
    assert [agent.refused for agent in told.agents] == [[], [], []]
    called = set().union(*(agent.calls for agent in told.agents))
    named = set(
        re.findall(r"\b[a-z]+_(?:tasks?|overview|note|status|file|execution)\b", "".join(told.prompts.values()))
    )
    assert named - called == set()
