"""The ASGI application, for uvicorn and for daphne (`runserver`)."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from typing import Any

import django
from django.conf import settings

# What is loaded from here on stays: looking for garbage in it takes a sixth of the start.
gc.disable()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.local")
django.setup(set_prefix=False)

from sandboxes.gateway import load_sdk  # noqa: E402 - models load only after setup
from sandboxes.watch.subscription_tracker import get_keeper  # noqa: E402
from taskhub import jobs  # noqa: E402, F401 - registered by name, so that a trace goes along with a job that is sent
from taskhub.events.hub import get_hub  # noqa: E402
from taskhub.events.open_streams import registry  # noqa: E402
from taskhub.executions.log_relay import get_relay  # noqa: E402
from taskhub.lib.descriptors import raise_descriptor_limit  # noqa: E402
from taskhub.lib.event_loops import close_kept, keep_open, lasts  # noqa: E402
from taskhub.lib.garbage import frozen  # noqa: E402
from taskhub.mcp.loading import close_server, load_server, running_server  # noqa: E402
from taskhub.observability.tracing import start_tracing  # noqa: E402
from taskhub.web.asgi_handler import HubHandler  # noqa: E402
from taskhub.web.detached_response import Receive, Send  # noqa: E402

raise_descriptor_limit(settings.TASKHUB_STREAM_LIMIT, log_level=settings.TASKHUB_DESCRIPTORS_LOG_LEVEL)
start_tracing("web")  # before the handler: it adds a middleware

handler = HubHandler()
if settings.TASKHUB_PRELOAD:
    load_sdk()
    load_server()
frozen.begin()


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if not lasts():
        keep_open()  # a server's loop is long-lived, and not every server has a lifespan
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["type"] == "http":
        await handler(scope, receive, send)
    else:
        # There are no websockets: refuse the handshake instead of logging an error.
        await receive()
        await send({"type": "websocket.close", "code": 1000})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            _say_goodbye_on_sigterm()
            get_hub().start()
            if settings.TASKHUB_PRELOAD:
                await running_server()
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await close_server()
            await get_keeper().close()
            await get_relay().close()
            await close_kept()
            await get_hub().close()
            await send({"type": "lifespan.shutdown.complete"})
            return


def _say_goodbye_on_sigterm() -> None:
    """uvicorn waits for open connections before it sends `lifespan.shutdown`; streams must be told earlier."""

    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    farewells: set[asyncio.Task[None]] = set()

    def leave() -> None:
        farewells.add(loop.create_task(registry.leave()))

    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)

        def handle(signum: int, frame: Any, before: Any = before) -> None:
            loop.call_soon_threadsafe(leave)
            if callable(before):
                before(signum, frame)

        signal.signal(number, handle)
