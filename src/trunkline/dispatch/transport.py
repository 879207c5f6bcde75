"""A worker's end of its channel: writes go to the socket at once, from any thread.

A heartbeat must reach the gateway while the bot blocks the event loop, so a thread sends it. A
loop's own transport may be written to from the loop only, and may hold half a message. So reading
stays with the loop's transport, and writing happens here, under a lock, on a duplicate of the
socket; only what the kernel does not take at once waits for the loop.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from typing import cast

from trunkline.dispatch.channel import Channel, pack
from trunkline.dispatch.messages import Message

__all__ = ["ThreadedTransport", "WorkerChannel"]


class ThreadedTransport(asyncio.Transport):
    """Reads through ``inner``, writes directly; owns ``inner`` and a duplicate of its socket."""

    def __init__(self, inner: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._inner = inner
        self._loop = loop
        original = cast("socket.socket", inner.get_extra_info("socket"))
        self._socket = socket.socket(fileno=os.dup(original.fileno()))
        self._socket.setblocking(False)
        self._lock = threading.Lock()
        self._pending = bytearray()
        self._watching = False
        self._closing = False
        self._released = False
        self.is_broken = False
        """The peer is gone; seen by writing, so also while the loop is blocked."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See ``asyncio``."""
        with self._lock:
            if self._closing or self.is_broken:
                return
            if self._pending:
                self._pending += data
                del self._pending[: self._send(self._pending)]
            else:
                self._pending += memoryview(data)[self._send(data) :]
            if self._pending and not self.is_broken and not self._watching:
                self._watching = True
                self._loop.call_soon_threadsafe(self._watch)

    def get_write_buffer_size(self) -> int:
        """See ``asyncio``."""
        return len(self._pending)

    def is_closing(self) -> bool:
        """See ``asyncio``."""
        return self._closing

    def close(self) -> None:
        """Send what is queued, then say that no more comes; the peer's close ends the connection.

        Closing at once would lose the last messages: a peer that is writing, as a gateway is 50
        times a second, sees its own write fail before it has read them.
        """
        with self._lock:
            self._closing = True
            waiting = bool(self._pending) and not self.is_broken
        if not waiting:
            self._half_close()

    def abort(self) -> None:
        """Close at once."""
        with self._lock:
            self._closing = True
            self._pending.clear()
        self.release()
        self._inner.abort()

    def release(self) -> None:
        """Close the duplicate; the loop's transport is closed, or about to be."""
        with self._lock:
            if self._released:
                return
            self._released = self._closing = True
            if self._watching:
                self._loop.remove_writer(self._socket.fileno())
            self._socket.close()

    def _half_close(self) -> None:
        if self._released:
            return
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:  # the peer is gone already
            self._inner.close()

    def _send(self, data: bytes | bytearray | memoryview) -> int:
        """Return how much the kernel took. Called under the lock."""
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:  # the reading side reports the loss, once, in order with what was received
            self.is_broken = True
            self._pending.clear()
            return 0

    def _watch(self) -> None:
        with self._lock:
            if not self._released:
                self._loop.add_writer(self._socket.fileno(), self._flush)

    def _flush(self) -> None:
        with self._lock:
            del self._pending[: self._send(self._pending)]
            if self._pending:
                return
            self._loop.remove_writer(self._socket.fileno())
            self._watching = False
            finished = self._closing
        if finished:
            self._half_close()


class WorkerChannel(Channel):
    """A ``Channel`` on which another thread may send, too."""

    _threaded: ThreadedTransport | None = None
    _gone: asyncio.Event

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio``."""
        self._gone = asyncio.Event()
        self._threaded = ThreadedTransport(
            cast("asyncio.Transport", transport), asyncio.get_running_loop()
        )
        super().connection_made(self._threaded)

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio``."""
        if self._threaded is not None:
            self._threaded.release()
        super().connection_lost(exc)
        self._gone.set()

    async def finish(self) -> None:
        """Close, and return once the peer has read everything and closed its end, too."""
        self.close()
        await self._gone.wait()

    def send_from_thread(self, message: Message) -> None:
        """``send`` for a thread that is not the loop's."""
        if self._threaded is not None:
            self._threaded.write(pack(message))

    @property
    def is_broken(self) -> bool:
        """The peer is gone, even if the loop has had no turn to notice."""
        return self.is_closed or (self._threaded is not None and self._threaded.is_broken)
