from __future__ import annotations

import asyncio
import inspect

from structlog.testing import capture_logs

from trunkline.calls.background import Background


async def test_a_failure_is_logged_and_ends_nothing_else() -> None:
    done = asyncio.Event()

    async def fail() -> None:
        raise RuntimeError("no")

    async def work() -> None:
        done.set()

    with capture_logs() as lines:
        async with Background() as background:
            await background.start(fail(), name="failing")
            await background.start(work(), name="working")
    assert done.is_set()
    assert [(line["event"], line["work"]) for line in lines] == [
        ("background work failed", "failing")
    ]


async def test_leaving_cancels_what_still_runs() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with Background() as background:
        background.start(wait(), name="waiting")
        await started.wait()
        assert background.is_busy
    assert cancelled.is_set()
    assert not background.is_busy


async def test_work_that_never_got_to_start_is_closed() -> None:
    async def work() -> None:
        raise AssertionError("not to be started")

    never = work()
    async with Background() as background:
        background.start(never, name="too late")
    assert inspect.getcoroutinestate(never) == inspect.CORO_CLOSED
