"""`python -m tests.soak.pass_reader`: a hub with one stream, as in a web process.

Prints `read NUMBER SECONDS DATA` for each event, with the time since it was made.
"""

from __future__ import annotations

import asyncio
import json
import time

import django

django.setup()

from taskhub.events.filters import Filters  # noqa: E402 - models load only after setup
from taskhub.events.hub import get_hub  # noqa: E402


async def main() -> None:
    feed = await get_hub().feed("tasks")
    print("reading", flush=True)
    async for piece in feed.follow(0, Filters()):
        number = ""
        for line in piece.decode().splitlines():
            if line.startswith("id: "):
                number = line.rpartition(":")[2]
            elif line.startswith("data: ") and number:
                told = json.loads(line[6:])
                if "chain" in told:
                    print(f"read {number} {time.time() - told['at']:.3f} {line[6:]}", flush=True)
                number = ""


if __name__ == "__main__":
    asyncio.run(main())
