"""Deployments for the tests: one that is only used, and fresh ones for what breaks them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests import postgres
from tests.deploy.deployment import WEB, Deployment, installed, made_folder
from tests.processes import reaper

MakeDatabase = Callable[[str], str]


@pytest.fixture(scope="session")
def make_database(postgres_url: str) -> MakeDatabase:
    return partial(postgres.make_database, postgres_url)


@contextmanager
def _deployed(database_url: str) -> Iterator[Deployment]:
    missing = installed("nginx", "curl", "openssl")
    if missing is not None:
        pytest.skip(f"{missing} is not installed")
    # Not below pytest's folder: only its owner may pass that, and the path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="taskhub-d-", ignore_cleanup_errors=True) as name, ExitStack() as stack:
        reaper.tell("folder", name)
        deployment = Deployment(made_folder(Path(name)), database_url)
        stack.callback(deployment.end)
        for instance in ("1", "2"):
            deployment.start_unit(WEB, instance)
        deployment.nginx.start()
        yield deployment


@pytest.fixture(scope="module")
def deployed(make_database: MakeDatabase) -> Iterator[Deployment]:
    """Shared by the tests that only use it."""
    with _deployed(make_database("deployed")) as deployment:
        yield deployment


@pytest.fixture
def fresh_deployment(make_database: MakeDatabase) -> Iterator[Deployment]:
    with _deployed(make_database("fresh")) as deployment:
        yield deployment
