from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.waiting import eventually
from trunkline.dispatch.channel import Channel
from trunkline.dispatch.messages import (
    AgentSpec,
    BotFinished,
    Claim,
    DtmfPressed,
    Heartbeat,
    Hello,
    Message,
    Reserved,
)
from trunkline.dispatch.pool_client import PoolClient
from trunkline.errors import WorkerFailed
from trunkline.gateway.link import WorkerLink, connect_worker
from trunkline.gateway.stats import Stats

AGENT = AgentSpec(name="front-desk", kind="pipeline")
FIRST = Heartbeat(loop_lag_ms=1)  # any message will do for the first


class Worker:
    """The worker's end, and the pool that leads to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.got: list[Message | bytes] = []
        self.channel: Channel | None = None
        self.servers: list[asyncio.Server] = []

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        for name, factory in (("pool.sock", self._pool), ("worker.sock", self._worker)):
            self.servers.append(await loop.create_unix_server(factory, str(self.folder / name)))

    def _pool(self) -> Channel:
        def answer(message: Message) -> None:
            if isinstance(message, Claim):
                address = str(self.folder / "worker.sock")
                channel.send(
                    Reserved(
                        request_id=message.request_id,
                        call_id=message.call_id,
                        worker_id="w-7",
                        address=address,
                    )
                )

        channel = Channel(on_message=answer, on_closed=lambda error: None)
        return channel

    def _worker(self) -> Channel:
        # Only for tests: a kind for caller audio is read like any other.
        self.channel = Channel(
            on_message=lambda m: None if isinstance(m, Hello) else self.got.append(m),
            on_audio=self.got.append,
            on_closed=lambda error: None,
        )
        return self.channel


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[Worker]:
    worker = Worker(tmp_path)
    await worker.open()
    yield worker
    for server in worker.servers:
        server.close()
    if worker.channel is not None:
        worker.channel.close()


class Line:
    def __init__(self, folder: Path) -> None:
        self.messages: list[Message] = []
        self.audio: list[bytes] = []
        self.losses: list[str] = []
        self.stats = Stats()
        self.pool = PoolClient(folder / "pool.sock", sender="gateway-0")
        self.link = WorkerLink(
            pool=self.pool,
            sender="gateway-0",
            stats=self.stats,
            on_message=self.messages.append,
            on_audio=self.audio.append,
            on_lost=self.losses.append,
        )

    async def employ(self) -> bool:
        return await self.link.employ("call-1", AGENT, 1, FIRST)


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    line = Line(tmp_path)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(line.pool.run())
        yield line
        line.link.abort()
        running.cancel()


async def test_what_came_before_the_worker_reaches_it_in_order(worker: Worker, line: Line) -> None:
    line.link.send_audio(b"one")
    line.link.send(DtmfPressed(digit="1"))
    line.link.send_audio(b"two")
    assert await line.employ()
    line.link.send_audio(b"three")
    expected = [FIRST, b"one", DtmfPressed(digit="1"), b"two", b"three"]
    await eventually(lambda: len(worker.got) == len(expected), what="all of it")
    assert worker.got == expected
    assert line.link.worker_id == "w-7"
    assert line.link.is_connected


async def test_what_waits_is_bounded(line: Line) -> None:
    for _ in range(300):
        line.link.send_audio(bytes(1000))
    assert line.stats.dropped_bytes_in == 140_000


async def test_a_worker_that_goes_is_told_once(worker: Worker, line: Line) -> None:
    await line.employ()
    await eventually(lambda: worker.channel is not None and worker.got, what="the connection")
    worker.channel.abort()
    await eventually(lambda: line.losses, what="the loss")
    assert len(line.losses) == 1
    assert not line.link.is_connected


async def test_last_words_are_noted(worker: Worker, line: Line) -> None:
    await line.employ()
    await eventually(lambda: worker.got, what="the connection")
    worker.channel.send(BotFinished())
    await eventually(lambda: line.link.was_finished, what="the last message")
    assert line.messages[-1] == BotFinished()


async def test_a_link_closed_meanwhile_takes_no_worker(worker: Worker, line: Line) -> None:
    line.link.close()
    assert not await line.employ()
    line.link.send_audio(b"late")
    assert line.stats.dropped_bytes_in == 4
    assert line.losses == []


async def test_a_worker_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WorkerFailed):
        await connect_worker(
            str(tmp_path / "nobody.sock"),
            sender="gateway-0",
            on_message=lambda message: None,
            on_audio=lambda payload: None,
            on_closed=lambda error: None,
        )
