"""The Python clients, each in an environment of its own: `python python_clients.py <client> <url> <events,by,comma>`.

Prints a line of JSON per event. No import but the standard library's stands at the top: an environment has one client.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

RETRY_S = 2.0
ORIGIN = {"Origin": "https://elsewhere.example"}
place = {"id": ""}
"""The last id that came."""


class Ended(Exception):
    """204: the stream has nothing more."""


def shorten(value: Any) -> Any:
    if isinstance(value, str) and len(value) > 1000:
        return {"length": len(value), "end": value[-3:]}
    if isinstance(value, list):
        return [shorten(inner) for inner in value]
    return {name: shorten(inner) for name, inner in value.items()} if isinstance(value, dict) else value


def told(event: str | None, event_id: str | None, data: str) -> None:
    place["id"] = event_id or place["id"]
    print(json.dumps({"event": event or "message", "id": place["id"], "data": shorten(json.loads(data))}), flush=True)


def headers() -> dict[str, str]:
    return {**ORIGIN, **({"Last-Event-ID": place["id"]} if place["id"] else {})}


def again(connect: Callable[[], None], *lost: type[Exception]) -> None:
    """For clients that do not reconnect by themselves."""
    while True:
        try:
            connect()
        except lost as error:
            print(f"lost: {type(error).__name__}", file=sys.stderr)
        time.sleep(RETRY_S)


def parse(lines: Iterable[str]) -> None:
    """For clients that give lines."""
    event, event_id, data = "", "", []
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "event":
            event = value
        elif name == "id":
            event_id = value
        elif name == "data":
            data.append(value)
        elif not line and data:
            told(event, event_id, "\n".join(data))
            event, data = "", []


def httpx_sse(url: str) -> None:
    import httpx
    from httpx_sse import connect_sse

    def connect() -> None:
        with httpx.Client(timeout=60) as client, connect_sse(client, "GET", url, headers=headers()) as source:
            if source.response.status_code == 204:
                raise Ended
            for sse in source.iter_sse():
                sse.json()
                told(sse.event, sse.id, sse.data)

    again(connect, httpx.TransportError)


def sseclient(url: str) -> None:
    """It reconnects by itself, also after a 204. By its own reading the frames of chunked encoding come as text."""
    import requests
    from sseclient import SSEClient

    class Client(SSEClient):
        def iter_content(self) -> Iterable[bytes]:
            return self.resp.iter_content(chunk_size=None)

        def _connect(self) -> None:
            while True:
                try:
                    super()._connect()
                except requests.ConnectionError:  # nothing listens yet
                    time.sleep(self.retry / 1000)
                else:
                    break
            if self.resp.status_code == 204:
                raise Ended

    for event in Client(url, headers=headers()):
        told(event.event, event.id, event.data)


def sseclient_py(url: str) -> None:
    import requests
    from sseclient import SSEClient

    def connect() -> None:
        with requests.get(url, headers=headers(), stream=True, timeout=60) as answer:
            if answer.status_code == 204:
                raise Ended
            for event in SSEClient(answer).events():
                told(event.event, event.id, event.data)

    again(connect, requests.RequestException)


def aiohttp_sse_client2(url: str) -> None:
    import aiohttp
    from aiohttp_sse_client2.client import EventSource

    async def connect() -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_read=60)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            EventSource(url, session=session, headers=headers(), max_connect_retry=0) as source,
        ):
            async for event in source:
                told(event.type, event.last_event_id, event.data)

    while True:
        try:
            asyncio.run(connect())
        except (aiohttp.ClientError, ConnectionError) as error:
            if "204" in str(error):
                raise Ended from None
            print(f"lost: {error}", file=sys.stderr)
        time.sleep(RETRY_S)


def launchdarkly(url: str) -> None:
    from ld_eventsource import SSEClient
    from ld_eventsource.actions import Event, Fault
    from ld_eventsource.config import ConnectStrategy, ErrorStrategy
    from ld_eventsource.errors import HTTPStatusError

    client = SSEClient(
        connect=ConnectStrategy.http(url, headers=ORIGIN), error_strategy=ErrorStrategy.always_continue()
    )
    for action in client.all:
        if isinstance(action, Event):
            told(action.event, action.last_event_id, action.data)
        elif isinstance(action, Fault) and isinstance(action.error, HTTPStatusError) and action.error.status == 204:
            raise Ended


def with_requests(url: str) -> None:
    import requests

    def connect() -> None:
        with requests.get(url, headers=headers(), stream=True, timeout=60) as answer:
            if answer.status_code == 204:
                raise Ended
            parse(answer.iter_lines(decode_unicode=True))

    again(connect, requests.RequestException)


def with_aiohttp(url: str) -> None:
    """As in spec 003, with what resuming takes."""
    import aiohttp

    async def read() -> None:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session,
            session.get(url, headers=headers()) as response,
        ):
            if response.status == 204:
                raise Ended
            event, event_id = "", ""
            async for line in response.content:
                decoded = line.decode("utf-8").strip()
                if decoded.startswith("event: "):
                    event = decoded[7:]
                elif decoded.startswith("id: "):
                    event_id = decoded[4:]
                elif decoded.startswith("data: "):
                    told(event, event_id, decoded[6:])
                    event = ""

    again(lambda: asyncio.run(read()), aiohttp.ClientError)


def curl(url: str) -> None:
    def connect() -> None:
        options = [word for name, value in headers().items() for word in ("--header", f"{name}: {value}")]
        command = ["curl", "--no-buffer", "--silent", "--write-out", "\n: status %{http_code}\n", *options, url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
            assert process.stdout is not None
            lines: list[str] = []

            def until_end() -> Iterable[str]:
                for line in process.stdout or ():
                    lines[:] = [line.rstrip("\n")]
                    yield lines[0]

            parse(until_end())
        if lines == [": status 204"]:
            raise Ended

    again(connect)


CLIENTS = {
    "httpx-sse": httpx_sse,
    "sseclient": sseclient,
    "sseclient-py": sseclient_py,
    "aiohttp-sse-client2": aiohttp_sse_client2,
    "launchdarkly-eventsource": launchdarkly,
    "requests": with_requests,
    "aiohttp": with_aiohttp,
    "curl": curl,
}

if __name__ == "__main__":
    try:
        CLIENTS[sys.argv[1]](sys.argv[2])
    except Ended:
        print(json.dumps({"closed": True}), flush=True)
