"""SSRF guard: the addresses to which webhooks may be sent, and from which documents of OAuth clients are fetched.

URLs are user input and must not lead the hub into its own network. The address of the connection counts: names are
resolved for every attempt, all of their addresses must be public, and the connection goes to one of exactly those, so
a name that resolves differently a moment later (DNS rebinding) has no effect. TLS and the header Host keep the name.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, Final
from urllib.parse import urlsplit

import httpcore
from django.conf import settings

from taskhub.errors import Invalid
from taskhub.models.webhook import URL_LIMIT

Address = IPv4Address | IPv6Address

CONNECT_S: Final = 4.0
"""Per address of a name: if one drops packets, time is left for another."""
_PORTS: Final = {"http": 80, "https": 443}
_ASCII: Final = re.compile(r"[!-~]+")
_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?\.?")
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_TRANSLATED: Final = IPv6Network("64:ff9b::/96")
"""NAT64: the last 32 bits are the IPv4 address that is reached."""
_DOCUMENTATION: Final = IPv6Network("3fff::/20")
"""Not known to Python 3.11."""
_resolving: Final = ThreadPoolExecutor(32, thread_name_prefix="webhook-dns")
"""Separate threads: a resolver that does not answer blocks its thread for longer than an attempt may take."""


class AddressRefused(Exception):
    """The hub does not connect to this address, or cannot resolve it; the text gives operators the reason."""


@dataclass(frozen=True, slots=True)
class Target:
    """An endpoint's URL, parsed once, so that the checked URL is the one that is used."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """For the header Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> httpcore.URL:
        return httpcore.URL(scheme=self.scheme, host=self.host, port=self.port, target=self.path)


def read_target(url: str, *, public_only: bool = False) -> Target:
    """Raises Invalid with a sentence for `url`. The addresses of a name are checked when a delivery is sent.

    `public_only`: what the setting allows to webhooks, which operators make, does not count.
    """
    if len(url) > URL_LIMIT or not _ASCII.fullmatch(url):
        raise _wrong(f"At most {URL_LIMIT} printable ASCII characters; write other names in punycode (xn--…).")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _wrong("Must be a URL.") from None
    allowed = ("http", "https") if settings.TASKHUB_WEBHOOKS_ALLOW_PRIVATE and not public_only else ("https",)
    if parts.scheme not in allowed:
        raise _wrong(f"Must begin with {' or '.join(f'{scheme}://' for scheme in allowed)}.")
    if parts.username is not None or parts.password is not None:
        raise _wrong("Must not contain a user name or password; the signature identifies the sender.")
    if "#" in url:
        raise _wrong("Must not contain a fragment.")
    literal = _literal(host.removesuffix("."))
    is_host = isinstance(literal, IPv6Address) if "[" in parts.netloc else literal or _HOST.fullmatch(host)
    if not is_host or port == 0:
        raise _wrong("Must contain a host and a valid port.")
    if literal is not None and not _judge(public_only=public_only)(literal):
        raise _wrong("Must not be a private or otherwise non-public address.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or _PORTS[parts.scheme], path)


def read_origin(url: str) -> str:
    """The part of a checked URL that may be shown: path and query may be credentials."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _wrong(sentence: str) -> Invalid:
    return Invalid("The URL is not allowed; details gives the reason.", details={"url": [sentence]})


def _literal(host: str) -> Address | None:
    """The address that the host is written as, in every notation that a resolver accepts (`127.1`, `0x7f000001`)."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host)) if host.isascii() and not re.search(r"\s", host) else None
    except OSError:
        return None


def is_allowed(address: Address) -> bool:
    return settings.TASKHUB_WEBHOOKS_ALLOW_PRIVATE or is_public(address)


def _judge(*, public_only: bool) -> Callable[[Address], bool]:
    return is_public if public_only else is_allowed


def is_public(address: Address) -> bool:
    """Whether the address is public, including embedded IPv4 addresses (IPv4-mapped, 6to4, NAT64)."""
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast and not address.is_reserved
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if address in _TRANSLATED:
        return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
    if address.sixtofour is not None:
        return is_public(address.sixtofour)
    return address in _GLOBAL_UNICAST and address.is_global and address not in _DOCUMENTATION


async def resolve(host: str, port: int, *, public_only: bool = False) -> list[Address]:
    """The addresses of the name, in the system's order. Raises AddressRefused unless all of them are allowed."""
    try:
        found = await asyncio.get_running_loop().run_in_executor(_resolving, _look_up, host, port)
    except (OSError, UnicodeError):
        raise AddressRefused("The host name does not exist.") from None
    if not found:
        raise AddressRefused("The host name has no address.")
    if not all(map(_judge(public_only=public_only), found)):
        raise AddressRefused("The host has a non-public address.")
    return found


def _look_up(host: str, port: int) -> list[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(place[4][0]) for place in found))


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """httpcore's connections, to addresses that were checked just now and to no other."""

    def __init__(self, *, public_only: bool = False) -> None:
        self._public_only = public_only
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - httpcore's interface; each address has its own
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raises AddressRefused, or what httpcore raises for the last address."""
        failure: Exception = httpcore.ConnectError()
        for address in await resolve(host, port, public_only=self._public_only):
            try:
                return await self._backend.connect_tcp(str(address), port, CONNECT_S, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure
