"""Workers that die, hang, raise, never come, write too much or never read."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.gateway.conftest import Stage
from tests.integration.gateway.peers import Caller, Worker, call, facts
from tests.support.waiting import eventually
from trunkline.dispatch.messages import BotFinished, Heartbeat, UtteranceEnd

PROGRAM = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from tests.integration.gateway.peers import Worker

async def main():
    server = await asyncio.get_running_loop().create_unix_server(
        lambda: Worker().connect(), sys.argv[1])
    await server.serve_forever()

asyncio.run(main())
"""
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def worker_process(stage: Stage) -> Iterator[subprocess.Popen[bytes]]:
    """An echoing worker in a process of its own; the pool gives every call to it."""
    stage.pool.address = str(stage.gateway.settings.run_dir / f"{stage.call_id}.sock")
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, stage.pool.address, str(ROOT)])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def failed(stage: Stage, caller: Caller) -> dict[str, object]:
    """The bot's failure, once the call has ended because of it."""
    call_id = caller.call_id
    await stage.front.wait_for(call_id, "hangup_wanted", within_s=30)
    await caller.stop()  # the front has ended the leg
    ended = await stage.front.ended(call_id)
    assert (ended["by"], ended["reason"]) == ("platform", "bot_failed")
    return stage.front.of(call_id, "bot_failed")[0].data


async def test_a_killed_worker_ends_the_call(
    stage: Stage, worker_process: subprocess.Popen[bytes]
) -> None:
    await eventually(Path(stage.pool.address).exists, what="the worker's socket")
    async with call(stage.front, facts(stage.call_id)) as caller:
        await caller.start()
        await stage.front.wait_for(stage.call_id, "bot_started")
        await caller.talk(bytes(8 * 200))
        await eventually(lambda: caller.heard, what="the echo")
        os.kill(worker_process.pid, signal.SIGKILL)
        failure = await failed(stage, caller)
        assert (failure["reason"], failure["attempt"]) == ("died", 1)
        assert caller.clears == 1


async def test_a_stopped_worker_is_noticed_by_its_missing_heartbeat(
    stage: Stage, worker_process: subprocess.Popen[bytes]
) -> None:
    await eventually(Path(stage.pool.address).exists, what="the worker's socket")
    async with call(stage.front, facts(stage.call_id)) as caller:
        await caller.start()
        await stage.front.wait_for(stage.call_id, "bot_started")
        os.kill(worker_process.pid, signal.SIGSTOP)
        assert (await failed(stage, caller))["reason"] == "hung"


async def test_a_bot_that_raises_ends_the_call_and_says_why(stage: Stage) -> None:
    async with call(stage.front, facts(stage.call_id)) as caller:
        await caller.start()
        (await stage.pool.worker(stage.call_id)).send(
            BotFinished(error="ValueError: no such voice")
        )
        failure = await failed(stage, caller)
        assert (failure["reason"], failure["detail"]) == ("raised", "ValueError: no such voice")


async def test_a_bot_that_returns_has_ended_the_call(stage: Stage) -> None:
    async with call(stage.front, facts(stage.call_id)) as caller:
        await caller.start()
        (await stage.pool.worker(stage.call_id)).send(BotFinished())
        await stage.front.wait_for(stage.call_id, "hangup_wanted")
        await caller.stop()
        ended = await stage.front.ended(stage.call_id)
        assert (ended["by"], ended["reason"]) == ("bot", "completed")
        assert stage.front.of(stage.call_id, "bot_failed") == []


async def test_no_worker_to_be_had(stage: Stage) -> None:
    stage.pool.refuses = True
    async with call(stage.front, facts(stage.call_id)) as caller:
        await caller.start()
        failure = await failed(stage, caller)
        assert failure["reason"] == "no_worker"
        assert "none is left" in failure["detail"]


async def test_a_worker_that_cannot_be_reached(stage: Stage) -> None:
    stage.pool.address = str(stage.gateway.settings.run_dir / "nobody.sock")
    async with call(stage.front, facts(stage.call_id)) as caller:
        await caller.start()
        assert (await failed(stage, caller))["reason"] == "no_worker"


async def test_no_pool_at_all(stage: Stage) -> None:
    await stage.pool.close()
    stage.gateway.settings.pool_socket.unlink(missing_ok=True)
    async with call(stage.front, facts(stage.call_id)) as caller:
        await caller.start()
        assert (await failed(stage, caller))["reason"] == "no_worker"


async def test_a_blocked_bot_is_left_alone_until_its_limit(stage: Stage) -> None:
    agent = facts("x").agent
    patient = type(agent)(**{**structure(agent), "max_loop_block_s": 4.0})
    async with call(stage.front, facts(stage.call_id, agent=patient)) as caller:
        await caller.start()
        worker = await stage.pool.worker(stage.call_id)
        worker.beats = False
        worker.send(Heartbeat(loop_lag_ms=3900))
        await eventually(
            lambda: "bot blocks its event loop" in stage.gateway.log(), what="the warning"
        )
        assert stage.front.of(stage.call_id, "bot_failed") == []
        worker.send(Heartbeat(loop_lag_ms=4000))
        assert (await failed(stage, caller))["reason"] == "hung"


def structure(agent: object) -> dict[str, object]:
    return {name: getattr(agent, name) for name in agent.__struct_fields__}


async def test_a_worker_that_writes_far_too_much_is_cut_at_five_minutes(stage: Stage) -> None:
    stage.pool.new_worker = lambda: Worker(echoes=False)
    async with call(stage.front, facts(stage.call_id)) as caller:
        await caller.start()
        worker = await stage.pool.worker(stage.call_id)
        minute = bytes(8000 * 60)
        for number in range(100):
            worker.say(1, minute, number * 60_000)
        worker.send(UtteranceEnd(utterance=1))
        worker.send(BotFinished(error="Enough: it was too much"))
        await failed(stage, caller)
        stats = (await stage.front.ended(stage.call_id))["stats"]
        assert stats["dropped_bytes_out"] >= 94 * len(minute)
        assert stats["cleared_bytes_out"] <= 5 * len(minute)
        accounted = stats["dropped_bytes_out"] + stats["cleared_bytes_out"] + stats["bytes_out"]
        assert accounted == 100 * len(minute)


async def test_a_worker_that_never_reads_costs_a_bounded_buffer(stage: Stage) -> None:
    """It still sends heartbeats, so it is not hung: the audio that it does not take is dropped."""
    stage.pool.new_worker = lambda: Worker(echoes=False)
    async with call(stage.front, facts(stage.call_id)) as caller:
        await caller.start()
        worker = await stage.pool.worker(stage.call_id)
        worker.channel._transport.pause_reading()  # noqa: SLF001 - a peer that does not read
        part = bytes(8000)
        for second in range(100):
            await caller.send_audio(part, second * 1000)
            await asyncio.sleep(0)
        await caller.stop()
        stats = (await stage.front.ended(stage.call_id))["stats"]
        assert stats["dropped_bytes_in"] > 0
        assert stats["bytes_in"] == 100 * len(part)
