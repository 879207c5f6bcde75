"""How a gateway gets workers: claims at the pool, and the channel to the worker that was claimed.

The pool lives in the supervisor and may restart, so its channel is made again on the next claim.
Every wait has an end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from pathlib import Path

import structlog

from trunkline.dispatch.channel import Channel
from trunkline.dispatch.messages import AgentSpec, Claim, Message, Refused, Reserved
from trunkline.errors import DispatchError, WorkerFailed

__all__ = ["CLAIM_TIMEOUT_S", "PoolClient", "connect_worker"]

log = structlog.get_logger(__name__)

CLAIM_TIMEOUT_S = 15.0
"""A cold start of a large bot takes seconds; the caller's audio is kept meanwhile."""
_CONNECT_TIMEOUT_S = 2.0


class PoolClient:
    """Claims workers over one channel to the pool."""

    def __init__(self, address: Path, sender: str) -> None:
        self._address = address
        self._sender = sender
        self._channel: Channel | None = None
        self._connecting = asyncio.Lock()
        self._request_ids = count(1)
        self._waiting: dict[int, asyncio.Future[Reserved]] = {}

    async def claim(self, call_id: str, agent: AgentSpec, attempt: int) -> Reserved:
        """The worker for a call.

        Raises:
            DispatchError: the pool refused, is away, or did not answer in time.
        """
        request_id = next(self._request_ids)
        answer: asyncio.Future[Reserved] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(CLAIM_TIMEOUT_S):
                channel = await self._connected()
                self._waiting[request_id] = answer
                channel.send(
                    Claim(request_id=request_id, call_id=call_id, agent=agent, attempt=attempt)
                )
                return await answer
        except TimeoutError:
            raise DispatchError("the pool did not answer in time") from None
        except OSError as error:
            raise DispatchError(f"the pool cannot be reached: {error.strerror}") from error
        finally:
            self._waiting.pop(request_id, None)

    async def _connected(self) -> Channel:
        async with self._connecting:
            if self._channel is None or self._channel.is_closed:
                loop = asyncio.get_running_loop()
                _, self._channel = await loop.create_unix_connection(
                    lambda: Channel(
                        on_message=self._receive, on_closed=self._closed, sender=self._sender
                    ),
                    str(self._address),
                )
            return self._channel

    def _receive(self, message: Message) -> None:
        if not isinstance(message, Reserved | Refused):
            return
        answer = self._waiting.get(message.request_id)
        if answer is None or answer.done():
            return
        if isinstance(message, Reserved):
            answer.set_result(message)
        else:
            answer.set_exception(DispatchError(f"{message.code}: {message.reason}"))

    def _closed(self, error: Exception | None) -> None:
        self._channel = None
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(DispatchError("the pool went away"))

    def close(self) -> None:
        """Close the channel."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None


async def connect_worker(
    address: str,
    *,
    sender: str,
    on_message: Callable[[Message], None],
    on_audio: Callable[[bytes], None],
    on_closed: Callable[[Exception | None], None],
) -> Channel:
    """The channel to a worker that listens at ``address``.

    Raises:
        WorkerFailed: it cannot be reached.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            _, channel = await loop.create_unix_connection(
                lambda: Channel(
                    on_message=on_message, on_audio=on_audio, on_closed=on_closed, sender=sender
                ),
                address,
            )
    except (OSError, TimeoutError) as error:
        raise WorkerFailed("the worker cannot be reached") from error
    return channel
