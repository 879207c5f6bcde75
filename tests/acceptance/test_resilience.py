"""What fails while a call is up, and what the caller and the record see of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import httpx
import pytest

from tests.acceptance.agents import talker
from tests.support.server import World, process_is_gone, running_world
from trunkline.simulator.caller import HangUp, Pause, Say, WaitForBotSilence, WaitForHangup
from trunkline.simulator.contract import HungUpBy

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def until_talking(world: World, agent: str) -> str:
    """Wait until the agent's call has its bot; its id."""
    async with asyncio.timeout(20):
        while True:
            for call in await world.server.calls(agent):
                answer = await world.server.api.get(f"/api/calls/{call['id']}/transcript")
                if answer.json()["turns"]:
                    return str(call["id"])
            await asyncio.sleep(0.02)


async def test_a_killed_front_drops_no_call_and_refuses_no_request(world: World) -> None:
    await world.server.create_agent("front-dies", **talker())
    fronts = world.server.children("trunkline.app")
    assert len(fronts) == 1
    async with asyncio.TaskGroup() as group:
        ringing = group.create_task(
            world.ring(
                "front-dies",
                [
                    WaitForBotSilence(),
                    Pause(duration_ms=2500),
                    Say(text="what are your opening hours"),
                    WaitForBotSilence(),
                    Say(text="goodbye"),
                    WaitForHangup(),
                ],
            )
        )
        await until_talking(world, "front-dies")
        os.kill(fronts[0], signal.SIGKILL)
        async with httpx.AsyncClient(base_url=world.server.base_url, timeout=30) as fresh:
            answers = await asyncio.gather(*(fresh.get("/healthz") for _ in range(5)))
        assert [answer.status_code for answer in answers] == [200] * 5
    report = ringing.result()
    assert report.hung_up_by is HungUpBy.REST
    assert not report.missed
    assert report.counts.gaps == 0
    call = await world.server.closed_call("front-dies")
    assert (call["state"], call["ended_by"]) == ("completed", "bot")
    said = [t["text"] for t in await world.server.turns(call["id"]) if t["speaker"] == "caller"]
    assert said == ["what are your opening hours", "goodbye"]


async def test_a_rolling_restart_of_the_front_refuses_nothing(world: World) -> None:
    await world.server.create_agent("rolling", **talker())
    (old,) = world.server.children("trunkline.app")
    world.server.process.send_signal(signal.SIGHUP)
    statuses: list[int] = []
    async with asyncio.timeout(40):
        while (
            world.server.children("trunkline.app") in ([old], []) or Path(f"/proc/{old}").exists()
        ):
            async with httpx.AsyncClient(base_url=world.server.base_url, timeout=20) as fresh:
                statuses.append((await fresh.get("/healthz")).status_code)
    assert set(statuses) <= {200}
    await world.ring("rolling", [WaitForBotSilence(), Say(text="goodbye"), WaitForHangup()])
    call = await world.server.closed_call("rolling")
    assert call["ended_by"] == "bot"


@pytest.mark.parametrize(("number", "reason"), [(signal.SIGKILL, "died"), (signal.SIGSTOP, "hung")])
async def test_a_worker_that_dies_or_hangs_ends_the_call_with_that_on_record(
    world: World, number: signal.Signals, reason: str
) -> None:
    agent = f"worker-{reason}"
    await world.server.create_agent(agent, **talker())
    async with asyncio.TaskGroup() as group:
        ringing = group.create_task(world.ring(agent, [WaitForHangup(within_ms=20_000)]))
        call_id = await until_talking(world, agent)
        pid = _worker_of(world, call_id)
        os.kill(pid, number)
    report = ringing.result()
    assert report.hung_up_by is HungUpBy.REST
    call = await world.server.closed_call(agent)
    assert (call["state"], call["end_reason"], call["ended_by"]) == (
        "failed",
        "bot_failed",
        "platform",
    )
    assert reason in str(call["error"])
    await process_is_gone(pid)
    await world.server.all_slots_are_free()
    # The next call works.
    await world.ring(agent, [WaitForBotSilence(), Say(text="goodbye"), WaitForHangup()])
    await world.server.all_slots_are_free()
    newest = (await world.server.calls(agent))[0]
    assert newest["end_reason"] == "completed"


def _worker_of(world: World, call_id: str) -> int:
    """The process of a call's worker, as the log names it."""
    for line in world.server.log_lines("worker has its call"):
        entry = json.loads(line)
        if entry["call_id"] == call_id:
            return int(entry["pid"])
    raise AssertionError("the log names no worker for the call")


async def test_a_killed_gateway_is_replaced_and_its_calls_are_closed(world: World) -> None:
    await world.server.create_agent("gateway-dies", **talker())
    gateways = world.server.children("trunkline.gateway")
    assert len(gateways) == 1
    async with asyncio.TaskGroup() as group:
        group.create_task(world.ring("gateway-dies", [WaitForHangup(within_ms=20_000)]))
        await until_talking(world, "gateway-dies")
        os.kill(gateways[0], signal.SIGKILL)
        await world.server.all_slots_are_free()
    (call,) = await world.server.calls("gateway-dies")
    assert (call["end_reason"], call["ended_by"]) == ("socket_lost", "platform")
    async with asyncio.timeout(30):
        while (await world.server.api.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.05)
    await world.ring("gateway-dies", [WaitForBotSilence(), Say(text="goodbye"), WaitForHangup()])
    await world.server.all_slots_are_free()
    newest = (await world.server.calls("gateway-dies"))[0]
    assert newest["end_reason"] == "completed"


async def test_a_stopped_gateway_refuses_by_503_and_freezes_nobody(world: World) -> None:
    await world.server.create_agent("gateway-stops", **talker())
    (gateway,) = world.server.children("trunkline.gateway")
    os.kill(gateway, signal.SIGSTOP)
    try:
        report = await world.ring("gateway-stops", [WaitForHangup(within_ms=8000)])
        assert report.streams[0].refused_status == 503
        assert (await world.server.api.get("/healthz")).status_code == 200
    finally:
        os.kill(gateway, signal.SIGCONT)
    await world.server.all_slots_are_free(within_s=40)
    await world.ring("gateway-stops", [WaitForBotSilence(), Say(text="goodbye"), WaitForHangup()])
    await world.server.all_slots_are_free()
    newest = (await world.server.calls("gateway-stops"))[0]
    assert newest["end_reason"] == "completed"


async def test_a_drain_waits_for_the_last_call_and_answers_meanwhile(tmp_path: Path) -> None:
    async with running_world(tmp_path / "home") as world:
        await world.server.create_agent("drained", **talker())
        async with asyncio.TaskGroup() as group:
            ringing = group.create_task(
                world.ring(
                    "drained",
                    [
                        WaitForBotSilence(),
                        Pause(duration_ms=2500),
                        Say(text="goodbye"),
                        WaitForHangup(),
                    ],
                )
            )
            await until_talking(world, "drained")
            world.server.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                while (await world.server.api.get("/readyz")).status_code != 503:
                    await asyncio.sleep(0.02)
            refused = await world.ring("drained", [HangUp()])
            assert refused.status == "busy"
            assert world.server.process.returncode is None
        assert ringing.result().hung_up_by is HungUpBy.REST
        async with asyncio.timeout(30):
            await world.server.process.wait()
        assert world.server.process.returncode == 0
