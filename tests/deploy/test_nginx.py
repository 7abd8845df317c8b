"""The shipped nginx files in front of two real web processes, on PostgreSQL and Redis, with the production settings."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest
import yaml
from django.conf import settings

from sandboxes.api.sse_params import SSE
from taskhub.events.open_streams import KEEPALIVE_S
from taskhub.events.tickets import TICKET_KINDS
from tests.deploy.deployment import Deployment, made_folder
from tests.deploy.proxy import Nginx, streaming
from tests.deploy.shipped import DEPLOY, NAME
from tests.processes import wait_until
from tests.streaming import parse, until

pytestmark = pytest.mark.postgres

SITE = (DEPLOY / "nginx/taskhub.conf").read_text()
OUTSIDE = "127.0.0.7"
"""Another address of this machine than the one that may see the figures."""


def test_nginx_takes_the_file_without_a_warning(deployed: Deployment) -> None:
    said = deployed.nginx.check()
    assert "test is successful" in said
    assert "[warn]" not in said


def test_events_arrive_one_by_one_through_nginx(deployed: Deployment) -> None:
    with deployed.nginx.client(headers=deployed.headers) as client, streaming(client, "/api/events/stream") as frames:
        until(frames, lambda frame: "connected" in frame.data)
        for n in range(5):
            # Each is read before the next is made: what is held back anywhere never comes.
            assert client.post("/api/tasks/", json={"title": f"task {n}"}).status_code == 201
            last = until(frames, lambda frame: "task_created" in frame.data)[-1]
            assert last.json()["data"]["title"] == f"task {n}"


def test_every_stream_of_the_service_has_an_unbuffered_place() -> None:
    (pattern,) = re.findall(r"location ~ (\S+) \{\s+proxy_pass http://taskhub;\s+proxy_buffering off;", SITE)
    assert SSE.name in TICKET_KINDS
    addresses = [kind.address.format(task_id=uuid4()) for kind in TICKET_KINDS.values()]
    assert len(addresses) >= 3
    for address in (*addresses, "/mcp"):
        assert re.search(pattern, address), address
    for address in ("/api/tasks/", f"/api/exec/logs/{uuid4()}", "/sse-demo.html", "/mcpx", "/api/events/status"):
        assert not re.search(pattern, address), address


def test_a_silent_stream_outlives_the_time_between_two_keepalives() -> None:
    (seconds,) = re.findall(r"proxy_read_timeout (\d+)s;", SITE)
    assert int(seconds) >= 2 * KEEPALIVE_S


def test_agents_reach_their_tools(deployed: Deployment) -> None:
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    accept = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"}
    with deployed.nginx.client(headers={**deployed.headers, **accept}) as client:
        answer = client.post("/mcp", json=asked)
    assert answer.status_code == 200, answer.text
    assert "claim_task" in answer.text


def test_the_hub_knows_the_clients_address_and_believes_no_other(deployed: Deployment) -> None:
    forged = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Real-IP": "203.0.113.9",
        "Forwarded": "for=203.0.113.9;proto=http",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "evil.example.com",
    }
    with (
        deployed.nginx.client(source=OUTSIDE, headers={**deployed.headers, **forged}) as client,
        streaming(client, "/api/events/stream?types=announcement") as frames,
    ):
        until(frames, lambda frame: "connected" in frame.data)

        def seen() -> list[str]:
            with psycopg.connect(deployed.env["DATABASE_URL"]) as connection:
                found = connection.execute("SELECT address FROM taskhub_listener WHERE filters::text LIKE '%announc%'")
                return [address for (address,) in found]

        wait_until(lambda: bool(seen()), "the stream has its row")
        assert seen() == [OUTSIDE]


@pytest.mark.parametrize("port", ["", ":8443"])
def test_a_tickets_url_keeps_the_port_and_pages_of_that_port_are_our_own(deployed: Deployment, port: str) -> None:
    own = {"Host": f"{NAME}{port}", "Origin": f"https://{NAME}{port}"}
    with deployed.nginx.client(headers={**deployed.headers, **own}) as client:
        url = client.post("/api/tickets/", json={"kind": "events"}).json()["url"]
        assert url.startswith(f"https://{NAME}{port}/api/events/stream?ticket=")
        listed = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
        accept = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"}
        assert client.post("/mcp", json=listed, headers=accept).status_code == 200
        foreign = {**accept, "Origin": f"https://{NAME}:1"}
        assert client.post("/mcp", json=listed, headers=foreign).status_code == 403
    with (
        deployed.nginx.client(headers={**own, "Origin": "https://elsewhere.example"}) as client,
        streaming(client, url.partition(f"{NAME}{port}")[2]) as frames,
    ):
        assert "connected" in next(frames).data


def test_a_request_has_one_name_in_both_logs(deployed: Deployment) -> None:
    with deployed.nginx.client(headers=deployed.headers) as client:
        own = client.get("/api/tasks/", headers={"X-Request-ID": "my-request-1"}).headers["X-Request-ID"]
        given = client.get("/api/me", headers={"X-Request-ID": 'no "name'}).headers["X-Request-ID"]
    assert own == "my-request-1"
    assert re.fullmatch(r"[0-9a-f]{32}", given)
    for name in (own, given):
        wait_until(lambda name=name: name in deployed.nginx.logged(), "nginx has written it down")


def test_wrong_tokens_shut_out_their_own_address_alone(deployed: Deployment) -> None:
    """Limits count the address that nginx reports: a client that forges another one is limited itself."""
    with deployed.nginx.client(source="127.0.0.8") as client:
        wrong = {"Authorization": "Bearer wrong", "X-Forwarded-For": OUTSIDE}
        # Two processes count for themselves.
        codes = [client.get("/api/tasks/", headers=wrong).status_code for _ in range(125)]
        assert codes[0] == 401
        assert codes[-1] == 429
        assert client.get("/api/tasks/", headers=deployed.headers).status_code == 200, "a right token always passes"
    with deployed.nginx.client(source=OUTSIDE, headers=deployed.headers) as client:
        assert client.get("/api/tasks/").status_code == 200


def test_a_body_may_be_as_large_as_the_hub_takes_and_no_larger(deployed: Deployment) -> None:
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    with deployed.nginx.client(headers={**deployed.headers, "Content-Type": "application/json"}) as client:
        fitting = client.post("/api/tasks/", content=b'{"title": "x"}'.ljust(limit))
        too_large = client.post("/api/tasks/", content=b'{"title": "x"}'.ljust(limit + 1))
    assert fitting.status_code == 201, fitting.text
    assert too_large.status_code == 413
    error = too_large.json()["error"]
    assert error["code"] == "body_too_large"
    assert f"{limit} bytes" in error["message"]


def flood(nginx: Nginx, requests: list[str], source: str = "127.0.0.1") -> tuple[Counter[str], bytes]:
    """Send them pipelined, 600 on a connection; how often each status came, and all that was answered."""
    address, said = ("127.0.0.1", nginx.https_port), b""
    for start in range(0, len(requests), 600):
        *heads, last = requests[start : start + 600]
        with (
            socket.create_connection(address, 30, source_address=(source, 0)) as plain,
            nginx.trust.wrap_socket(plain, server_hostname=NAME) as connection,
        ):
            connection.sendall("".join(f"{head}\r\n" for head in (*heads, f"{last}Connection: close\r\n")).encode())
            while piece := connection.recv(65536):
                said += piece
    return Counter(status.decode() for status in re.findall(rb"^HTTP/1\.1 (\d+)", said, re.MULTILINE)), said


FORBIDDEN = f"GET /metrics HTTP/1.1\r\nHost: {NAME}\r\n"
"""Answered by nginx itself: 403 from another address than this machine's."""


def test_a_flood_from_one_address_is_refused_by_nginx(deployed: Deployment) -> None:
    """3000 requests at once, of an address that may have 800 and 400 more each second."""
    counted, said = flood(deployed.nginx, [FORBIDDEN] * 3000, "127.0.0.9")
    assert set(counted) == {"403", "429"}
    assert 800 <= counted["403"] < 3000
    assert b"\r\nRetry-After: 1\r\n" in said
    assert b'{"error":{"code":"too_many_requests",' in said


def test_to_its_limits_a_network_of_ipv6_is_one_client(deployed: Deployment) -> None:
    believing = "    set_real_ip_from 127.0.0.1;\n    real_ip_header X-Client;\n"
    with tempfile.TemporaryDirectory(prefix="taskhub-n-", ignore_cleanup_errors=True) as folder:
        nginx = Nginx(made_folder(Path(folder)), deployed.sockets, believing)
        nginx.start()
        try:
            one, _ = flood(nginx, [f"{FORBIDDEN}X-Client: 2001:db8::{n:x}:{n:x}\r\n" for n in range(3000)])
            many, _ = flood(nginx, [f"{FORBIDDEN}X-Client: 2001:db8:0:{n:x}::1\r\n" for n in range(1, 3001)])
            mapped, _ = flood(
                nginx, [f"{FORBIDDEN}X-Client: ::ffff:10.0.{n // 250}.{n % 250}\r\n" for n in range(3000)]
            )
        finally:
            nginx.end()
    assert set(one) == {"403", "429"}
    assert many == mapped == {"403": 3000}


def test_plain_http_leads_to_tls(deployed: Deployment) -> None:
    answer = httpx.get(
        f"http://127.0.0.1:{deployed.nginx.http_port}/api/tasks/?status=todo", headers={"Host": NAME, "Cookie": "a=b"}
    )
    assert answer.status_code == 301
    assert answer.headers["location"] == f"https://{NAME}/api/tasks/?status=todo"


def test_another_name_gets_no_answer(deployed: Deployment) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"http://127.0.0.1:{deployed.nginx.http_port}/", headers={"Host": "localhost"})
    with pytest.raises(httpx.ConnectError, match=r"(?i)unrecognized.name"):
        httpx.get(f"https://localhost:{deployed.nginx.https_port}/", verify=deployed.nginx.trust)


def test_browsers_are_told_to_stay_with_tls_and_log_in_with_secure_cookies(deployed: Deployment) -> None:
    deployed.make_accounts()
    with deployed.nginx.client() as client:
        form = client.get("/login/")
        assert form.headers.get_list("strict-transport-security") == ["max-age=31536000; includeSubDomains"]
        token = client.cookies["csrftoken"]
        fields = {"username": "a-viewer", "password": "a password of the tests", "csrfmiddlewaretoken": token}
        answer = client.post("/login/", data=fields, headers={"Origin": f"https://{NAME}"})
        assert answer.status_code == 302, answer.text
        cookies = [*form.headers.get_list("set-cookie"), *answer.headers.get_list("set-cookie")]
        assert {cookie.partition("=")[0] for cookie in cookies} == {"csrftoken", "sessionid", "taskhub_device"}
        assert all("Secure" in cookie for cookie in cookies)
        board = client.get("/")
        assert board.status_code == 200
        # The files of pages come from the web processes too, with a name for each version that browsers may keep.
        style = re.search(r'href="(/static/joined/[\w%+-]+\.\w+\.css)"', board.text)
        assert style is not None
        file = client.get(style[1])
        assert file.status_code == 200
        assert "immutable" in file.headers["cache-control"]


def test_figures_are_for_this_machine_alone(deployed: Deployment) -> None:
    for path in ("/metrics", "/metrics/", "/metrics?a=b"):
        with deployed.nginx.client(source=OUTSIDE, headers=deployed.headers) as client:
            refusal = client.get(path)
            assert refusal.status_code == 403
            assert refusal.headers["server"] == "nginx"
    with deployed.nginx.client(headers=deployed.headers) as client:
        assert "taskhub_streams_open" in client.get("/metrics").text


def test_prometheus_asks_each_web_process_and_gets_nothing_else(deployed: Deployment) -> None:
    shipped = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())["scrape_configs"][0]
    (targets,) = [config["targets"] for config in shipped["static_configs"]]
    assert targets == re.findall(r"listen (127\.0\.0\.1:\d+);", SITE)
    for port in deployed.nginx.figures_ports.values():
        address = f"http://127.0.0.1:{port}"
        assert httpx.get(f"{address}/metrics").status_code == 401
        assert "taskhub_streams_open" in httpx.get(f"{address}/metrics", headers=deployed.headers).text
        assert httpx.get(f"{address}/api/tasks/", headers=deployed.headers).status_code == 404


def test_both_health_checks_answer(deployed: Deployment) -> None:
    with deployed.nginx.client() as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        answers = [client.get("/readyz"), *[deployed.ask(instance, "/readyz") for instance in ("1", "2")]]
    for answer in answers:
        assert answer.status_code == 200
        # No worker runs here.
        assert {part: answer.json()["parts"][part] for part in ("database", "redis")} == dict.fromkeys(
            ("database", "redis"), "ok"
        )


def test_curl_gets_http2_and_a_stream_over_it(deployed: Deployment) -> None:
    port = deployed.nginx.https_port
    curl = [
        *("curl", "--silent", "--http2", "--cacert", f"{deployed.nginx.folder}/tls/fullchain.pem"),
        *("--connect-to", f"{NAME}:443:127.0.0.1:{port}", "--oauth2-bearer", deployed.token, "--max-time", "30"),
    ]
    asked = [*curl, "--write-out", "%{http_version} %{ssl_verify_result}", f"https://{NAME}/healthz"]
    assert subprocess.run(asked, check=True, capture_output=True, text=True).stdout == '{"status": "ok"}2 0'
    stream = subprocess.Popen(
        [*curl, "--no-buffer", f"https://{NAME}/api/events/stream"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert stream.stdout is not None
        (first,) = until(parse(line.rstrip("\n") for line in stream.stdout), lambda frame: frame.data)
        assert json.loads(first.data)["event"] == "connected"
    finally:
        stream.kill()
        stream.wait()
        assert stream.stdout is not None
        stream.stdout.close()


def test_tls_is_of_today(deployed: Deployment) -> None:
    address = ("127.0.0.1", deployed.nginx.https_port)
    with (
        socket.create_connection(address, 10) as plain,
        deployed.nginx.trust.wrap_socket(plain, server_hostname=NAME) as connection,
    ):
        assert connection.version() == "TLSv1.3"
    # Past what this machine's own OpenSSL would refuse.
    asked = ["openssl", "s_client", "-connect", f"127.0.0.1:{address[1]}", "-servername", NAME]
    old = [*asked, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]
    refusal = subprocess.run(old, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    assert refusal.returncode != 0
    assert "alert protocol version" in refusal.stderr


def test_while_no_web_process_is_there_the_answer_says_when_to_come_back(fresh_deployment: Deployment) -> None:
    for instance in ("1", "2"):
        fresh_deployment.stop_unit("taskhub-web@.service", instance)
    with fresh_deployment.nginx.client() as client:
        answer = client.get("/api/tasks/")
    assert answer.status_code == 502
    assert answer.headers["retry-after"] == "5"
    assert answer.json()["error"]["code"] == "hub_away"


def test_what_nginx_writes_down_holds_no_ticket(fresh_deployment: Deployment) -> None:
    hub = fresh_deployment
    with hub.nginx.client(headers=hub.headers) as client:
        ticket = client.post("/api/tickets/", json={"kind": "events"}).json()["url"].partition("?")[2]
        assert ticket.startswith("ticket=")
    with hub.nginx.client(headers={"Referer": f"https://{NAME}/?{ticket}"}) as client:
        with streaming(client, f"/api/events/stream?{ticket}") as frames:
            until(frames, lambda frame: "connected" in frame.data)
        # Also where a web process is away, and where both are.
        for instance in ("1", "2"):
            hub.stop_unit("taskhub-web@.service", instance)
            client.get(f"/api/events/stream?{ticket}").read() if instance == "2" else None
            client.get(f"/?{ticket}")
    wait_until(lambda: hub.nginx.logged().count("GET /api/events/stream 502") == 1, "nginx has written it down")
    assert "ticket=" not in hub.nginx.logged()
