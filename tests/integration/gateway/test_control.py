"""Commands, the journal's way to the front, restarts of either, and draining."""

from __future__ import annotations

import signal

import pytest

from tests.integration.gateway.conftest import Stage, set_up
from tests.integration.gateway.peers import Front, GatewayProcess, call, facts
from tests.support.waiting import eventually
from trunkline.dispatch.messages import SessionEnding


async def test_a_command_ends_a_call(stage: Stage) -> None:
    async with call(stage.front, facts(stage.call_id)) as caller:
        await caller.start()
        await stage.pool.worker(stage.call_id)
        ending = {"by": "api", "reason": "completed"}
        assert await stage.front.command(stage.call_id, "end", **ending) == ""
        wanted = await stage.front.wait_for(stage.call_id, "hangup_wanted")
        assert wanted.data == ending
        await caller.stop()
        ended = await stage.front.ended(stage.call_id)
        assert (ended["by"], ended["how"]) == ("api", "stop")


async def test_a_command_drops_a_call(stage: Stage) -> None:
    async with call(stage.front, facts(stage.call_id)) as caller:
        await caller.start()
        worker = await stage.pool.worker(stage.call_id)
        assert await stage.front.command(stage.call_id, "drop") == ""
        ended = await stage.front.ended(stage.call_id)
        assert (ended["how"], ended["close_code"]) == ("dropped", 1001)
        assert worker.of(SessionEnding) == [SessionEnding(reason="drop")]


async def test_commands_that_cannot_be_obeyed(stage: Stage) -> None:
    assert await stage.front.command("nobody", "end") == "unknown_call"
    async with call(stage.front, facts(stage.call_id)) as caller:
        await caller.start()
        await stage.pool.worker(stage.call_id)
        assert await stage.front.command(stage.call_id, "sing") == "invalid_request"
        await caller.stop()
        await stage.front.ended(stage.call_id)
        assert await stage.front.command(stage.call_id, "end") == "unknown_call"


async def test_two_fronts_hear_the_same(stage: Stage) -> None:
    other = Front(stage.gateway.settings)
    await other.open()
    async with call(stage.front, facts(stage.call_id)) as caller:
        await caller.start()
        await other.wait_for(stage.call_id, "bot_started")
        await caller.stop()
        assert await other.ended(stage.call_id) == await stage.front.ended(stage.call_id)
    other.close()


async def test_a_front_that_comes_back_is_told_what_it_missed(stage: Stage) -> None:
    async with call(stage.front, facts(stage.call_id)) as caller:
        await caller.start()
        await stage.front.wait_for(stage.call_id, "bot_started")
        stage.front.close()
        await caller.stop()
        await eventually(lambda: caller.close_code == 1000, what="the call's end")
    next_front = Front(stage.gateway.settings)
    await next_front.open()
    await next_front.ended(stage.call_id)
    assert next_front.of(stage.call_id, "stream_started") == []
    next_front.close()


async def test_a_killed_gateway_tells_after_its_restart_which_calls_it_lost(
    gateway: GatewayProcess,
) -> None:
    async with set_up(gateway) as stage:
        stage.front.acknowledges = False
        async with call(stage.front, facts("done")) as caller:
            await caller.start()
            await caller.stop()
            await stage.front.ended("done")
        async with call(stage.front, facts("cut")) as caller:
            await caller.start()
            await stage.front.wait_for("cut", "bot_started")
            folder = gateway.settings.journal_dir / "gateway-0"
            await eventually(
                lambda: any(b"bot_started" in path.read_bytes() for path in folder.iterdir()),
                what="the entry on disk",
            )
            gateway.signal(signal.SIGKILL)
            await eventually(lambda: stage.front.is_lost, what="the gateway's end")
        before = list(stage.front.entries)
    gateway.stop()
    gateway.start()
    async with set_up(gateway) as stage:
        lost = await stage.front.ended("cut")
        assert lost["how"] == "gateway_lost"
        assert stage.front.hello.calls == []
        replayed = [entry for entry in stage.front.entries if entry in before]
        assert replayed == before, "everything that was not acknowledged comes again, in order"
        keys = [(entry.segment, entry.number) for entry in stage.front.entries]
        assert len(set(keys)) == len(keys)


async def test_a_drain_waits_for_the_last_call(gateway: GatewayProcess) -> None:
    async with set_up(gateway) as stage, call(stage.front, facts("call-1")) as caller:
        await caller.start()
        await stage.front.wait_for("call-1", "bot_started")
        gateway.signal(signal.SIGTERM)
        await eventually(lambda: "gateway drains" in gateway.log(), what="the drain")
        await caller.talk(bytes(1600))
        await eventually(lambda: len(caller.heard) == 1600, what="the echo")
        assert gateway.status is None
        await caller.stop()
        await stage.front.ended("call-1")
        await eventually(lambda: gateway.status == 0, what="an orderly exit")


async def test_a_second_signal_ends_the_live_calls(gateway: GatewayProcess) -> None:
    async with set_up(gateway) as stage, call(stage.front, facts("call-1")) as caller:
        await caller.start()
        await stage.front.wait_for("call-1", "bot_started")
        gateway.signal(signal.SIGTERM)
        await eventually(lambda: "gateway drains" in gateway.log(), what="the drain")
        gateway.signal(signal.SIGTERM)
        assert (await stage.front.ended("call-1"))["how"] == "dropped"
        await eventually(lambda: gateway.status == 0, what="an orderly exit")


async def test_a_draining_gateway_takes_no_call(gateway: GatewayProcess) -> None:
    async with set_up(gateway) as stage, call(stage.front, facts("call-1")) as caller:
        await caller.start()
        gateway.signal(signal.SIGTERM)
        await eventually(lambda: "gateway drains" in gateway.log(), what="the drain")
        with pytest.raises(AssertionError, match="draining"):
            async with call(stage.front, facts("call-2")):
                pass
