"""One call's line to its worker; audio that comes before the worker does waits for it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from trunkline.dispatch.channel import Channel
from trunkline.dispatch.messages import AgentSpec, BotFinished, Message
from trunkline.dispatch.pool_client import PoolClient
from trunkline.errors import WorkerFailed
from trunkline.gateway.stats import Stats

__all__ = ["WorkerLink", "connect_worker"]

_CLAIM_TIMEOUT_S = 15.0  # a cold start of a large bot takes seconds; the caller's audio waits
_CONNECT_TIMEOUT_S = 2.0

_WAITING_BYTES = 160_000  # 20 s of PCMU: longer than any claim may take
_UNREAD_LIMIT_BYTES = (
    256_000  # a worker that far behind gets no more audio; the heartbeat tells whether it lives
)


class WorkerLink:
    """The gateway's end of a channel to a worker.

    ``on_message`` and ``on_audio`` are called as the worker speaks; ``on_lost`` once when the
    channel ends before we close it, with a word for why.
    """

    def __init__(
        self,
        *,
        pool: PoolClient,
        sender: str,
        stats: Stats,
        on_message: Callable[[Message], None],
        on_audio: Callable[[bytes], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._pool = pool
        self._sender = sender
        self._stats = stats
        self._on_message = on_message
        self._on_audio = on_audio
        self._on_lost = on_lost
        self._channel: Channel | None = None
        self._waiting: deque[bytes | Message] = deque()
        self._waiting_bytes = 0
        self._is_closed = False
        self.worker_id = ""
        self.was_finished = False
        """The worker has said ``BotFinished``."""

    async def employ(self, call_id: str, agent: AgentSpec, attempt: int, first: Message) -> bool:
        """Claim a worker, connect, send ``first`` and what has waited. False when closed meanwhile.

        Raises:
            DispatchError: no worker is to be had.
        """
        reserved = await self._pool.claim(
            call_id, agent, attempt=attempt, timeout_s=_CLAIM_TIMEOUT_S
        )
        channel = await connect_worker(
            reserved.address,
            sender=self._sender,
            on_message=self._receive,
            on_audio=self._on_audio,
            on_closed=self._lost,
        )
        if self._is_closed:
            channel.abort()
            return False
        self.worker_id = reserved.worker_id
        channel.send(first)
        while self._waiting:
            item = self._waiting.popleft()
            if isinstance(item, bytes):
                channel.send_audio_in(item)
            else:
                channel.send(item)
        self._waiting_bytes = 0
        self._channel = channel
        return True

    def send_audio(self, payload: bytes) -> None:
        """Caller audio; kept while there is no worker, the newest dropped when that is too long."""
        channel = self._channel
        if channel is not None:
            if channel.unsent_bytes > _UNREAD_LIMIT_BYTES:
                self._stats.dropped_bytes_in += len(payload)
            else:
                channel.send_audio_in(payload)
        elif self._is_closed or self._waiting_bytes + len(payload) > _WAITING_BYTES:
            self._stats.dropped_bytes_in += len(payload)
        else:
            self._waiting.append(payload)
            self._waiting_bytes += len(payload)

    def send(self, message: Message) -> None:
        """A message, in order with audio."""
        if self._channel is not None:
            self._channel.send(message)
        elif not self._is_closed:
            self._waiting.append(message)

    @property
    def is_connected(self) -> bool:
        """A worker is there."""
        return self._channel is not None and not self._channel.is_closed

    def _receive(self, message: Message) -> None:
        if isinstance(message, BotFinished):
            self.was_finished = True
        self._on_message(message)

    def _lost(self, error: Exception | None) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._on_lost("" if error is None else type(error).__name__)

    def close(self) -> None:
        """End the channel after what is queued; a worker that does not read is cut off."""
        self._is_closed = True
        self._waiting.clear()
        if self._channel is not None:
            if self._channel.unsent_bytes > _UNREAD_LIMIT_BYTES:
                self._channel.abort()
            else:
                self._channel.close()

    def abort(self) -> None:
        """End the channel at once."""
        self._is_closed = True
        self._waiting.clear()
        if self._channel is not None:
            self._channel.abort()


async def connect_worker(
    address: str,
    *,
    sender: str,
    on_message: Callable[[Message], None],
    on_audio: Callable[[bytes], None],
    on_closed: Callable[[Exception | None], None],
) -> Channel:
    """Return the channel to a worker that listens at ``address``.

    Raises:
        WorkerFailed: it cannot be reached.
    """
    channel = Channel(on_message=on_message, on_audio=on_audio, on_closed=on_closed, sender=sender)
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            await asyncio.get_running_loop().create_unix_connection(lambda: channel, address)
    except (OSError, TimeoutError) as error:
        raise WorkerFailed("the worker cannot be reached") from error
    return channel
