"""One ill Daytona for all tests of this folder, and one installation with two web processes on top of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sandboxes.ill_daytona import Daytona, Watched


@pytest.fixture(scope="session")
def shared_daytona(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daytona]:
    made = Daytona(tmp_path_factory.mktemp("daytona"))
    yield made
    made.close()


@pytest.fixture
def daytona(shared_daytona: Daytona) -> Iterator[Daytona]:
    """Well at the start of each test."""
    yield shared_daytona
    if shared_daytona.process is None:
        shared_daytona.start()
    shared_daytona.heal()


@pytest.fixture(scope="session")
def lonely_daytona(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daytona]:
    """One that no web process looks at: every request that it counts is the test's own."""
    made = Daytona(tmp_path_factory.mktemp("lonely"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def shared_hub(tmp_path_factory: pytest.TempPathFactory, shared_daytona: Daytona) -> Iterator[Watched]:
    made = Watched(tmp_path_factory.mktemp("watched"), shared_daytona, TASKHUB_LOG_IDLE_S="10")
    made.start_web("one")
    made.start_web("two")
    yield made
    made.end()


@pytest.fixture
def watched(shared_hub: Watched, daytona: Daytona) -> Watched:
    """Two web processes, `one` and `two`, and no beat: polls happen when a test says so."""
    return shared_hub
