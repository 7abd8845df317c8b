"""Slow clients of nginx: half a header, half a handshake, half a body."""

from __future__ import annotations

import socket
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.deployment import made_folder
from tests.deploy.proxy import BINARY, Nginx
from tests.deploy.shipped import DEPLOY, NAME

HALF = f"GET / HTTP/1.1\r\nHost: {NAME}\r\nX-Slow: ".encode()
pytestmark = pytest.mark.skipif(BINARY is None, reason="nginx is not installed")


def test_every_server_for_clients_has_the_times() -> None:
    """The default server decides until a request's header is there."""
    servers = (DEPLOY / "nginx/taskhub.conf").read_text().split("\nserver {")[1:4]
    for server in servers:
        assert "client_header_timeout 15s;" in server
        assert "client_body_timeout 15s;" in server


@pytest.fixture
def nginx() -> Iterator[Nginx]:
    """Without web processes, and with a second where the shipped file has 15."""
    with tempfile.TemporaryDirectory(prefix="taskhub-nginx-") as name:  # pytest's own folders are root's alone
        folder = made_folder(Path(name))
        made = Nginx(folder, folder)
        site = folder / "conf.d/taskhub.conf"
        site.write_text(site.read_text().replace("_timeout 15s;", "_timeout 1s;"))
        made.start()
        yield made
        made.end()


def plain(nginx: Nginx, port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 20)
    connection.settimeout(20)
    return connection


def secured(nginx: Nginx) -> ssl.SSLSocket:
    return nginx.trust.wrap_socket(plain(nginx, nginx.https_port), server_hostname=NAME)


def until_closed(connection: socket.socket) -> bytes:
    """Raises TimeoutError after 20 s; nginx's own default is 60."""
    heard = b""
    while data := connection.recv(65536):
        heard += data
    return heard


def test_half_a_header_is_closed(nginx: Nginx) -> None:
    with secured(nginx) as connection:
        connection.sendall(HALF)
        assert until_closed(connection) == b""
    with plain(nginx, nginx.http_port) as connection:
        connection.sendall(HALF)
        assert until_closed(connection) == b""


def test_a_connection_that_says_nothing_is_closed(nginx: Nginx) -> None:
    with secured(nginx) as connection:
        assert until_closed(connection) == b""
    for port in (nginx.http_port, nginx.https_port):
        with plain(nginx, port) as connection:
            assert until_closed(connection) == b""


def test_half_a_body_is_closed(nginx: Nginx) -> None:
    with secured(nginx) as connection:
        connection.sendall(HALF.partition(b"X-Slow")[0] + b"Content-Length: 9\r\n\r\n123")
        heard = until_closed(connection)
        assert not heard or heard.startswith(b"HTTP/1.1 408 ")
