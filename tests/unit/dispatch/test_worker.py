"""A worker's service in this process; tests/integration/dispatch has workers of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.integration.dispatch.rig import GatewayEnd
from tests.support.waiting import eventually
from trunkline.dispatch.messages import (
    AgentSpec,
    BotFinished,
    Heartbeat,
    Reserved,
    SessionEnding,
)
from trunkline.dispatch.session import WorkerSession
from trunkline.dispatch.unix_socket import listen
from trunkline.dispatch.worker import WorkerExit, WorkerLimits, serve

AGENT = AgentSpec(name="a", kind="module")
QUICK = WorkerLimits(call_s=0.2, finish_s=0.05, exit_s=0.1, flush_s=1.0)


class Bot:
    def __init__(self, run: Callable[[WorkerSession], Awaitable[None]]) -> None:
        self._run = run

    async def run(self, call: WorkerSession, /) -> None:
        await self._run(call)


class Running:
    def __init__(self, address: str, lifeline: int, exit_status: asyncio.Task[WorkerExit]) -> None:
        self.address = address
        self._lifeline: int | None = lifeline
        self._exit_status = exit_status
        self.ended_with: list[WorkerExit] = []

    def cut_lifeline(self) -> None:
        """End it as the zygote's death does."""
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    async def connect(self, *, start: bool = True) -> GatewayEnd:
        reserved = Reserved(request_id=1, call_id="c1", worker_id="w1", address=self.address)
        return await GatewayEnd.connected(reserved, AGENT, start=start)

    async def exit_status(self) -> WorkerExit:
        return await asyncio.wait_for(asyncio.shield(self._exit_status), 10)


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    # The worker captures these for good; it has its process for itself.
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@asynccontextmanager
async def worker(
    run: Callable[[WorkerSession], Awaitable[None]], limits: WorkerLimits = QUICK
) -> AsyncIterator[Running]:
    listener = listen("w1.sock", backlog=1)
    read, write = os.pipe()
    async with asyncio.TaskGroup() as group:
        running: Running
        task = group.create_task(
            serve(
                listener,
                read,
                Bot(run),
                worker_id="w1",
                limits=limits,
                end_process=lambda reason: running.ended_with.append(reason),
            )
        )
        running = Running("w1.sock", write, task)
        try:
            yield running
        finally:
            if not task.done():
                task.cancel()
    os.close(read)
    running.cut_lifeline()


async def until_ending(session: WorkerSession) -> None:
    over = asyncio.Event()
    session.on_message(lambda m: over.set() if isinstance(m, SessionEnding) else None)
    await over.wait()


async def test_it_serves_one_call_and_takes_its_socket_away() -> None:
    async with worker(until_ending) as running:
        end = await running.connect()
        await eventually(lambda: not Path("w1.sock").exists())
        end.channel.send(SessionEnding(reason="stop"))
        assert await running.exit_status() is WorkerExit.OK
        assert end.got(BotFinished) == [BotFinished()]


async def test_a_bot_that_raises_is_told_and_has_its_own_status() -> None:
    async def bot(session: WorkerSession) -> None:
        raise LookupError("no such thing")

    async with worker(bot) as running:
        end = await running.connect()
        assert await running.exit_status() is WorkerExit.BOT_RAISED
        assert end.got(BotFinished) == [BotFinished(error="LookupError: no such thing")]


async def test_a_bot_that_does_not_listen_is_cancelled() -> None:
    async def bot(session: WorkerSession) -> None:
        await asyncio.Event().wait()

    async with worker(bot) as running:
        end = await running.connect()
        end.channel.send(SessionEnding(reason="stop"))
        assert await running.exit_status() is WorkerExit.OK
        assert end.got(BotFinished) == [BotFinished()]


async def test_a_lost_gateway_ends_the_call() -> None:
    async with worker(until_ending) as running:
        end = await running.connect()
        await end.wait_for(Heartbeat)
        end.channel.abort()
        assert await running.exit_status() is WorkerExit.OK


async def test_a_bot_that_refuses_to_end_is_ended_with_its_process() -> None:
    release = asyncio.Event()

    async def bot(session: WorkerSession) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async with worker(bot) as running:
        end = await running.connect()
        end.channel.send(SessionEnding(reason="stop"))
        await eventually(lambda: running.ended_with)
        assert running.ended_with == [WorkerExit.STUCK]
        release.set()
        await running.exit_status()


@pytest.mark.parametrize("message", [None, SessionEnding(reason="stop")])
async def test_a_gateway_that_starts_no_call(message: SessionEnding | None) -> None:
    async with worker(until_ending) as running:
        end = await running.connect(start=False)
        if message is not None:
            end.channel.send(message)
        assert await running.exit_status() is WorkerExit.NO_CALL


async def test_an_idle_worker_ends_with_its_zygote() -> None:
    async with worker(until_ending) as running:
        running.cut_lifeline()
        assert await running.exit_status() is WorkerExit.OK
        assert not Path("w1.sock").exists()


async def test_a_gateway_in_the_backlog_is_served_although_the_zygote_is_gone() -> None:
    client = socket.socket(socket.AF_UNIX)
    async with worker(until_ending) as running:
        client.connect(running.address)
        running.cut_lifeline()
        client.close()
        assert await running.exit_status() is WorkerExit.NO_CALL


async def test_sigterm_ends_an_idle_worker() -> None:
    async with worker(until_ending) as running:
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGTERM)
        assert await running.exit_status() is WorkerExit.OK
