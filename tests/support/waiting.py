"""Waiting for a condition, never for a clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

FIRST_PAUSE_S = 0.001
LONGEST_PAUSE_S = 0.05


async def eventually(
    predicate: Callable[[], object], *, within_s: float = 10.0, what: str = "the condition"
) -> None:
    """Return as soon as ``predicate`` is true; it is asked at once and then ever less often.

    For what has no event to wait on: another process, a file, a row. The predicate is asked once
    more when the time is over, so that a stalled machine does not fail a condition that holds.

    Args:
        predicate: asked from the event loop; must not block. An exception of its own ends the wait.
        within_s: seconds until the wait is given up.
        what: the condition in words, for the failure.

    Raises:
        AssertionError: ``what`` did not come true in time.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + within_s
    pause_s = FIRST_PAUSE_S
    while not predicate():
        left_s = deadline_s - loop.time()
        if left_s <= 0:
            raise AssertionError(f"{what}: not within {within_s:g} s")
        await asyncio.sleep(min(pause_s, left_s))
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
