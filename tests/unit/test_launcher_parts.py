"""Parts that `make run` starts: the gate at which children wait, the server that rests, beat in the worker."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import uvicorn
from celery import Celery, beat

from config.launcher import uvicorn_server
from config.launcher.gate import GATE, Gate, wait_at_gate
from config.launcher.uvicorn_server import RestingServer
from taskhub.lib.worker_beat import BeatThread
from taskhub.observability import heartbeat


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Any:
    with Gate() as made:
        monkeypatch.setenv(GATE, str(made.descriptor))
        yield made


def test_children_wait_until_the_gate_opens_and_not_after(gate: Gate) -> None:
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(wait_at_gate) for _ in range(2)]
        assert not any(each.done() for each in waiting)
        gate.open()
        for each in waiting:
            each.result(60)
    wait_at_gate()


def test_children_are_turned_away_when_there_is_nothing_to_go_on_with(gate: Gate) -> None:
    gate.turn_away()
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            wait_at_gate()
        assert ended.value.code == 0


def test_an_open_gate_turns_nothing_away(gate: Gate) -> None:
    gate.open()
    gate.turn_away()
    wait_at_gate()


def test_without_a_gate_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(GATE, raising=False)
    wait_at_gate()


async def _nothing(*_: object) -> None: ...


async def test_a_signal_ends_a_server_that_rests_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uvicorn_server, "TICK_S", 3600.0)
    server = RestingServer(uvicorn.Config(_nothing))
    running = asyncio.create_task(server.main_loop())
    await asyncio.sleep(0)
    assert not running.done()
    threading.Thread(target=server.handle_exit, args=(signal.SIGTERM, None)).start()
    async with asyncio.timeout(60):
        await running
    assert server.should_exit


def test_a_worker_whose_beat_fails_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would do no periodic job, and look healthy."""
    ended = threading.Event()
    sent: list[tuple[int, int]] = []

    def kill(pid: int, number: int) -> None:
        sent.append((pid, number))
        ended.set()

    monkeypatch.setattr(os, "kill", kill)
    monkeypatch.setattr(beat.Service, "start", lambda _: 1 / 0)
    app = Celery("of-a-test", set_as_current=False)
    step = BeatThread(app, with_beat=True)

    class Worker:
        def __init__(self) -> None:
            self.app = app

    running = step.create(Worker())
    monkeypatch.setattr(running._app, "set_current", lambda: None)
    running.start()
    assert ended.wait(60)
    assert sent == [(os.getpid(), signal.SIGTERM)]


def test_a_worker_has_no_beat_unless_it_is_told_so() -> None:
    assert not BeatThread(None).include_if(None)
    assert BeatThread(None, with_beat=True).include_if(None)


def test_what_other_threads_send_is_no_heartbeat_of_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a worker, jobs send jobs: beat may be dead beside them."""
    beats: list[None] = []
    monkeypatch.setattr(heartbeat, "_beats", set())
    monkeypatch.setattr(heartbeat._beat, "beat", lambda: beats.append(None))
    monkeypatch.setattr(heartbeat.connection, "close_if_unusable_or_obsolete", lambda: None)
    heartbeat._from_beat()
    assert beats == []
    with ThreadPoolExecutor(1) as other:
        other.submit(heartbeat._beats.add, threading.get_ident()).result(60)
        other.submit(heartbeat._from_beat).result(60)
        assert beats == []
    heartbeat._from_beat()
    assert beats == [None]
