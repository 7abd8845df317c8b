"""The lock of periodic jobs, in a real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import redis
from django.conf import settings

from taskhub.lib.locks import alone

NAME = "a-lock-of-the-tests"


@pytest.fixture
def client() -> Iterator[redis.Redis]:
    with redis.Redis.from_url(settings.REDIS_URL) as made:
        made.delete(NAME)
        yield made
        made.delete(NAME)


def test_a_second_run_is_refused_until_the_first_has_ended(client: redis.Redis) -> None:
    with alone(NAME, at_most_s=60) as first, alone(NAME, at_most_s=60) as second:
        assert (first, second) == (True, False)
        assert 0 < client.ttl(NAME) <= 60
    assert not client.exists(NAME)


def test_a_run_that_fails_gives_the_lock_back(client: redis.Redis) -> None:
    with pytest.raises(LookupError), alone(NAME, at_most_s=60):
        raise LookupError
    assert not client.exists(NAME)


def test_a_run_that_took_too_long_ends_well_and_leaves_the_next_ones_lock(client: redis.Redis) -> None:
    with ExitStack() as overran:
        assert overran.enter_context(alone(NAME, at_most_s=60))
        client.delete(NAME)  # as when its time is over
        with alone(NAME, at_most_s=60) as is_next:
            assert is_next
            held = client.get(NAME)
            overran.close()
            assert client.get(NAME) == held is not None
        assert not client.exists(NAME)
