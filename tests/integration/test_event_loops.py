"""What is asynchronous in a worker runs on one loop that lasts, and what is kept open there is closed with it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import pytest
from aiohttp import web
from asgiref.sync import async_to_sync, sync_to_async

from sandboxes.errors import KeyRefused
from sandboxes.gateway import Gateway, open_gateway
from taskhub.lib.event_loops import close_kept, keep_open, lasts, lend_loop
from tests.processes import free_port

whose: ContextVar[str] = ContextVar("whose", default="nobody's")


def test_threads_share_a_loop_and_keep_what_is_theirs() -> None:
    seen: list[tuple[asyncio.AbstractEventLoop, bool, str]] = []
    both = threading.Barrier(2)

    def job(name: str) -> None:
        mine = threading.get_ident()
        both.wait(60)
        lend_loop()
        whose.set(name)

        async def work() -> None:
            back = await sync_to_async(threading.get_ident)()
            assert lasts()
            seen.append((asyncio.get_running_loop(), back == mine, whose.get()))
            whose.set(f"{name} after")

        async_to_sync(work)()
        assert whose.get() == f"{name} after"

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(job, name) for name in ("one", "two")]:
            done.result(30)
    assert seen[0][0] is seen[1][0]
    assert all(back for _, back, _ in seen)
    assert {name for _, _, name in seen} == {"one", "two"}


def test_an_error_reaches_the_job_and_the_loop_goes_on() -> None:
    async def fail() -> None:
        raise KeyRefused

    async def answer() -> int:
        return 1

    def job() -> int:
        lend_loop()
        with pytest.raises(KeyRefused):
            async_to_sync(fail)()
        return async_to_sync(answer)()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(job).result(30) == 1


def test_a_loop_that_lasts_keeps_its_gateways(settings: Any) -> None:
    settings.DAYTONA_API_KEY = "a-key"

    async def opened(*, watching: bool) -> Gateway:
        async with open_gateway(watching=watching) as gateway:
            return gateway

    async def on_one_that_ends() -> None:
        assert await opened(watching=True) is not await opened(watching=True)

    async def on_one_that_lasts() -> None:
        keep_open()
        try:
            both = await asyncio.gather(opened(watching=True), opened(watching=True))
            assert both[0] is both[1]
            acting = await opened(watching=False)
            assert acting is not both[0]
            assert acting is await opened(watching=False)
        finally:
            await close_kept()
        assert await opened(watching=True) is not both[0]

    asyncio.run(on_one_that_ends())
    asyncio.run(on_one_that_lasts())


def test_without_a_key_no_loop_has_a_gateway(settings: Any) -> None:
    settings.DAYTONA_API_KEY = ""

    async def open_one() -> None:
        keep_open()
        with pytest.raises(KeyRefused):
            async with open_gateway():
                pass

    asyncio.run(open_one())


def test_what_a_sandbox_sets_as_a_cookie_goes_to_no_other(settings: Any) -> None:
    cookies: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        cookies.append(request.headers.get("Cookie"))
        response = web.json_response({"id": request.path.rpartition("/")[2]})
        response.set_cookie("mine", "1", path="/")
        return response

    async def ask() -> None:
        application = web.Application()
        application.router.add_route("GET", "/{path:.*}", answer)
        runner = web.AppRunner(application)
        await runner.setup()
        # By name: no client keeps the cookies of a bare address.
        site = web.TCPSite(runner, "localhost", port := free_port())
        await site.start()
        settings.DAYTONA_API_KEY, settings.DAYTONA_API_URL = "a-key", f"http://localhost:{port}/api"
        try:
            async with open_gateway() as gateway:
                await gateway.document("one")
                await gateway.document("two")
        finally:
            await runner.cleanup()

    asyncio.run(ask())
    assert cookies == [None, None]


ENDS = """
import asyncio
import os
import sys
from contextlib import asynccontextmanager
from asgiref.sync import async_to_sync
from taskhub.lib.event_loops import keep_open, lend_loop

@asynccontextmanager
async def connection():
    yield
    await asyncio.sleep(0)
    print("closed", flush=True)

async def work():
    await keep_open().enter_async_context(connection())
    print("worked", flush=True)

lend_loop()
async_to_sync(work)()
if os.fork() == 0:
    sys.exit(0)  # has the loop, but not its thread, and leaves both alone
os.wait()
"""


def test_what_is_kept_is_closed_when_the_process_ends() -> None:
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-c", ENDS], check=False, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "worked\nclosed\n", "")
