"""Every address, method and tool, every role, in both profiles, against the table in `docs/access.md`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from typing import Any, Self
from uuid import uuid4

import httpx
import pytest
from django.contrib import admin
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from tests.processes import ROOT
from tests.servers.hubs import PASSWORD, Installation, ProductionInstallation

CSRF = "c" * 32
NOBODYS = "0f0f0f0f-0f0f-4f0f-8f0f-0f0f0f0f0f0f"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
ROLES = ("viewer", "agent", "operator")
COLUMNS = ("anonymous, local profile", "anonymous", *ROLES)
WHAT_IS_NOT_THERE = {"sandbox_not_found", "sandbox_unavailable", "sandbox_key_refused", "script_missing"}
"""Sandboxes may be out of reach here: that says that the caller may ask."""
Table = dict[tuple[str, str], dict[str, bool]]


def read_table() -> Table:
    table: Table = {}
    for line in (ROOT / "docs" / "access.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == len(COLUMNS) + 1 and re.match(r"[A-Z]+ /|MCP \w+$", cells[0]):
            method, address = cells[0].split(" ")
            assert set(cells[1:]) <= {"yes", "no"}, line
            assert (method, address) not in table, line
            table[method, address] = dict(zip(COLUMNS, [cell == "yes" for cell in cells[1:]], strict=True))
    assert table
    return table


def addresses(patterns: list[Any] | None = None, before: str = "/") -> Iterator[str]:
    """Every address of the site as the table writes it; those of the admin as one."""
    for pattern in get_resolver("config.urls").url_patterns if patterns is None else patterns:
        text = before + re.sub(
            r"\(\?P<(\w+)>.*?\)(?=/|$)", r"{\1}", str(pattern.pattern).strip("^$").removesuffix("/?")
        )
        text = re.sub(r"<uuid:(\w+)>", r"{\1}", text.replace("\\", ""))
        if isinstance(pattern, URLPattern) or pattern.namespace == "admin":
            yield text
        else:
            assert isinstance(pattern, URLResolver)
            yield from addresses(pattern.url_patterns, text)


def addresses_only(table: Table) -> set[tuple[str, str]]:
    return {row for row in table if row[0] != "MCP"}


def test_the_walk_finds_the_addresses() -> None:
    found = set(addresses())
    assert {"/api/tasks/{task_id}/history", "/api/asyncapi.json", "/admin/", "/", "/healthz"} <= found


@pytest.fixture(scope="module", params=["local", "production"])
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    made = (ProductionInstallation if request.param == "production" else Installation)(tmp_path_factory.mktemp("roles"))
    try:
        made.make_accounts()
        made.start_web("one")
        yield made
    finally:
        made.end()


class Walker:
    """Asks as one role, each time for rows that are there."""

    def __init__(self, installation: Installation, role: str | None) -> None:
        self.installation = installation
        self.http = httpx.Client(
            base_url=installation.address("one"), headers=installation.base_headers, timeout=90, trust_env=False
        )
        self.token = installation.accounts[role] if role else None
        self.session = ""
        if role:
            self.session = f"sessionid={installation.log_in('one', f'a-{role}', PASSWORD)['sessionid']}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def ask(self, method: str, path: str, *, session: bool = False, login: bool = True, body: Any = None) -> int:
        headers = {}
        if session:
            cookie = "; ".join([f"csrftoken={CSRF}", *([self.session] if login and self.session else [])])
            headers = {"Cookie": cookie, "X-CSRFToken": CSRF, **self.installation.origin("one")}
        elif self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        with self.http.stream(method, path, headers=headers, json=body) as answer:
            location = answer.headers.get("location", "")
            # A page sends those away who may not see it.
            return 401 if answer.status_code == 302 and "/login/?next=" in location else answer.status_code

    def try_it(self, method: str, address: str) -> int:
        """The status of the request on an address with fresh rows in it."""
        path = address
        if "{task_id}" in path:
            path = path.replace("{task_id}", self._task())
        if "{token_id}" in path:
            path = path.replace("{token_id}", self._token_id())
        path = path.replace("{agent_id}", "999999999")
        for name in (
            "{subscription_id}",
            "{announcement_id}",
            "{artifact_id}",
            "{webhook_id}",
            "{delivery_id}",
            "{execution_id}",
            "{browser_session_id}",
            "{stream_id}",
        ):
            path = path.replace(name, NOBODYS)
        for name in ("{sandbox_id}", "{session_id}", "{command_id}", "{account}", "{environment}", "{secret}"):
            path = path.replace(name, "none-of-this-name")
        assert "{" not in path, f"the walk does not know how to fill in {address}"
        bodies = {
            "POST /api/tasks": {"title": "t"},
            "PATCH /api/tasks/{task_id}": {"title": "u"},
            "PUT /api/tasks/status/{task_id}": {"new_status": "inprogress"},
            "POST /api/exec/{task_id}": {"script_content": "true"},
            "PUT /api/admission": {"paused": False},
            "PUT /api/admission/accounts/{account}": {"paused": False},
            "POST /api/tasks/{task_id}/notes": {"text": "n"},
            "POST /api/tasks/{task_id}/waive": {"blocker": NOBODYS},
            "POST /api/announcements": {"level": "info", "text": "t"},
            "POST /api/environments": {"name": f"e-{uuid4()}"},
            "PATCH /api/environments/{environment}": {"description": "d"},
            "POST /api/secrets": {"name": f"s-{uuid4()}", "value": "long enough", "hosts": ["example.com"]},
            "PATCH /api/secrets/{secret}": {"description": "d"},
            "POST /api/webhooks": {"url": "https://hooks.example/"},
            "POST /api/tokens": {"name": "n"},
            "POST /api/tickets": {"kind": "events"},
        }
        is_page = not path.startswith(("/api/", "/mcp"))
        if path == "/logout/":
            return self.ask(method, path, session=is_page, login=False)
        return self.ask(method, path, session=is_page, body=bodies.get(f"{method} {address}"))

    def tools(self) -> list[str]:
        return [tool["name"] for tool in self._rpc("tools/list", {}).json()["result"]["tools"]]

    def call_tool(self, name: str) -> str:
        """The error code of a call about rows that are there, whether the tool or the door says it; "" for none."""
        arguments: dict[str, Any] = {
            "create_tasks": {"tasks": [{"title": "t"}]},
            "get_overview": {},
            "add_note": {"task_id": self._task(), "text": "n"},
            "set_task_status": {"task_id": self._task(), "new_status": "done"},
            "getSSEConnectionUrl": {"sandboxId": "box"},
            "read_file": {"task_id": self._task(), "path": "/task"},
            "get_sandbox": {"sandbox_id": "none-of-this-name"},
            "list_tasks": {},
            "claim_task": {},
        }.get(name, {"task_id": self._task()})
        answer = self._rpc("tools/call", {"name": name, "arguments": arguments})
        if answer.status_code != 200:
            return str(answer.json()["error"]["data"]["error"]["code"])
        result = answer.json()["result"]
        return str(result["structuredContent"]["error"]["code"]) if result["isError"] else ""

    def _rpc(self, method: str, params: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return self.http.post("/mcp", json=body, headers=headers)

    def _task(self) -> str:
        made = self.http.post("/api/tasks/", headers=self.installation.headers, json={"title": "t"}).json()
        path = f"/api/exec/{made['id']}"
        self.http.post(path, headers=self.installation.headers, json={"script_content": "true"})
        return str(made["id"])

    def _token_id(self) -> str:
        """Of one of the caller's own; an unknown id for callers without one."""
        if self.token is None:
            return NOBODYS
        headers = {"Authorization": f"Bearer {self.token}"}
        return str(self.http.post("/api/tokens/", headers=headers, json={"name": "to revoke"}).json()["id"])


def column_of(installation: Installation, role: str | None) -> str:
    return role or ("anonymous" if isinstance(installation, ProductionInstallation) else "anonymous, local profile")


@pytest.mark.parametrize("role", [None, *ROLES])
def test_every_address_and_method_is_as_the_table_says(installation: Installation, role: str | None) -> None:
    table = read_table()
    column = column_of(installation, role)
    wrong = []
    met = set()
    with Walker(installation, role) as walker:
        for address, method in product(addresses(), METHODS):
            # The admin's index answers every method; what changes something is a form below it.
            if address == "/admin/" and method not in {"GET", "POST"}:
                continue
            status = walker.try_it(method, address)
            # Sandboxes may be out of reach here: 502 and 503 say so, and that the caller may ask.
            assert status < 500 or status in {502, 503}, (method, address, status)
            refused = status in {401, 403}
            row = table.get((method, address))
            if row is None:
                # What no view takes is a 405, and refused already to those who may not even ask.
                if not refused and status != 405:
                    wrong.append(f"{method} {address} ({status}) is not in docs/access.md")
                continue
            met.add((method, address))
            if row[column] == refused:
                wrong.append(f"{method} {address} as {column}: {status}, the table says {row[column]}")
    assert not wrong, "\n".join(wrong)
    assert met == addresses_only(table), "the table names what is not there"


@pytest.mark.parametrize("role", [None, *ROLES])
def test_every_tool_is_as_the_table_says(installation: Installation, role: str | None) -> None:
    rows = {row[1]: columns for row, columns in read_table().items() if row[0] == "MCP"}
    column = column_of(installation, role)
    with Walker(installation, "operator") as walker:
        assert set(rows) == set(walker.tools())
    with Walker(installation, role) as walker:
        for name, columns in rows.items():
            code = walker.call_tool(name)
            refused = code in {"not_authenticated", "forbidden"}
            assert refused != columns[column], f"{name} as {column}: {code}"
            # Nor is it the role that a tool finds out late.
            assert code in {"", "not_authenticated", "forbidden", *WHAT_IS_NOT_THERE}, (name, code)


@pytest.mark.parametrize("role", ROLES)
def test_all_of_the_admin_is_for_operators(installation: Installation, role: str) -> None:
    with Walker(installation, role) as walker:
        for model in admin.site._registry:
            address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
            assert walker.ask("GET", address, session=True) == (200 if role == "operator" else 401), address


def test_an_account_without_a_role_may_do_nothing(installation: Installation) -> None:
    locally = not isinstance(installation, ProductionInstallation)
    with Walker(installation, "nothing") as walker:
        for method, address in [
            *[("GET", "/api/tasks"), ("GET", "/api/events/stream"), ("GET", "/test_sse.html")],
            *[("POST", "/api/tokens"), ("POST", "/api/tickets")],
        ]:
            # Where reading is open it is so for all.
            assert walker.try_it(method, address) == (403 if not locally else {"GET": 200, "POST": 201}[method])
        assert walker.try_it("POST", "/api/tasks") == 403
