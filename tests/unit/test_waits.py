"""A wait on the loop, and the lines of agents that wait for a task: which event has whom look, and when it ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from taskhub.api import claim_lines as claim_lines_module
from taskhub.api import pause_watch as pause_watch_module
from taskhub.api import waiting as waiting_module
from taskhub.api.claim_lines import ClaimLines, Line, may_be_free
from taskhub.api.pause_watch import Pauses, read_pauses
from taskhub.api.waiting import FeedSignals, Seen, Wait, Waiter, waiting
from taskhub.errors import NotAuthenticated
from taskhub.events.channels import ADMISSION, TASKS
from taskhub.events.ephemeral import LiveChannel, LiveReader
from taskhub.events.feed import Feed, TableReader
from taskhub.events.filters import Filters
from taskhub.events.open_streams import registry
from taskhub.events.stream import ClientGone
from taskhub.models import HUB
from taskhub.roles import Caller

WHO = Waiter(AnonymousUser(), None, "test")
LIMIT_S = 50


class Hub:
    """A hub whose feed has the events that a test puts there; no table is behind it."""

    def __init__(self) -> None:
        self.tasks = Feed(TASKS, TableReader())
        self.tasks.head = 0
        self.admission = LiveChannel(lambda: None)
        self.reader = self
        self.pauses: Pauses | Exception = Pauses({}, None)

    async def feed(self, channel: str) -> Feed:
        assert channel == TASKS
        return self.tasks

    def join_live(self, channel: str) -> LiveReader:
        assert channel == ADMISSION
        return self.admission.join()

    async def run(self, read: Callable[[], Pauses]) -> Pauses:
        """In the place of a thread that reads the table."""
        assert read is read_pauses
        await asyncio.sleep(0)
        if isinstance(self.pauses, Exception):
            raise self.pauses
        return self.pauses

    def pause(self, account: str, *, paused: bool, ends: bool = False, tells: bool = True) -> None:
        """A rule that is set; `ends`: it is to be looked at again at once. Not all messages arrive."""
        now = timezone.now()
        rules = {} if isinstance(self.pauses, Exception) else self.pauses.rules
        self.pauses = Pauses({**rules, account: (now, paused)}, now if ends else None)
        if tells:
            self.admission.take("rule-set", "{}")

    def tell(self, event: str, **data: Any) -> None:
        body = {"id": "x", "event": event, "data": {"task_id": "t", **data}, "timestamp": "now"}
        assert self.tasks.take(self.tasks.head + 1, "message", json.dumps(body))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub()
    for module in (waiting_module, claim_lines_module, pause_watch_module):
        monkeypatch.setattr(module, "running_hub", lambda: made)
    monkeypatch.setattr(waiting_module, "with_database", here)
    monkeypatch.setattr(waiting_module, "with_database_writing", here)
    return made


async def here(function: Callable[..., Any], *arguments: Any) -> Any:
    """In the place of a thread with a database: other tasks run meanwhile."""
    await asyncio.sleep(0)
    return function(*arguments)


async def settled() -> None:
    """Until nothing on the loop goes on by itself."""
    for _ in range(50):
        await asyncio.sleep(0)


class State:
    """What is looked at, and how often it was."""

    def __init__(self) -> None:
        self.value = 0
        self.looks = 0

    def look(self, caller: Caller) -> Seen:
        assert caller is WHO.user
        self.looks += 1
        return Seen({"value": self.value}, self.value)


@asynccontextmanager
async def begun(state: State, events: Filters, **options: Any) -> AsyncIterator[asyncio.Task[Any]]:
    """A wait that has begun, for the value to be 1."""
    signals = FeedSignals(0, events, together_s=0)
    task = asyncio.create_task(Wait(WHO, signals, options.pop("wait_s", LIMIT_S), **options).until(state.look, bool))
    await settled()
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await signals.close()


async def test_a_wait_ends_at_a_change_and_not_at_an_event_without_one(hub: Hub) -> None:
    state = State()
    async with begun(state, Filters(types=frozenset({"task_updated"}))) as wait:
        hub.tell("note_added")
        await settled()
        assert state.looks == 0  # not an event of this wait
        hub.tell("task_updated")
        await settled()
        assert (state.looks, wait.done()) == (1, False)
        state.value = 1
        hub.tell("task_updated")
        seen, timed_out = await wait
    assert (seen.data, timed_out) == ({"value": 1}, False)
    assert not hub.tasks.readers


async def test_an_event_before_the_first_signal_is_not_missed(hub: Hub) -> None:
    state = State()
    state.value = 1
    hub.tell("task_updated")  # after the cursor, before the wait
    async with begun(state, Filters()) as wait:
        assert (await wait)[1] is False


async def test_at_the_limit_it_looks_once_more(hub: Hub) -> None:
    state = State()
    async with begun(state, Filters(), wait_s=0) as wait:
        assert await wait == (Seen({"value": 0}, 0), True)
    state.value = 1  # changed without an event
    async with begun(state, Filters(), wait_s=0) as wait:
        assert await wait == (Seen({"value": 1}, 1), False)


async def test_a_client_that_has_gone_ends_the_wait_without_a_look(hub: Hub) -> None:
    state, gone = State(), asyncio.Event()
    async with begun(state, Filters(), gone=gone) as wait:
        hub.tell("task_updated")
        gone.set()
        with pytest.raises(ClientGone):
            await wait
    assert state.looks == 0


async def test_a_process_that_leaves_answers(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_module, "_SLICE_S", 0.01)
    state = State()
    async with begun(state, Filters()) as wait:
        monkeypatch.setattr(registry, "leaving", True)
        assert (await wait)[1] is True


async def test_an_error_of_a_look_ends_the_wait(hub: Hub) -> None:
    def look(caller: Caller) -> Seen:
        raise NotAuthenticated("revoked")

    state = State()
    state.look = look  # type: ignore[method-assign]
    async with begun(state, Filters()) as wait:
        hub.tell("task_updated")
        with pytest.raises(NotAuthenticated):
            await wait


async def test_the_limit_does_not_interrupt_a_look(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim whose result were dropped would be held by an agent that does not know of it."""
    looking, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(function: Callable[..., Any], *arguments: Any) -> Any:
        looking.set()
        await go_on.wait()
        return function(*arguments)

    monkeypatch.setattr(waiting_module, "with_database_writing", slowly)
    loop = asyncio.get_running_loop()
    state = State()
    state.value = 1
    async with begun(state, Filters(), writes=True) as wait:
        hub.tell("task_updated")
        await looking.wait()
        now = loop.time()
        monkeypatch.setattr(loop, "time", lambda: now + LIMIT_S + 1, raising=False)
        await settled()
        go_on.set()
        seen, timed_out = await wait
    assert (seen.data, timed_out, state.looks) == ({"value": 1}, False, 1)


async def test_a_wait_has_a_place_among_the_streams_until_it_ends(hub: Hub) -> None:
    async def joined() -> FeedSignals:
        return FeedSignals(0, Filters())

    async def fails() -> None:
        async with waiting(WHO, LIMIT_S, joined):
            assert len(registry._slots) == before + 1
            raise NotAuthenticated("revoked")

    before = len(registry._slots)
    with pytest.raises(NotAuthenticated):
        await fails()
    assert len(registry._slots) == before


# --- Lines ------------------------------------------------------------------------------------------------


class Tasks:
    """Tasks that are free, and agents that wait for them in one line."""

    def __init__(self, lines: ClaimLines) -> None:
        self.lines = lines
        self.free = 0
        self.looks = 0

    def claim(self, _: Caller) -> Seen:
        self.looks += 1
        got = self.free > 0
        self.free -= got
        return Seen({"got": got}, got)

    async def agent(self, account: str = "any", gone: asyncio.Event | None = None) -> asyncio.Task[Any]:
        place = await self.lines.join(Line(account))

        async def waits() -> Any:
            try:
                return await Wait(WHO, place, LIMIT_S, gone=gone, writes=True).until(self.claim, bool)
            finally:
                await place.close()

        task = asyncio.create_task(waits())
        await settled()
        return task


@pytest.fixture
def tasks(hub: Hub) -> Tasks:
    return Tasks(ClaimLines())


async def test_one_task_costs_two_looks_however_many_wait(hub: Hub, tasks: Tasks) -> None:
    agents = [await tasks.agent() for _ in range(50)]
    tasks.free = 1
    hub.tell("task_created", status="todo")
    await settled()
    assert [n for n, agent in enumerate(agents) if agent.done()] == [0]
    assert tasks.looks == 2
    assert len(tasks.lines) == 49
    tasks.free = 10
    hub.tell("task_created", status="todo")
    await asyncio.gather(*agents[:11])
    await settled()
    assert sum(agent.done() for agent in agents) == 11
    assert tasks.looks == 2 + 11
    for agent in agents:
        agent.cancel()
    await asyncio.gather(*agents, return_exceptions=True)
    await settled()
    assert (len(tasks.lines), len(hub.tasks.readers)) == (0, 0)


async def test_an_event_that_is_not_ours_does_not_end_the_lines(hub: Hub, tasks: Tasks) -> None:
    agent = await tasks.agent()
    for data in ("no JSON", "[]", '{"event": "task_updated", "data": []}'):
        hub.tasks.take(hub.tasks.head + 1, "task_updated", data)
        await settled()
    tasks.free = 1
    hub.tell("task_created", status="todo")
    assert (await agent)[0].data == {"got": True}


async def test_each_line_is_called_for_itself(hub: Hub, tasks: Tasks) -> None:
    agents = [await tasks.agent(account) for account in ("a", "a", "b", "b")]
    hub.tell("task_updated", status="todo")
    await settled()
    assert tasks.looks == 2  # in vain, one of each
    tasks.free = 2
    hub.tell("task_ready")
    await asyncio.gather(agents[0], agents[2])
    for agent in (agents[1], agents[3]):
        agent.cancel()


async def test_a_turn_that_is_not_used_goes_to_the_next(hub: Hub, tasks: Tasks) -> None:
    gone = asyncio.Event()
    first, second = await tasks.agent(gone=gone), await tasks.agent()
    tasks.free = 1
    gone.set()
    hub.tell("task_created", status="todo")
    with pytest.raises(ClientGone):
        await first
    assert (await second)[0].data == {"got": True}


async def test_an_agent_that_leaves_before_its_turn_passes_the_call_on(hub: Hub, tasks: Tasks) -> None:
    first = await tasks.lines.join(Line("any"))
    second = await tasks.agent()
    tasks.free = 1
    hub.tell("task_created", status="todo")
    await settled()
    assert tasks.looks == 0
    await first.close()
    assert (await second)[0].data == {"got": True}


async def test_an_event_during_a_look_is_looked_at_again(
    hub: Hub, tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def too_early(function: Callable[..., Any], *arguments: Any) -> Any:
        seen = function(*arguments)
        if not tasks.free:
            tasks.free = 1
            hub.tell("task_created", status="todo")
            await settled()
        return seen

    monkeypatch.setattr(waiting_module, "with_database_writing", too_early)
    agent = await tasks.agent()
    hub.tell("task_created", status="todo")
    assert (await agent)[0].data == {"got": True}
    assert tasks.looks == 2


@asynccontextmanager
async def at_lines(tasks: Tasks, *accounts: str) -> AsyncIterator[list[asyncio.Task[Any]]]:
    agents = [await tasks.agent(account) for account in accounts]
    try:
        yield agents
    finally:
        for agent in agents:
            agent.cancel()
        await asyncio.gather(*agents, return_exceptions=True)


async def test_a_pause_of_an_account_wakes_its_own_agents_and_one_of_the_hub_all(hub: Hub, tasks: Tasks) -> None:
    async with at_lines(tasks, "alice", "alice", "bob"):
        for account, paused, looks in [("alice", True, 1), ("alice", False, 2), (HUB, True, 4), ("eve", True, 4)]:
            hub.pause(account, paused=paused)
            await settled()
            assert tasks.looks == looks, account
    await settled()
    assert not hub.admission._readers


async def test_when_a_pause_ends_the_whole_line_gets_what_there_is(hub: Hub, tasks: Tasks) -> None:
    hub.pause("alice", paused=True)
    async with at_lines(tasks, "alice", "alice", "bob") as agents:
        assert tasks.looks == 0
        tasks.free = 2
        hub.pause("alice", paused=False)
        await asyncio.gather(*agents[:2])
        assert not agents[2].done()


async def test_a_pause_ends_by_itself(hub: Hub, tasks: Tasks) -> None:
    hub.pause("alice", paused=True, ends=True)
    async with at_lines(tasks, "alice") as agents:
        tasks.free = 1
        hub.pause("alice", paused=False, tells=False)
        async with asyncio.timeout(1):  # sooner than the usual look
            await agents[0]


async def test_a_pause_is_noticed_without_a_message(hub: Hub, tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pause_watch_module, "LOOK_S", 0.01)
    hub.pauses = DatabaseError("away")  # nor can the first look be made
    async with at_lines(tasks, "alice") as agents:
        tasks.free = 1
        hub.pause("alice", paused=False, tells=False)
        await agents[0]


async def test_a_look_at_the_pauses_that_fails_ends_no_line(hub: Hub, tasks: Tasks) -> None:
    async with at_lines(tasks, "alice") as agents:
        hub.pauses = InterfaceError("the connection is closed")  # no DatabaseError, in Django's order of things
        hub.admission.take("rule-set", "{}")
        await settled()
        tasks.free = 1
        hub.tell("task_created", status="todo")
        await settled()
        assert agents[0].done()


async def test_an_agent_that_goes_away_before_it_stands_in_line_leaves_nothing(hub: Hub, tasks: Tasks) -> None:
    joining = asyncio.create_task(tasks.lines.join(Line("alice")))
    await asyncio.sleep(0)
    joining.cancel()
    await asyncio.gather(joining, return_exceptions=True)
    await settled()
    assert (len(tasks.lines), len(hub.tasks.readers), len(hub.admission._readers)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("event", "data", "free"),
    [
        ("task_created", {"status": "todo"}, True),
        ("task_created", {"status": "done"}, False),
        ("task_updated", {"status": "todo"}, True),
        ("task_updated", {"status": "inprogress"}, False),
        ("task_ready", {}, True),
        ("stream-reset", {}, True),
    ],
)
def test_after_which_events_a_task_may_be_free(event: str, data: dict[str, str], free: bool) -> None:
    assert may_be_free({"event": event, "data": data}) is free
