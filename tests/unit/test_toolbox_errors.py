"""What a sandbox's toolbox answers, as errors; what looks at a runner come to."""

from __future__ import annotations

from typing import Any

import pytest

from sandboxes.errors import InsideFailed, InsideRefused, SandboxMissing, SandboxRefused, ToolboxKeyRefused
from sandboxes.gateway.inside import refusal_inside
from sandboxes.gateway.translation import refusal
from taskhub.executions.executor import RunnerState
from taskhub.worker.runner_watch import RunnerWatch

NOT_STARTED = "bad request: failed to resolve container IP. Is the Sandbox started?"


@pytest.mark.parametrize(
    ("answer", "kind", "code", "permanent", "is_inside"),
    [
        (("command", 403, "permission denied"), InsideRefused, "sandbox_permission_denied", True, True),
        (("file", 403, ""), InsideRefused, "sandbox_permission_denied", True, True),
        (("file", 400, ""), InsideRefused, "sandbox_refused", True, True),
        (("sandbox", 413, ""), InsideRefused, "sandbox_refused", True, True),
        (("sandbox", 400, NOT_STARTED), SandboxRefused, "sandbox_refused", True, False),
        (("command", 404, ""), SandboxMissing, "command_not_found", True, True),
        (("sandbox", 404, ""), SandboxMissing, "sandbox_not_found", True, False),
        (("session", 409, ""), SandboxRefused, "session_conflict", True, False),
        (("command", 500, "failed to read exit code file"), InsideFailed, "sandbox_error", False, True),
        (("sandbox", 401, ""), ToolboxKeyRefused, "sandbox_key_refused", True, False),
    ],
)
def test_answer_of_a_toolbox_is_told_apart_from_daytonas(
    answer: tuple[str, int, str], kind: type, code: str, permanent: bool, is_inside: bool
) -> None:
    what, status, text = answer
    error = refusal_inside(what, status, {}, text)
    assert type(error) is kind
    assert (error.code, error.permanent, error.is_inside) == (code, permanent, is_inside)


@pytest.mark.parametrize("status", [502, 503, 504, None])
def test_silence_before_the_toolbox_is_no_word_of_the_inside(status: int | None) -> None:
    error = refusal_inside("command", status, {})
    assert (error.code, error.permanent, error.is_inside) == ("sandbox_unavailable", False, False)


def test_path_that_reads_like_a_full_account_is_a_path() -> None:
    """The daemon's sentences hold paths, which scripts and callers choose."""
    text = "open /home/daytona/Total CPU limit exceeded. Maximum allowed: 1/x: permission denied"
    assert refusal("sandbox", 403, {}, text).code == "sandbox_capacity"
    assert refusal_inside("file", 403, {}, text).code == "sandbox_permission_denied"


HELD = RunnerState("held", seen=True)


@pytest.mark.parametrize(
    ("looks", "dead"),
    [
        ([HELD, RunnerState("free", seen=False)], True),
        ([HELD, RunnerState("hidden", seen=True)] * 3, False),
        ([HELD, RunnerState("hidden", seen=False)], True),
        # Never seen alive: once may be an accident.
        ([RunnerState("hidden", seen=False)], False),
        ([RunnerState("hidden", seen=False)] * 2, True),
        ([RunnerState("hidden", seen=False, apart=True)] * 9, False),
        # Without flock nothing is known of one that was never seen.
        ([RunnerState("missing", seen=False)] * 9, False),
        ([RunnerState("missing", seen=True), RunnerState("missing", seen=False)], True),
        ([RunnerState("unbegun", seen=False)] * 5, False),
        ([RunnerState("unbegun", seen=False)] * 6, True),
    ],
)
def test_looks_that_say_that_a_runner_has_died(looks: list[Any], dead: bool) -> None:
    watch = RunnerWatch()
    assert [watch.says_dead(look) for look in looks][-1] is dead
