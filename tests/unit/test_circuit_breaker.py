"""Back-off, and the circuit breaker for Daytona's API."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sandboxes.backoff import RETRY_AFTER_MOST_S, Backoff
from sandboxes.circuit_breaker import FAILURES, PROBE_S, Breaker
from sandboxes.errors import SandboxUnavailable
from sandboxes.gateway.translation import refusal

LIMIT = 7


# --- How long to wait -----------------------------------------------------------------------------------


@given(st.lists(st.none() | st.floats(-10, 1e6), min_size=1, max_size=60))
def test_a_wait_grows_to_its_limit_and_is_never_less_than_daytona_asked_for(asked: list[float | None]) -> None:
    backoff = Backoff(first_s=0.5, most_s=30.0)
    for number, seconds in enumerate(asked):
        wait_s = backoff.next_s(SandboxUnavailable(seconds))
        assert 0.05 <= wait_s <= max(min(30.0, 0.5 * 2**number), min(seconds or 0, RETRY_AFTER_MOST_S))
        assert wait_s >= min(seconds or 0, RETRY_AFTER_MOST_S)
    backoff.reset()
    assert backoff.next_s() <= 0.5


@given(
    st.sampled_from(["Retry-After", "retry-after", "Retry-After-authenticated", "RETRY-AFTER-Failed-Auth"]), st.text()
)
@example("Retry-After", "nan")
@example("Retry-After", "inf")
@example("Retry-After", "-1")
@example("Retry-After", "7")
def test_whatever_stands_in_retry_after_is_a_time_or_nothing(name: str, value: str) -> None:
    error = refusal("sandbox", 429, {"x": "1", name: value})
    assert isinstance(error, SandboxUnavailable)
    assert error.retry_after_s is None or (math.isfinite(error.retry_after_s) and error.retry_after_s >= 0)
    if value == "7":
        assert error.retry_after_s == 7


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def is_open(breaker: Breaker) -> bool:
    try:
        breaker.check()
    except SandboxUnavailable:
        return True
    return False


def test_five_failures_in_a_row_open_the_breaker_and_an_answer_in_between_does_not_let_it() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    for _ in range(3):
        for _ in range(FAILURES - 1):
            breaker.failed(SandboxUnavailable())
        assert not is_open(breaker)
        breaker.succeeded()
    for _ in range(FAILURES):
        breaker.failed(SandboxUnavailable())
    assert is_open(breaker)


def test_a_429_opens_the_breaker_at_once_for_as_long_as_daytona_asked() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    breaker.failed(SandboxUnavailable(40.0))
    with pytest.raises(SandboxUnavailable) as refused:
        breaker.check()
    assert refused.value.retry_after_s == pytest.approx(40.0)
    clock.now += 39.9
    assert is_open(breaker)
    clock.now += 0.2
    assert not is_open(breaker)


def test_one_probe_goes_through_and_decides() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    breaker.failed(SandboxUnavailable(10.0))
    clock.now += 10.1
    assert not is_open(breaker)
    assert is_open(breaker), "the others wait for the probe"
    breaker.failed(SandboxUnavailable())
    assert is_open(breaker), "the probe failed"
    clock.now += 61
    assert not is_open(breaker)
    breaker.succeeded()
    assert not is_open(breaker)
    assert not is_open(breaker), "it works: everybody goes through"


def test_a_probe_that_never_comes_back_is_given_up() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    breaker.failed(SandboxUnavailable(10.0))
    clock.now += 10.1
    assert not is_open(breaker)
    clock.now += PROBE_S + 0.1
    assert not is_open(breaker)


@given(st.lists(st.sampled_from(["fail", "429", "answer", "ask", "later", "much later"]), max_size=60))
def test_the_breaker_never_stays_open_for_good(steps: list[str]) -> None:
    clock = Clock()
    breaker = Breaker(clock)
    for step in steps:
        match step:
            case "fail":
                breaker.failed(SandboxUnavailable())
            case "429":
                breaker.failed(SandboxUnavailable(20.0))
            case "answer":
                breaker.succeeded()
                assert not is_open(breaker)
            case "ask":
                is_open(breaker)
            case "later":
                clock.now += 1
            case "much later":
                clock.now += 10
    clock.now += 300 + PROBE_S
    assert not is_open(breaker)


@pytest.mark.parametrize("parallel", [FAILURES + 1, 40])
def test_requests_that_fail_together_open_the_breaker_once(parallel: int) -> None:
    """They were all sent before the first of them failed: together they say what one of them says."""
    clock, alone, together = Clock(), Breaker(Clock()), Breaker(Clock())
    for breaker, count in ((alone, FAILURES), (together, parallel)):
        for _ in range(count):
            breaker.failed(SandboxUnavailable())
    # The first wait is at most 2 s, whatever the number of failures; the second would be at most 4 s.
    assert alone._backoff._failures == together._backoff._failures == 1
    assert (together._open_until or 0) - clock.now <= 2.0


def test_failures_that_come_late_do_not_prolong_the_time() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    breaker.failed(SandboxUnavailable(10.0))
    for _ in range(20):
        clock.now += 0.4
        breaker.failed(SandboxUnavailable(10.0))
    clock.now += 2.1
    assert not is_open(breaker)
