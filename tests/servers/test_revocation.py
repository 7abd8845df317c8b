"""What a stream was opened with is revoked elsewhere: every process closes its streams within 5 s, and only those."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.servers.hubs import PASSWORD, Installation, ProductionInstallation
from tests.streaming import Frame, parse

CLOSES_WITHIN_S = 5.0


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Two web processes in production, where every stream stands on something."""
    made = ProductionInstallation(tmp_path_factory.mktemp("revocation"))
    try:
        made.make_accounts(*CASES)
        made.start_web("one")
        made.start_web("two")
        yield made
    finally:
        made.end()


class Watch:
    """A stream that is read on a thread of its own until it ends."""

    def __init__(self, installation: Installation, name: str, path: str, headers: dict[str, str]) -> None:
        self.frames: list[Frame] = []
        self.opened = threading.Event()
        self.ended_at: float | None = None
        url = f"{installation.address(name)}{path}"
        options = {"headers": {**installation.base_headers, **headers}, "timeout": 40, "trust_env": False}
        self._thread = threading.Thread(target=self._read, args=(url, options), daemon=True)
        self._thread.start()
        assert self.opened.wait(60), path

    def _read(self, url: str, options: dict[str, Any]) -> None:
        try:
            with httpx.stream("GET", url, **options) as response:
                assert response.status_code == 200, response.read()
                for frame in parse(response.iter_lines()):
                    self.frames.append(frame)
                    self.opened.set()
        except httpx.TransportError:
            pass  # the test is over and the process gone
        self.ended_at = time.monotonic()

    def has_ended(self, within_s: float) -> bool:
        self._thread.join(within_s)
        return not self._thread.is_alive()


class Streams:
    """A stream on each process by each way of showing who one is."""

    def __init__(self, installation: Installation, username: str) -> None:
        self.by_token = {"Authorization": f"Bearer {installation.accounts[username]}"}
        cookies = installation.log_in("one", username, PASSWORD)
        self.by_session = {"Cookie": f"sessionid={cookies['sessionid']}"}
        path = self._ticket(installation, self.by_token)
        session_path = self._ticket(
            installation,
            {
                "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()),
                "X-CSRFToken": cookies["csrftoken"],
                "Referer": "https://hub.example.com/",
            },
        )
        self.of_token = [Watch(installation, name, "/api/events/stream", self.by_token) for name in ("one", "two")]
        self.of_ticket = [Watch(installation, name, path, {}) for name in ("one", "two")]
        self.of_session = [Watch(installation, name, "/api/events/stream", self.by_session) for name in ("one", "two")]
        self.of_session_ticket = [Watch(installation, name, session_path, {}) for name in ("one", "two")]
        self.ticket_path = path

    @staticmethod
    def _ticket(installation: Installation, shown: dict[str, str]) -> str:
        made = httpx.post(
            f"{installation.address('one')}/api/tickets/",
            headers={**installation.base_headers, **shown},
            json={"kind": "events"},
        )
        path: str = made.json()["url"].removeprefix("https://hub.example.com")
        assert path.startswith("/api/events/stream?ticket="), path
        return path

    @property
    def all(self) -> list[Watch]:
        return [*self.of_token, *self.of_ticket, *self.of_session, *self.of_session_ticket]


def run(installation: Installation, code: str) -> None:
    imports = "from django.contrib.auth.models import User, Group; from taskhub.models import ApiToken\n"
    imports += "from django.contrib.sessions.models import Session; from taskhub.services import tokens\n"
    imports += "from taskhub.auth.actor import SYSTEM\n"
    installation.manage("shell", "--no-imports", "-c", imports + code)


def assert_ended(watches: list[Watch], since: float) -> None:
    for watch in watches:
        assert watch.has_ended(max(0.0, since + CLOSES_WITHIN_S - time.monotonic())), watch.frames
        assert watch.frames[-1].json()["event"] == "disconnected"
        assert watch.frames[-1].json()["data"]["reason"] == "revoked"


REVOKE = "tokens.token_revoke(actor=SYSTEM, public_id=ApiToken.objects.get(user__username='{0}').public_id)"
ALL = {"of_token", "of_ticket", "of_session", "of_session_ticket"}
CASES = {
    "revoked": (REVOKE, {"of_token", "of_ticket"}),
    "expired": (
        "ApiToken.objects.filter(user__username='{0}').update(expiry='2020-01-01T00:00Z')",
        {"of_token", "of_ticket"},
    ),
    "inactive": ("User.objects.filter(username='{0}').update(is_active=False)", ALL),
    "roleless": ("User.objects.get(username='{0}').groups.clear()", ALL),
    "promoted": ("User.objects.get(username='{0}').groups.add(Group.objects.get(name='operator'))", ALL),
    "deleted": ("User.objects.get(username='{0}').delete()", ALL),
    "left": (
        (
            "[s.delete() for s in Session.objects.all() if s.get_decoded().get('_auth_user_id') == "
            "str(User.objects.get(username='{0}').pk)]"
        ),
        {"of_session", "of_session_ticket"},
    ),
    "rekeyed": (
        "u = User.objects.get(username='{0}'); u.set_password('new'); u.save()",
        {"of_session", "of_session_ticket"},
    ),
    "untouched": ("", set()),
}
"""By the name of an account: what happens to it, and which of its streams must close."""


def test_streams_close_in_every_process_and_no_others(installation: Installation) -> None:
    streams = {name: Streams(installation, name) for name in CASES}
    run(installation, "\n".join(code.format(name) for name, (code, _) in CASES.items()))
    since = time.monotonic()
    for name, (_, fallen) in CASES.items():
        for way in fallen:
            assert_ended(getattr(streams[name], way), since)
    # A look later those that stand on something else are still there.
    time.sleep(2.5)
    for name, (_, fallen) in CASES.items():
        for way in ALL - fallen:
            assert not any(watch.has_ended(0) for watch in getattr(streams[name], way)), (name, way)


GRANT = """
from uuid import uuid4
from django.contrib.auth.models import User
from taskhub.events.tickets import EVENTS, Ticket
from taskhub.services.oauth_grants import client_register, grant_create
user = User.objects.get(username="a-viewer")
client, _ = client_register(name="host", redirect_uris=["https://host.example/"], is_public=True)
family = uuid4()
grant_create(user=user, client=client, family=family, scope="viewer", latest=None, code_digest="")
print(family, EVENTS.url({}, Ticket("events", {}, user.pk, family).sign()))
"""


def test_streams_of_an_oauth_grant_close_in_every_process_when_it_ends(installation: Installation) -> None:
    family, path = installation.manage("shell", "--no-imports", "-c", GRANT).split()
    watches = [Watch(installation, name, path, {}) for name in ("one", "two")]
    run(installation, f"from taskhub.services.oauth_grants import grant_end; grant_end(family='{family}', reason='x')")
    assert_ended(watches, time.monotonic())


def test_a_revoked_ticket_does_not_open_again_nor_does_a_log_of_what_became_private(installation: Installation) -> None:
    base = installation.address("two")
    agent = {**installation.base_headers, "Authorization": f"Bearer {installation.accounts['agent']}"}
    with httpx.Client(base_url=base, headers=agent, trust_env=False) as http, ExitStack():
        task = http.post("/api/tasks/", json={"title": "t", "assignee": "a-agent"}).json()["id"]
        assert http.post(f"/api/exec/{task}", json={"script_content": "true"}).status_code == 202
        viewer = {"Authorization": f"Bearer {installation.accounts['viewer']}"}
        path = f"/api/exec/logs/{task}/stream"
        mine, theirs = Watch(installation, "one", path, agent), Watch(installation, "one", path, viewer)
        assert http.patch(f"/api/tasks/{task}/", json={"private": True}).status_code == 200
        assert theirs.has_ended(CLOSES_WITHIN_S)
        assert theirs.frames[-1].event == "disconnected"
        assert theirs.frames[-1].json()["reason"] == "revoked"
        assert not mine.has_ended(0)
        assert http.get(path, headers={**installation.base_headers, **viewer}).status_code == 404
        ticket = http.post("/api/tickets/", json={"kind": "execution-log", "params": {"task_id": task}}).json()["url"]
        ticket = ticket.removeprefix("https://hub.example.com")
        run(installation, REVOKE.format("a-agent"))
        refused = httpx.get(f"{base}{ticket}", headers=installation.base_headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "ticket_invalid")
        assert refused.headers["Access-Control-Allow-Origin"] == "*"
        assert mine.has_ended(CLOSES_WITHIN_S)
        assert httpx.get(f"{base}/api/tasks/", headers=agent).status_code == 401


def test_nothing_of_a_ticket_or_a_token_is_in_what_the_processes_say(installation: Installation) -> None:
    installation.start_web("logs", "--log-level", "debug", "--access-log")
    agent = {**installation.base_headers, "Authorization": f"Bearer {installation.accounts['operator']}"}
    base = installation.address("logs")
    url = httpx.post(f"{base}/api/tickets/", headers=agent, json={"kind": "events"}).json()["url"]
    ticket = url.split("ticket=")[1]
    watch = Watch(installation, "logs", f"/api/events/stream?ticket={ticket}", {})
    httpx.get(f"{base}/api/tasks/?ticket={ticket}&token={installation.accounts['operator']}", headers=agent)
    httpx.get(f"{base}/api/nothing?ticket={ticket}", headers=agent)
    httpx.get(f"{base}/api/exec/logs/x?ticket={ticket}%0aforged", headers=agent)
    installation.processes["logs"].end()
    assert watch.has_ended(10)
    said = "\n".join(installation.processes["logs"].output)
    # Both are logged, and neither with its query.
    assert "GET /api/events/stream 200" in said, said
    assert "GET /api/exec/logs/x 404" in said, said
    assert ticket not in said
    assert installation.accounts["operator"] not in said
    assert "only-for-tests-" not in said
    assert "\nforged" not in said
