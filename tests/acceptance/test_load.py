"""Many calls, at once and one after another: every frame accounted for, nothing left behind."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.acceptance.agents import ECHO_BOT, bot_file, talker
from tests.support.descriptors import descriptors_of
from tests.support.server import World
from trunkline.simulator.caller import HangUp, Pause, Say, WaitForBotSpeech

pytestmark = pytest.mark.asyncio(loop_scope="module")

AT_ONCE = 20
IN_A_ROW = 50


async def test_twenty_calls_at_once_lose_no_frame(world: World, tmp_path: Path) -> None:
    await world.server.create_agent("crowd", **bot_file(tmp_path, "crowd_bot", ECHO_BOT))
    steps = [Say(text="tell me a story"), Pause(duration_ms=3000), HangUp()]
    reports = await asyncio.gather(*(world.ring("crowd", steps) for _ in range(AT_ONCE)))
    await world.server.all_slots_are_free()
    calls = {call["carrier_call_id"]: call for call in await world.server.calls("crowd")}
    assert len(calls) == AT_ONCE
    for report in reports:
        assert report.status == "completed"
        assert not report.violations
        counts = report.counts
        assert counts.received_bytes == (
            counts.played_bytes + counts.cleared_bytes + counts.unplayed_bytes
        )
        assert counts.played_bytes > 0
        stats = calls[report.carrier_call_id]["stats"]
        assert stats["frames_in"] == sum(stream.sent_frames for stream in report.streams)
        assert sum(stream.discarded_frames for stream in report.streams) == 0
        assert stats["bytes_out"] == counts.received_bytes
        assert stats["dropped_bytes_in"] == 0


async def test_fifty_calls_leave_no_descriptor(world: World) -> None:
    await world.server.create_agent("leak", **talker())

    async def ring() -> None:
        await world.ring("leak", [WaitForBotSpeech(), HangUp()])

    await asyncio.gather(*(ring() for _ in range(5)))
    await world.server.all_slots_are_free()
    before = _descriptors(world)
    for _ in range(IN_A_ROW // 10):
        await asyncio.gather(*(ring() for _ in range(10)))
    await world.server.all_slots_are_free()
    async with asyncio.timeout(60):
        while _descriptors(world) > before:
            await asyncio.sleep(0.1)


def _descriptors(world: World) -> int:
    """Open descriptors of front, gateway and pool. Idle HTTP connections go after 15 s."""
    return sum(
        len(descriptors_of(pid))
        for module in ("trunkline.app", "trunkline.gateway", "trunkline.dispatch.pool")
        for pid in world.server.children(module)
    )
