from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.waiting import eventually
from trunkline.dispatch.channel import Channel
from trunkline.dispatch.heartbeat import HeartbeatThread
from trunkline.dispatch.messages import Heartbeat, Message
from trunkline.dispatch.transport import WorkerChannel


class Gateway:
    """The gateway's end, in a thread of its own: it hears while the worker's loop blocks."""

    def __init__(self, sock: socket.socket) -> None:
        self.beats: list[Heartbeat] = []
        self.lagging = threading.Event()
        self._sock = sock
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._connected = threading.Event()
        self._thread.start()
        assert self._connected.wait(10)

    def _receive(self, message: Message) -> None:
        if isinstance(message, Heartbeat):
            self.beats.append(message)
            if message.loop_lag_ms >= 100:
                self.lagging.set()

    def _run(self) -> None:
        channel = Channel(on_message=self._receive, on_closed=lambda _: None)
        self._loop.run_until_complete(
            self._loop.connect_accepted_socket(lambda: channel, self._sock)
        )
        self._connected.set()
        self._loop.run_forever()
        channel.abort()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def stop(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()


@asynccontextmanager
async def beating(
    *, exit_s: float = 60
) -> AsyncIterator[tuple[HeartbeatThread, Gateway, asyncio.Event]]:
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    channel = WorkerChannel(on_message=lambda _: None, on_closed=lambda _: None, sender="worker")
    await loop.connect_accepted_socket(lambda: channel, ours)
    gateway, given_up = Gateway(theirs), asyncio.Event()
    thread = HeartbeatThread(
        channel,
        loop,
        exit_s=exit_s,
        give_up=lambda: loop.call_soon_threadsafe(given_up.set),
        interval_s=0.01,
    )
    thread.start()
    try:
        yield thread, gateway, given_up
    finally:
        thread.stop()
        await asyncio.to_thread(thread.join)
        gateway.stop()
        channel.abort()
        await asyncio.sleep(0)


async def test_it_beats_without_lag_while_the_loop_turns() -> None:
    async with beating() as (_, gateway, _given_up):
        await eventually(lambda: len(gateway.beats) > 3)
        assert min(beat.loop_lag_ms for beat in gateway.beats) == 0


async def test_it_tells_how_long_the_loop_has_been_blocked() -> None:
    async with beating() as (_, gateway, _given_up):
        assert gateway.lagging.wait(10), "this blocks the loop; the beats come all the same"


async def test_it_gives_the_process_up_when_the_bot_does_not_end() -> None:
    async with beating(exit_s=0.02) as (thread, _, given_up):
        thread.call_ended()
        await asyncio.wait_for(given_up.wait(), 10)


async def test_a_lost_gateway_counts_as_the_end_of_the_call() -> None:
    async with beating(exit_s=0.02) as (_, gateway, given_up):
        gateway.stop()
        await asyncio.wait_for(given_up.wait(), 10)
