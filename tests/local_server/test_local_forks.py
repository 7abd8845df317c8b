"""The process that forks supervisors: each caller gets the supervisor that was forked for it."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

from sandboxes.local.fork_server import ForkServer, Supervised


async def parent_of_shell(supervised: Supervised) -> int:
    """The pid of the process that started a shell, as the kernel has it."""
    supervised.tell(json.dumps({"argv": ["/bin/cat"], "env": {}, "cwd": "/"}).encode() + b"\n")
    word, pid = (await supervised.stdout.readline()).split()
    assert word == b"started"
    with open(f"/proc/{int(pid)}/stat") as file:  # noqa: ASYNC230, PTH123 - of the kernel: it does not block
        return int(file.read().rpartition(")")[2].split()[1])


async def test_a_request_that_was_cancelled_leaves_no_answer_to_the_next_one() -> None:
    server = ForkServer()
    try:
        asked = [asyncio.ensure_future(server.fork([])) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for each in asked[:2]:
            each.cancel()
        for each in asked:
            with suppress(asyncio.CancelledError):
                await each
        for supervised in (asked[2].result(), await server.fork([])):
            assert await parent_of_shell(supervised) == supervised.pid
            supervised.tell(b'{"end": 0}\n')
            await supervised.wait()
    finally:
        server.close()
