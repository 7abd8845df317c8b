"""What a browser may do with a hub on its own machine: the pages work under their policy, other sites get nothing."""

from __future__ import annotations

import http.client
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest
from live_client import HubClient

from tests.processes import RunningHub, descendants
from tests.streaming import open_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

LOADS = [
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
]
FOREIGN = [{"Origin": "https://evil.example"}, {"Origin": "null"}]
OTHER_PORT = {"Origin": "http://localhost:1"}
STREAM = "/api/events/stream"
PATHS = ["/api/tasks/", "/test_sse.html", "/healthz", "/static/taskhub/monitor.js", "/api/events/status"]


@pytest.mark.parametrize("headers", [*FOREIGN, OTHER_PORT, *LOADS], ids=str)
def test_another_sites_page_gets_nothing(client: HubClient, headers: dict[str, str]) -> None:
    for path in PATHS:
        answer = client.http.get(path, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "foreign_origin"), path
        assert "Access-Control-Allow-Origin" not in answer.headers
    posted = client.http.post("/api/tasks/", json={"title": "not made"}, headers=headers)
    assert posted.status_code == 403


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_its_streams_need_a_ticket(client: HubClient, headers: dict[str, str]) -> None:
    refused = httpx.get(f"{client.address}{STREAM}", headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "foreign_origin")
    assert refused.headers["Access-Control-Allow-Origin"] == "*"
    url = client.http.post("/api/tickets/", json={"kind": "events"}).json()["url"]
    with open_stream(url, headers=headers) as frames:
        assert next(frames).json()["event"] == "connected"


def test_a_page_on_another_port_of_this_machine_has_the_open_reading_of_the_streams(client: HubClient) -> None:
    with open_stream(f"{client.address}{STREAM}", headers=OTHER_PORT) as frames:
        assert next(frames).json()["event"] == "connected"


@pytest.mark.parametrize("headers", LOADS, ids=str)
def test_no_load_of_another_site_opens_a_stream(client: HubClient, headers: dict[str, str]) -> None:
    assert httpx.get(f"{client.address}{STREAM}", headers=headers).status_code == 403


@pytest.mark.parametrize("path", [*PATHS, STREAM])
def test_a_rebound_name_gets_nothing(client: HubClient, path: str) -> None:
    parts = urlsplit(client.address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    connection.request("GET", path, headers={"Host": f"evil.example:{parts.port}"})
    answer = connection.getresponse()
    assert answer.status == 400
    assert b"bad_request" in answer.read()
    connection.close()


def test_its_own_pages_and_programs_are_served(client: HubClient) -> None:
    own = {"Origin": client.address, "Sec-Fetch-Site": "same-origin"}
    assert client.http.get("/api/tasks/", headers=own).status_code == 200
    assert client.http.post("/api/tasks/", json={"title": "t"}, headers=own).status_code == 201
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert client.http.get("/test_sse.html", headers=followed).status_code == 200
    loopback = client.address.replace("localhost", "127.0.0.1")
    assert httpx.get(f"{loopback}/api/tasks/", headers={"Origin": client.address}).status_code == 200


def test_a_body_without_end_is_cut_off(client: HubClient) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(9):
            yield b" " * (1024 * 1024)

    answer = client.http.post("/api/tasks/", content=endless(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


def test_no_process_shows_a_secret_in_its_title(hub: RunningHub) -> None:
    secrets = [(hub.data_dir / name).read_text().strip() for name in ("token", "secret_key")]
    titles = "\n".join(descendants(hub.process.pid).values())
    assert "uvicorn" in titles
    assert not [secret for secret in secrets if secret in titles]
    assert "LOCAL_SANDBOX_KEY" not in titles


def test_no_secret_is_in_the_documents(client: HubClient) -> None:
    secrets = [(client.hub.data_dir / name).read_text().strip() for name in ("token", "secret_key")]
    for path in ("/api/schema/", "/api/asyncapi.json", "/api/docs/", "/api/docs/?script=", "/test_sse.html"):
        text = client.http.get(path).text
        assert not [secret for secret in secrets if secret in text], path


# --- In a real browser -------------------------------------------------------------------------------


@pytest.fixture
def evil_site() -> Iterator[str]:
    """A page of another origin, not of loopback's names, that asks the hub for everything it can think of."""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>evil</title>")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.2", 0), Site)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.2:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.browser
def test_a_page_elsewhere_neither_reads_nor_writes(page: Page, client: HubClient, evil_site: str) -> None:
    before = client.http.get("/api/tasks/?q=evil").json()["results"]
    page.goto(evil_site)
    said = page.evaluate(
        """async (hub) => {
            const read = await fetch(`${hub}/api/tasks/`).then((r) => r.text(), () => "nothing");
            const blind = await fetch(`${hub}/api/tasks/`, {mode: "no-cors", method: "POST", body: '{"title":"evil"}'})
                .then((r) => `${r.type} ${r.status}`, () => "nothing");
            const stream = await new Promise((resolve) => {
                const source = new EventSource(`${hub}/api/events/stream`);
                source.onmessage = (event) => { source.close(); resolve(event.data); };
                source.onerror = () => { source.close(); resolve("nothing"); };
            });
            return [read, blind, stream];
        }""",
        client.address,
    )
    assert said[0] == said[2] == "nothing"
    assert said[1] in {"nothing", "opaque 0"}
    assert client.http.get("/api/tasks/?q=evil").json()["results"] == before


@pytest.mark.browser
def test_the_docs_work_under_the_policy(page: Page, client: HubClient, complaints: list[str]) -> None:
    page.goto(f"{client.address}/api/docs/")
    page.wait_for_selector("text=/api/tasks/")
    page.locator(".opblock-summary").first.click()
    page.wait_for_selector(".opblock-body")
    # Swagger UI looks for an input of its own for each format of OpenAPI 3.1, and logs that it takes the plain one.
    assert [said for said in complaints if "Could not find component: JsonSchema_" not in said] == []


@pytest.mark.browser
def test_a_token_from_the_admin_works(page: Page, client: HubClient, complaints: list[str], hub: RunningHub) -> None:
    said = next(line for line in hub.process.output if "Operator account" in line)
    page.goto(f"{client.address}/admin/")
    page.fill("#id_username", "operator")
    page.fill("#id_password", said.split("password: ")[1].split(" ")[0])
    page.click("#login-form button[type=submit]")
    page.wait_for_selector(".hub-figures")
    page.goto(f"{client.address}/admin/taskhub/apitoken/add/")
    page.select_option("#id_user", label="operator")
    page.fill("#id_name", "from the admin")
    page.click("[name=_save]")
    token = page.locator("#token").inner_text()
    page.click("[x-on\\:click*='openUserLinks']")
    page.click("text=Log out")
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx.get(f"{client.address}/api/tokens/", headers=headers).json()[0]["name"] == "from the admin"
    assert complaints == []
