"""A snapshot that was not used for weeks: activated, waited for, and told where it never will be there."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from sandboxes.errors import SandboxError, SandboxRefused, SnapshotNotReady
from sandboxes.gateway.snapshots import Snapshots
from taskhub.web.thread_pool import wait_here
from taskhub.worker.starting import WAITED_FOR
from tests.unit.test_sandbox_fields import Answer

QUOTA = ("snapshot_quota", "no further snapshot")


class SnapshotsApi:
    def __init__(self, state: str, *, found: int = 200, activated: int = 200, said: str = "") -> None:
        self.state, self.found, self.answer, self.said = state, found, activated, said
        self.activated: list[str] = []

    async def get_snapshot_without_preload_content(self, name: str, **_: Any) -> Any:
        return Answer({"id": f"id-{name}", "name": name, "state": self.state, "errorReason": "of a host"}, self.found)

    async def activate_snapshot_without_preload_content(self, id: str, **_: Any) -> Any:  # noqa: A002 - the SDK's
        self.activated.append(id)
        return Answer({"message": self.said} if self.said else {"id": id, "state": "pending"}, self.answer)


def woken(api: SnapshotsApi) -> SandboxError:
    with pytest.raises(SandboxError) as caught:
        wait_here(partial(Snapshots(api).wake, "of-the-team"))
    return caught.value


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (200, ""),
        (400, "Snapshot 1 is already active"),
        (400, "Snapshot 1 cannot be activated - it is in pending state"),
        (400, "Snapshot deactivation is still in progress. Please try again in a few minutes."),
        (409, "Conflict"),
    ],
)
def test_an_inactive_snapshot_is_activated_and_waited_for(answer: int, said: str) -> None:
    api = SnapshotsApi("inactive", activated=answer, said=said)
    error = woken(api)
    assert isinstance(error, SnapshotNotReady)
    assert (error.permanent, WAITED_FOR[str(error.waits_for)].code) == (False, "snapshot_slow")
    assert api.activated == ["id-of-the-team"]


@pytest.mark.parametrize("state", ["pending", "pulling", "building", "active"])
def test_one_that_becomes_active_by_itself_is_only_waited_for(state: str) -> None:
    api = SnapshotsApi(state)
    assert isinstance(woken(api), SnapshotNotReady)
    assert api.activated == []


@pytest.mark.parametrize(
    ("api", "code", "words"),
    [
        (SnapshotsApi("error"), "snapshot_failed", "state at the sandbox service is error"),
        (SnapshotsApi("build_failed"), "snapshot_failed", "build_failed"),
        (SnapshotsApi("", found=404), "snapshot_not_found", "no snapshot of the name"),
        (SnapshotsApi("", found=403), "snapshots_forbidden", "write:snapshots"),
        (SnapshotsApi("inactive", activated=403), "snapshots_forbidden", "write:snapshots"),
        (SnapshotsApi("inactive", activated=400, said="Snapshot quota exceeded. Maximum allowed: 9"), *QUOTA),
        (SnapshotsApi("inactive", activated=403, said="Organization is suspended"), "account_suspended", "suspended"),
    ],
)
def test_one_that_never_will_be_there_fails_in_a_sentence(api: SnapshotsApi, code: str, words: str) -> None:
    error = woken(api)
    assert isinstance(error, SandboxRefused)
    assert (error.code, words in error.message, "of a host" in error.message) == (code, True, False)


def test_operators_are_told_why_in_daytonas_words() -> None:
    class Built(SnapshotsApi):
        def get_snapshot_build_logs_url_without_preload_content(self, id: str, **_: Any) -> str:  # noqa: A002 - the SDK's
            return f"log of {id}"

    async def read(asked: str) -> str:
        return f"last line of the {asked}"

    with pytest.raises(SandboxRefused) as caught:
        wait_here(partial(Snapshots(Built("build_failed"), read).wake, "mine"))
    assert caught.value.detail == "of a host\nlast line of the log of id-mine"
    assert woken(SnapshotsApi("error")).detail == "of a host"
