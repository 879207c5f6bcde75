"""A clock that ticks in real time and does not drift."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

__all__ = ["ticks"]


async def ticks(interval_ms: int) -> AsyncIterator[int]:
    """Yield 0, 1, 2, … every ``interval_ms``, by absolute deadlines.

    After a stall the ticks that were missed follow at once: a carrier's clock does not lose time,
    so no frame is left out. The loop is given a turn between them.
    """
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    number = 0
    while True:
        await asyncio.sleep(max(0.0, started_s + number * interval_ms / 1000 - loop.time()))
        yield number
        number += 1
