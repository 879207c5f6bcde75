"""The pool with real processes: what a call gets, and what happens when one of them dies."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.integration.dispatch.rig import (
    ECHO,
    GatewayEnd,
    PoolRig,
    children_of,
    is_alive,
    parent_of,
    processes_of,
    sockets_in,
)
from tests.support.descriptors import descriptors_of, open_descriptors
from tests.support.waiting import eventually
from trunkline.dispatch.channel import Channel
from trunkline.dispatch.messages import (
    AgentSpec,
    BotFinished,
    BotStarted,
    EndCall,
    Heartbeat,
    PoolState,
    SessionEnding,
)
from trunkline.dispatch.pool_client import PoolClient
from trunkline.dispatch.warm import BackOff
from trunkline.errors import ConfigError, DispatchError, WorkerFailed


async def start_call(rig: PoolRig, agent: AgentSpec, call_id: str) -> GatewayEnd:
    end = await GatewayEnd.connected(await rig.client.claim(call_id, agent), agent)
    await end.wait_for(BotStarted)
    return end


async def finish(end: GatewayEnd) -> BotFinished:
    end.channel.send(SessionEnding(reason="stop"))
    finished = await end.wait_for(BotFinished)
    await end.wait_closed()
    assert isinstance(finished, BotFinished)
    return finished


# a call


async def test_a_call_gets_a_worker_that_runs_the_bot(rig: PoolRig) -> None:
    agent = rig.agent()
    reserved = await rig.client.reserve("call-1", agent)
    claimed = await rig.client.claim("call-1", agent)
    assert claimed.worker_id == reserved.worker_id
    end = await GatewayEnd.connected(claimed, agent)
    await end.wait_for(BotStarted)
    end.channel.send_audio_in(b"\xff" * 160)
    await eventually(lambda: end.audio == [b"\xff" * 160], what="the echo")
    assert await finish(end) == BotFinished()
    await rig.until(busy=0, warm=1)


async def test_the_first_call_is_cold_and_the_next_one_finds_a_warm_worker(rig: PoolRig) -> None:
    agent = rig.agent()
    assert (await rig.client.reserve("call-1", agent)).cold
    await rig.until(warm=1, reserved=1)
    assert not (await rig.client.reserve("call-2", agent)).cold
    assert (await rig.until(warm=1, reserved=2))["cold_starts"] == 1


async def test_a_request_may_come_twice(rig: PoolRig) -> None:
    agent = rig.agent()
    first, second = await asyncio.gather(
        rig.client.reserve("call-1", agent), rig.client.reserve("call-1", agent)
    )
    assert first.worker_id == second.worker_id
    claims = [await rig.client.claim("call-1", agent) for _ in range(2)]
    assert {claim.worker_id for claim in claims} == {first.worker_id}
    await rig.until(busy=1, reserved=0)


async def test_a_second_stream_of_a_call_gets_another_worker(rig: PoolRig) -> None:
    agent = rig.agent()
    first = await start_call(rig, agent, "call-1")
    second = await start_call(rig, agent, "call-1")
    assert first.pid != second.pid
    await finish(first)
    await finish(second)
    await rig.until(busy=0)


async def test_a_later_attempt_gets_another_worker(rig: PoolRig) -> None:
    agent = rig.agent()
    first = await rig.client.claim("call-1", agent)
    second = await rig.client.claim("call-1", agent, attempt=2)
    assert second.worker_id != first.worker_id


async def test_a_reservation_lapses_and_its_worker_is_warm_again(rig: PoolRig) -> None:
    agent = rig.agent()
    reserved = await rig.client.reserve("call-1", agent, expires_s=0.05)
    await rig.until(reserved=0, warm=1)
    claimed = await rig.client.claim("call-1", agent)
    assert not claimed.cold
    assert reserved.call_id == claimed.call_id


async def test_a_released_worker_is_warm_again(rig: PoolRig) -> None:
    agent = rig.agent()
    await rig.client.reserve("call-1", agent)
    await rig.until(reserved=1, warm=1)
    await rig.client.release("call-1")
    await rig.until(reserved=0, warm=1)


async def test_the_bots_error_reaches_the_gateway_without_secrets(rig: PoolRig) -> None:
    source = (
        "import os\nasync def bot(session):\n raise RuntimeError(os.environ['SERVICE_API_KEY'])"
    )
    agent = rig.agent(source)
    end = await GatewayEnd.connected(await rig.client.claim("call-1", agent), agent)
    assert await end.wait_for(BotFinished) == BotFinished(error="RuntimeError: <SERVICE_API_KEY>")


async def test_the_heartbeat_goes_on_while_the_bot_blocks_its_loop(rig: PoolRig) -> None:
    gate = rig.modules / "gate"
    os.mkfifo(gate)
    agent = rig.agent(f"async def bot(session):\n open({str(gate)!r}).read()\n")
    end = await GatewayEnd.connected(await rig.client.claim("call-1", agent), agent)
    await eventually(
        lambda: any(beat.loop_lag_ms >= 900 for beat in end.beats()), what="a beat that tells lag"
    )
    gate.write_text("go on")
    assert await end.wait_for(BotFinished) == BotFinished()


async def test_a_worker_outlives_its_pool_and_zygotes(run_dir: Path, tmp_path: Path) -> None:
    async with PoolRig.started(run_dir, tmp_path) as rig:
        agent = rig.agent()
        end = await start_call(rig, agent, "call-1")
        rig.stop.set()
        await eventually(lambda: not rig.client.is_connected, what="the pool's end")
        zygote = parent_of(end.pid)
        await eventually(lambda: children_of(zygote) == [end.pid], what="idle workers end")
        await eventually(lambda: not sockets_in(run_dir), what="their sockets are removed")
        os.kill(zygote, signal.SIGKILL)
        await eventually(lambda: not is_alive(zygote), what="the zygote's end")
        os.kill(end.pid, signal.SIGTERM)
        end.channel.send_audio_in(b"\x7f" * 160)
        await eventually(lambda: end.audio == [b"\x7f" * 160], what="the echo")
        assert await finish(end) == BotFinished()


async def test_a_lost_gateway_ends_the_bot(rig: PoolRig) -> None:
    end = await start_call(rig, rig.agent(), "call-1")
    pid = end.pid
    end.channel.abort()
    await eventually(lambda: not is_alive(pid), what="the worker's end")
    await rig.until(busy=0)


# agents that cannot be loaded


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise RuntimeError('no model')", "RuntimeError at import: no model (echo.py, line 1)"),
        ("import sys; sys.exit(3)", "the module exits at import (status 3)"),
        ("x = 1", "has no function bot"),
        ("def bot(:", "SyntaxError at import"),
        (
            "import os; raise ValueError(os.environ['SERVICE_API_KEY'])",
            "ValueError at import: <SERVICE_API_KEY>",
        ),
    ],
)
async def test_a_module_that_cannot_be_loaded(rig: PoolRig, source: str, reason: str) -> None:
    agent = rig.agent(source)
    for request in (rig.client.prepare(agent), rig.client.claim("call-1", agent)):
        with pytest.raises(ConfigError) as caught:
            await request
        assert reason in str(caught.value)


async def test_a_module_that_ends_its_process_at_import(rig: PoolRig) -> None:
    agent = rig.agent("import os; os._exit(1)")
    with pytest.raises(WorkerFailed, match="ended while the agent was loaded"):
        await rig.client.prepare(agent)


async def test_a_module_that_blocks_at_import_is_killed(run_dir: Path, tmp_path: Path) -> None:
    async with PoolRig.started(run_dir, tmp_path, ready_s=2.0) as rig:
        await rig.client.prepare(rig.agent(name="other"))
        agent = rig.agent("import signal; signal.pause()")
        with pytest.raises(WorkerFailed, match="was not loaded within 2 s"):
            await rig.client.prepare(agent)


async def test_a_fixed_module_is_loaded_at_once(rig: PoolRig) -> None:
    with pytest.raises(ConfigError):
        await rig.client.reserve("call-1", rig.agent("nonsense"))
    await rig.client.reserve("call-1", rig.agent())


async def test_a_check_keeps_nothing(rig: PoolRig) -> None:
    assert await rig.client.prepare(rig.agent(), check_only=True) == []
    assert await rig.figures() == {}


async def test_a_module_that_starts_a_thread_is_started_cold(rig: PoolRig) -> None:
    source = (
        "import threading\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n" + ECHO
    )
    agent = rig.agent(source)
    warnings = await rig.client.prepare(agent)
    assert warnings == [
        "the module starts 1 threads at import, so each call waits for a fresh process"
    ]
    end = await start_call(rig, agent, "call-1")
    assert len(list(Path(f"/proc/{end.pid}/task").iterdir())) >= 2, "its thread, and the heartbeat"
    assert await finish(end) == BotFinished()


# changes


async def test_a_changed_module_serves_the_next_call_and_spares_the_live_one(rig: PoolRig) -> None:
    agent = rig.agent()
    old = await start_call(rig, agent, "call-1")
    await rig.until(warm=1)
    rig.agent(ECHO + "\n# changed")
    new = await start_call(rig, agent, "call-2")
    old_zygote, new_zygote = parent_of(old.pid), parent_of(new.pid)
    assert old_zygote != new_zygote
    await eventually(lambda: children_of(old_zygote) == [old.pid], what="its warm workers end")
    await finish(old)
    await eventually(lambda: not is_alive(old_zygote), what="the old zygote ends")
    await finish(new)


async def test_a_new_revision_gets_a_new_zygote(rig: PoolRig) -> None:
    await rig.client.prepare(rig.agent())
    first = (await rig.until(warm=1))["zygote_pid"]
    await rig.client.prepare(rig.agent(revision=2))
    await eventually(lambda: not is_alive(first), what="the old zygote ends")
    assert (await rig.until(warm=1))["zygote_pid"] != first
    await rig.client.reserve("call-1", rig.agent(revision=1))
    assert (await rig.figures())["reserved"] == 1, "a call admitted before the change is served"


async def test_a_module_broken_while_it_serves_goes_on_as_it_was(rig: PoolRig) -> None:
    agent = rig.agent()
    await rig.client.prepare(agent)
    await rig.until(warm=1)
    rig.agent("broken(")
    await finish(await start_call(rig, agent, "call-1"))
    with pytest.raises(ConfigError):
        await rig.client.prepare(agent)


async def test_a_forgotten_agent_ends_what_is_idle(rig: PoolRig) -> None:
    agent = rig.agent()
    end = await start_call(rig, agent, "call-1")
    await rig.until(warm=1)
    zygote = parent_of(end.pid)
    await rig.client.forget("echo")
    await eventually(lambda: children_of(zygote) == [end.pid], what="warm workers end")
    assert await rig.figures() == {}
    await finish(end)
    await eventually(lambda: not is_alive(zygote), what="its zygote ends")


# deaths


async def test_a_warm_worker_that_dies_is_replaced(rig: PoolRig) -> None:
    await rig.client.prepare(rig.agent())
    zygote = (await rig.until(warm=1))["zygote_pid"]
    (victim,) = children_of(zygote)
    os.kill(victim, signal.SIGKILL)
    await rig.until(warm=1, failures=1)
    assert victim not in children_of(zygote)


async def test_a_reserved_worker_that_dies_is_replaced_before_the_claim(rig: PoolRig) -> None:
    agent = rig.agent(warm=0)
    reserved = await rig.client.reserve("call-1", agent)
    (victim,) = children_of((await rig.figures())["zygote_pid"])
    os.kill(victim, signal.SIGKILL)
    await rig.until(failures=1, reserved=1)
    claimed = await rig.client.claim("call-1", agent)
    assert claimed.worker_id != reserved.worker_id
    await finish(await GatewayEnd.connected(claimed, agent))


async def test_a_worker_killed_in_its_call_closes_the_channel(rig: PoolRig) -> None:
    agent = rig.agent()
    end = await start_call(rig, agent, "call-1")
    os.kill(end.pid, signal.SIGKILL)
    await end.wait_closed()
    await rig.until(busy=0, failures=1)
    replacement = await rig.client.claim("call-1", agent, attempt=2)
    await finish(await GatewayEnd.connected(replacement, agent))


async def test_a_killed_zygote_is_replaced_and_its_call_goes_on(rig: PoolRig) -> None:
    agent = rig.agent()
    end = await start_call(rig, agent, "call-1")
    await rig.client.reserve("call-2", agent)
    zygote = (await rig.until(warm=1))["zygote_pid"]
    idle = [pid for pid in children_of(zygote) if pid != end.pid]
    os.kill(zygote, signal.SIGKILL)
    await eventually(lambda: not any(map(is_alive, idle)), what="its idle workers end")
    await rig.until(warm=1, reserved=1, busy=1)
    assert (await rig.figures())["zygote_pid"] != zygote
    await finish(await start_call(rig, agent, "call-2"))
    await finish(end)
    await rig.until(busy=0)


async def test_a_stopped_zygote_is_replaced(run_dir: Path, tmp_path: Path) -> None:
    async with PoolRig.started(run_dir, tmp_path, fork_s=0.5) as rig:
        agent = rig.agent()
        await rig.client.prepare(agent)
        zygote = (await rig.until(warm=1))["zygote_pid"]
        os.kill(zygote, signal.SIGSTOP)
        await rig.client.claim("call-1", agent)
        with pytest.raises(WorkerFailed, match="was not started in time"):
            await rig.client.claim("call-2", agent)
        await eventually(lambda: not is_alive(zygote), what="the stopped zygote's end")
        await rig.until(warm=1)


async def test_a_killed_base_zygote_is_replaced_when_it_is_needed(rig: PoolRig) -> None:
    agent = rig.agent()
    await rig.client.prepare(agent)
    zygote = (await rig.until(warm=1))["zygote_pid"]
    base = parent_of(zygote)
    os.kill(base, signal.SIGKILL)
    await eventually(lambda: not is_alive(base), what="the base zygote's end")
    await finish(await start_call(rig, agent, "call-1"))
    other = rig.agent(name="other")
    await finish(await start_call(rig, other, "call-2"))
    assert (await rig.figures())["zygote_pid"] == zygote


async def test_workers_that_keep_dying_are_refused_for_a_while(
    run_dir: Path, tmp_path: Path
) -> None:
    back_off = BackOff(allowed=3, first_s=0.3, longest_s=0.3)
    async with PoolRig.started(run_dir, tmp_path, warm_workers=0, back_off=back_off) as rig:
        agent = rig.agent("import os\nasync def bot(session):\n os._exit(7)")
        for number in range(3):
            claimed = await rig.client.claim(f"call-{number}", agent)
            end = await GatewayEnd.connected(claimed, agent)
            await end.wait_closed()
            await rig.until(busy=0, failures=number + 1)
        with pytest.raises(WorkerFailed, match=r"die \(status 7\)"):
            await rig.client.reserve("call-4", agent)
        await finish(await start_call(rig, rig.agent(revision=2), "call-5"))


# hygiene


async def test_a_client_that_dies_leaves_its_reservations_and_claims(rig: PoolRig) -> None:
    agent = rig.agent()
    async with asyncio.TaskGroup() as group:
        other = PoolClient(rig.run_dir / "pool.sock", sender="other")
        running = group.create_task(other.run())
        reserved = await other.reserve("call-1", agent)
        running.cancel()
    assert (await rig.client.claim("call-1", agent)).worker_id == reserved.worker_id


async def test_fifty_calls_leak_no_descriptor_process_or_file(rig: PoolRig) -> None:
    agent = rig.agent()
    await finish(await start_call(rig, agent, "first"))
    zygote = (await rig.until(warm=1, busy=0))["zygote_pid"]
    ours, theirs = open_descriptors(), descriptors_of(zygote)
    for number in range(50):
        await rig.client.reserve(f"call-{number}", agent)
        await finish(await start_call(rig, agent, f"call-{number}"))
    await rig.until(warm=1, busy=0, reserved=0)
    assert open_descriptors() == ours
    assert descriptors_of(zygote) == theirs
    assert len(list(rig.run_dir.glob("w*.sock"))) == 1
    assert len(processes_of(rig.run_dir)) == 3, "base zygote, zygote, one warm worker"


async def test_a_worker_holds_nothing_of_its_zygotes(rig: PoolRig) -> None:
    end = await start_call(rig, rig.agent(), "call-1")
    zygote_sockets = {
        target for target in descriptors_of(parent_of(end.pid)).values() if "socket:" in target
    }
    assert not zygote_sockets & set(descriptors_of(end.pid).values())
    assert os.getpgid(end.pid) == end.pid
    await finish(end)


async def test_what_makes_no_sense_closes_the_connection(rig: PoolRig) -> None:
    closed: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    channel = Channel(on_message=lambda _: None, on_closed=closed.set_result, sender="test")
    await asyncio.get_running_loop().create_unix_connection(
        lambda: channel, str(rig.run_dir / "pool.sock")
    )
    channel.send(EndCall())
    await asyncio.wait_for(closed, 5)
    assert isinstance(await rig.client.state(), PoolState)


async def test_a_gateway_that_starts_no_call_loses_its_worker(rig: PoolRig) -> None:
    agent = rig.agent()
    end = await GatewayEnd.connected(await rig.client.claim("call-1", agent), agent, start=False)
    end.channel.send(SessionEnding(reason="stop"))
    await end.wait_closed()
    await rig.until(busy=0, failures=0)


async def test_without_a_pool_requests_fail_in_time(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as group:
        client = PoolClient(tmp_path / "pool.sock", sender="test")
        running = group.create_task(client.run())
        with pytest.raises(DispatchError, match="cannot be reached"):
            await client.state(timeout_s=0.05)
        with pytest.raises(DispatchError, match="cannot be reached"):
            await client.release("call-1", timeout_s=0.05)
        running.cancel()


async def test_a_heartbeat_comes_while_all_is_well(rig: PoolRig) -> None:
    end = await start_call(rig, rig.agent(), "call-1")
    beat = await end.wait_for(Heartbeat)
    assert isinstance(beat, Heartbeat)
    assert beat.loop_lag_ms < 900
    await finish(end)
