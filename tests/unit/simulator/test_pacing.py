from __future__ import annotations

import asyncio
import time

from trunkline.simulator.pacing import ticks


async def test_time_that_a_stall_took_is_caught_up() -> None:
    clock = asyncio.get_running_loop().time
    started_s = clock()
    async for number in ticks(2):
        if number == 5:
            time.sleep(0.1)  # noqa: ASYNC251 - the stall
        if number == 60:
            break

    # 60 ticks of 2 ms, not 60 ticks and the stall.
    assert 0.119 <= clock() - started_s < 0.2


async def test_ticks_are_numbered_without_gaps() -> None:
    seen: list[int] = []
    async for number in ticks(1):
        seen.append(number)
        if number == 20:
            break

    assert seen == list(range(21))


async def test_others_get_their_turn_while_time_is_caught_up() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        counting = tasks.create_task(count())
        async for number in ticks(1):
            if number == 0:
                time.sleep(0.05)  # noqa: ASYNC251 - all that follow are late
            if number == 40:
                break
        counting.cancel()

    assert turns >= 30
