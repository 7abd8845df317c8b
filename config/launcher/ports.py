"""The port of the web process: which one it is, and its listening socket."""

from __future__ import annotations

import errno
import os
import socket
from typing import Final

from config.launcher import LaunchError

LOOPBACK: Final = "127.0.0.1"


def port_from_environment() -> int:
    """Raises LaunchError."""
    text = os.environ.get("TASKHUB_PORT", "8000")
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) < 2**16:
        raise LaunchError(f"TASKHUB_PORT must be a port number, not {text!r}.")
    return int(text)


def bind(port: int, *, everywhere: bool = False) -> socket.socket:
    """A listening socket on loopback, or on all addresses. It outlives the child that serves it, so that a restart
    refuses no connection. Raises LaunchError."""
    listener = _all_addresses() if everywhere else socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted connections inherit it. uvicorn takes what comes by `--fd` for a unix socket and leaves it out: then the
    # answers on a kept connection each wait 40 ms for the client's delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind(("" if everywhere else LOOPBACK, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise LaunchError(f"port {port} is taken; stop what uses it, or set TASKHUB_PORT.") from None
        raise LaunchError(f"port {port} cannot be used: {error.strerror}. Set TASKHUB_PORT.") from None
    listener.listen(2048)
    listener.set_inheritable(True)
    return listener


def _all_addresses() -> socket.socket:
    """Of IPv6 and IPv4 where there are both."""
    if not socket.has_dualstack_ipv6():
        return socket.socket()
    listener = socket.socket(socket.AF_INET6)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    return listener
