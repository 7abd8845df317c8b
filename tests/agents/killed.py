"""Agents that are killed at random while they work, what the event stream says of it, and whether that is right."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from tests.agents.mortal import FORKS, LEASE_S, Life, live
from tests.servers.hubs import Installation
from tests.streaming import open_stream

AGENTS: Final = 50
TASKS: Final = 500
STOPPED: Final = 5
RECOVERED_S: Final = LEASE_S + 5
STOPPED_S: Final = 2 * LEASE_S + 1
KILL_EVERY_S: Final = 0.3
AWAY_S: Final = (0.0, 2.0, 3.0 * LEASE_S)
GIVEN_UP_S: Final = 900


class Witness:
    """What the event stream says of every task, with the time at which it came."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self.done: Counter[str] = Counter()
        self.holders: dict[str, tuple[str, float]] = {}
        """By task: who holds it, and since when."""
        self.expired: list[tuple[str, str, float, float]] = []
        """Task, who held it, since when, and when it was free again."""
        self.broken: Exception | None = None
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        url = f"{self._installation.address('one')}/api/events/stream?types=task_updated&lastEventId=tasks:0"
        try:
            with open_stream(url, headers=self._installation.headers, timeout_s=120, trust_env=False) as frames:
                for frame in frames:
                    if frame.data:
                        self._see(frame.json())
        except (httpx.HTTPError, AssertionError) as error:
            self.broken = error

    def _see(self, event: dict[str, Any]) -> None:
        if event["event"] != "task_updated":
            return
        said, now = event["data"], time.time()
        task = said["task_id"]
        before = self.holders.pop(task, None)
        if said["holder"]:
            self.holders[task] = (said["holder"], now)
        if said.get("reason") == "lease_expired" and before is not None:
            self.expired.append((task, *before, now))
        if said["status"] == "done" and "status" in said["changed"]:
            self.done[task] += 1

    def held_by(self, agent: str) -> str | None:
        return next((task for task, (holder, _) in list(self.holders.items()) if holder == agent), None)


@dataclass
class Mortal:
    """An agent, of which one process lives at a time. `name`: as the hub calls it, account/name."""

    life: Life
    name: str
    process: Any = None
    killed_at: list[float] = field(default_factory=list)
    back_at: float | None = None
    go_on_at: float | None = None

    def start(self) -> None:
        self.back_at = None
        self.process = FORKS.Process(target=live, args=(self.life,), daemon=True)
        self.process.start()

    def kill(self, away_s: float) -> None:
        self.process.kill()
        self.process.join()
        now = time.time()
        self.killed_at.append(now)
        self.back_at = now + away_s

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def said(self) -> list[tuple[str, str]]:
        """What it did, and with which task."""
        lines = self.life.record.read_text().splitlines() if self.life.record.exists() else []
        return [(words[0], words[1]) for line in lines if len(words := line.split()) == 2]


@dataclass
class Day:
    """The agents at work, and what kills them."""

    installation: Installation
    witness: Witness
    agents: list[Mortal]
    chance: random.Random
    stopped: list[tuple[Mortal, str, float]] = field(default_factory=list)
    """Agents that were stopped, with the task that each held, and when."""
    web_killed: bool = False

    def run(self) -> None:
        for agent in self.agents:
            agent.start()
        turn = self.chance.sample(self.agents, AGENTS)
        began = next_kill = time.monotonic()
        while len(self.witness.done) < TASKS or any(agent.go_on_at for agent in self.agents):
            assert self.witness.broken is None, self.witness.broken
            assert time.monotonic() - began < GIVEN_UP_S, f"{len(self.witness.done)} tasks are done"
            self._revive()
            if time.monotonic() >= next_kill and len(self.witness.done) < TASKS:
                next_kill += KILL_EVERY_S
                self._kill_one(turn)
            if not self.web_killed and len(self.witness.done) > TASKS // 3:
                self.web_killed = True
                self.installation.processes["two"].signal(signal.SIGKILL)
                self.installation.start_web("two")
            time.sleep(0.05)
        self._settle()

    def _revive(self) -> None:
        now = time.time()
        for agent in self.agents:
            if agent.back_at is not None and now >= agent.back_at:
                agent.start()
            if agent.go_on_at is not None and now >= agent.go_on_at:
                agent.go_on_at = None
                agent.signal(signal.SIGCONT)

    def _kill_one(self, turn: list[Mortal]) -> None:
        """Each once, then any; the first ones that hold a task are stopped before, and say what came of it first."""
        silent = [agent for agent, task, _ in self.stopped if not self._has_spoken(agent, task)]
        alive = [agent for agent in turn if agent.back_at is None and agent not in silent]
        if len(self.stopped) < STOPPED:
            for agent in alive:
                task = self.witness.held_by(agent.name)
                # The claim's answer may be under way: an agent that is stopped there has a lease that it does not know.
                if task is not None and agent.said()[-1:] == [("holds", task)]:
                    agent.signal(signal.SIGSTOP)
                    agent.go_on_at = time.time() + STOPPED_S
                    self.stopped.append((agent, task, time.time()))
                    return
        if alive:
            turn.remove(alive[0])
            alive[0].kill(self.chance.choice(AWAY_S))
        elif not turn:
            turn += self.chance.sample(self.agents, AGENTS)

    def _settle(self) -> None:
        """What those that were stopped say when they go on."""
        until = time.monotonic() + 30
        while any(not self._has_spoken(agent, task) for agent, task, _ in self.stopped):
            if time.monotonic() > until:
                return  # told by `complaints`
            time.sleep(0.1)

    @staticmethod
    def _has_spoken(agent: Mortal, task: str) -> bool:
        said = agent.said()
        return bool(said) and said[-1] != ("holds", task)

    def end(self) -> None:
        for agent in self.agents:
            if agent.process is not None:
                with suppress(ValueError, OSError):
                    agent.process.kill()
                    agent.process.join()


def complaints(day: Day) -> list[str]:
    """What is not as it should be."""
    witness, found = day.witness, []
    if twice := [task for task, times in witness.done.items() if times != 1]:
        found.append(f"{len(twice)} tasks were done more than once: {twice[:3]}")
    answered = Counter(task for agent in day.agents for what, task in agent.said() if what == "done")
    if more := [task for task, times in answered.items() if times != 1 or task not in witness.done]:
        found.append(f"{len(more)} tasks were done by more than one agent, or by none that the hub knows: {more[:3]}")
    if alive := [agent.name for agent in day.agents if not agent.killed_at]:
        found.append(f"{len(alive)} agents were never killed: {alive[:3]}")
    if late := [took for took in recovered(day) if took > RECOVERED_S]:
        found.append(f"{len(late)} tasks were not free again within {RECOVERED_S} s: {late[:3]}")
    if wrong := [agent.name for agent, task, _ in day.stopped if not refused(day, agent, task)]:
        found.append(f"those that were stopped for {STOPPED_S} s were not refused: {wrong}")
    words = {what for agent in day.agents for what, _ in agent.said()}
    if unknown := words - {"holds", "done", "lost", "unknown"}:
        found.append(f"agents were refused otherwise: {unknown}")
    return found


def recovered(day: Day) -> list[float]:
    """Seconds from an agent's death, or from a claim that came after it, until its task was free again."""
    killed = {agent.name: list(agent.killed_at) for agent in day.agents}
    for agent, _, at in day.stopped:
        killed[agent.name].append(at)
    took = []
    for _, holder, since, free in day.witness.expired:
        deaths = [at for at in killed[holder] if since <= at <= free]
        took.append(free - (min(deaths) if deaths else since))
    return took


def refused(day: Day, agent: Mortal, task: str) -> bool:
    """Its task was taken back, and it was told so; or it had ended the task just before it was stopped.

    `unknown`: the web process that it was connected to was killed meanwhile.
    """
    said = agent.said()
    if any(each == task and holder == agent.name for each, holder, *_ in day.witness.expired):
        return bool({("lost", task), ("unknown", task)} & set(said)) and ("done", task) not in said
    return ("done", task) in said


def summary(day: Day, took_s: float) -> str:
    kills = sum(len(agent.killed_at) for agent in day.agents)
    words = Counter(what for agent in day.agents for what, _ in agent.said())
    took = recovered(day)
    return (
        f"{len(day.witness.done)} tasks done by {len(day.agents)} agents in {took_s:.0f} s; {kills} kills, "
        f"{len(day.stopped)} stopped; {len(took)} leases ran out, after {min(took, default=0):.1f} to "
        f"{max(took, default=0):.1f} s; told {dict(words)}"
    )
