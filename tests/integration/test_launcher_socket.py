from __future__ import annotations

import socket

from config.launcher.ports import bind


def test_connections_of_the_launchers_socket_send_at_once() -> None:
    with bind(0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
