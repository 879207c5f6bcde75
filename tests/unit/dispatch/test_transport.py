from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import uvloop

from tests.support.waiting import eventually
from trunkline.dispatch.channel import Channel, FrameReader, pack
from trunkline.dispatch.messages import BotFinished, DtmfPressed, Heartbeat, Hello, Message
from trunkline.dispatch.transport import WorkerChannel


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def event_loop_factory(
    request: pytest.FixtureRequest,
) -> Callable[[], asyncio.AbstractEventLoop]:
    factory: Callable[[], asyncio.AbstractEventLoop] = request.param
    return factory


@asynccontextmanager
async def worker_end() -> AsyncIterator[tuple[WorkerChannel, socket.socket, list[Message]]]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    got: list[Message] = []
    channel = WorkerChannel(on_message=got.append, on_closed=lambda _: None, sender="worker")
    await asyncio.get_running_loop().connect_accepted_socket(lambda: channel, ours)
    with theirs:
        yield channel, theirs, got
    channel.abort()
    await asyncio.sleep(0)


def run_on(
    factory: Callable[[], asyncio.AbstractEventLoop],
    test: Callable[[], object],
) -> None:
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(test())  # type: ignore[arg-type]


def test_a_thread_sends_while_the_loop_is_blocked(
    event_loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def test() -> None:
        async with worker_end() as (channel, peer, _):
            thread = threading.Thread(target=channel.send_from_thread, args=(Heartbeat(),))
            thread.start()
            thread.join()  # the loop has had no turn
            kinds = [kind for kind, _ in FrameReader().feed(peer.recv(1000))]
            assert kinds == [Hello.KIND, Heartbeat.KIND]

    run_on(event_loop_factory, test)


def test_what_the_kernel_does_not_take_follows_in_order(
    event_loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        async with worker_end() as (channel, peer, _):
            for number in range(200):
                channel.send_audio_out(number, 0, bytes(10_000))
                if number % 50 == 0:
                    await asyncio.to_thread(channel.send_from_thread, Heartbeat())
            assert channel.unsent_bytes > 100_000
            channel.send(BotFinished())
            finishing = asyncio.gather(channel.finish())
            reader, found = FrameReader(), list[tuple[int, bytes]]()
            while data := await loop.sock_recv(peer, 65536):
                found += reader.feed(data)
            numbers = [int.from_bytes(p[:4], "big") for kind, p in found if kind == 2]
            assert numbers == list(range(200))
            assert found[-1][0] == BotFinished.KIND
            peer.close()
            await finishing

    run_on(event_loop_factory, test)


def test_the_last_message_reaches_a_peer_that_is_writing(
    event_loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def test() -> None:
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        got: list[Message] = []
        worker = WorkerChannel(
            on_message=lambda _: None, on_audio=lambda _: None, on_closed=lambda _: None
        )
        gateway = Channel(on_message=got.append, on_closed=lambda _: None)
        await loop.connect_accepted_socket(lambda: worker, ours)
        await loop.connect_accepted_socket(lambda: gateway, theirs)
        await eventually(lambda: got)
        for _ in range(50):
            gateway.send_audio_in(bytes(160))
        worker.send(BotFinished(error="x"))
        await asyncio.gather(worker.finish(), eventually(lambda: gateway.is_closed))
        assert got[-1] == BotFinished(error="x")

    run_on(event_loop_factory, test)


async def test_it_reads_as_any_channel_does() -> None:
    async with worker_end() as (_, peer, got):
        peer.sendall(pack(Hello()) + pack(DtmfPressed(digit="9")))
        await eventually(lambda: got == [Hello(), DtmfPressed(digit="9")])


async def test_a_lost_peer_is_seen_by_writing() -> None:
    async with worker_end() as (channel, peer, _):
        assert not channel.is_broken
        peer.close()
        channel.send_from_thread(Heartbeat())
        assert channel.is_broken
        channel.send_from_thread(Heartbeat())
        await eventually(lambda: channel.is_closed)
