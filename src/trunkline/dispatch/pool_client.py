"""How front and gateway ask the pool: one channel, made again whenever it is lost.

Every request may be repeated without harm, so one that was under way when the pool restarted is
sent again until its time is over. The caller sees an answer or one of three errors, never a broken
connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import TypeVar

import structlog

from trunkline.dispatch.channel import Channel
from trunkline.dispatch.messages import (
    AgentSpec,
    Claim,
    Forget,
    Hello,
    Message,
    PoolState,
    PoolStateRequest,
    Prepare,
    Prepared,
    Refused,
    Release,
    Reserve,
    Reserved,
)
from trunkline.errors import ConfigError, DispatchError, WorkerFailed

__all__ = ["PoolClient"]

log = structlog.get_logger(__name__)

RECONNECT_S = 0.1
"""Between two attempts to reach a pool that is not there."""

_Answer = TypeVar("_Answer", Reserved, Prepared, PoolState)


class PoolClient:
    """Requests to the pool at ``address``.

    ``run`` keeps the connection and must run as a task for as long as requests are made.
    """

    def __init__(self, address: Path, *, sender: str) -> None:
        self._address = address
        self._sender = sender
        self._channel: Channel | None = None
        self._connected = asyncio.Event()
        self._lost = asyncio.Event()
        self._request_ids = count(1)
        self._waiting: dict[int, asyncio.Future[Message]] = {}

    @property
    def is_connected(self) -> bool:
        """The pool is there now."""
        return self._connected.is_set()

    async def run(self) -> None:
        """Keep a connection until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                self._lost.clear()
                channel = self._channel = Channel(
                    on_message=self._receive, on_closed=self._lose, sender=self._sender
                )
                try:
                    await loop.create_unix_connection(partial(_same, channel), str(self._address))
                except OSError:  # not there, or not yet
                    await asyncio.sleep(RECONNECT_S)
                    continue
                await self._lost.wait()
                self._connected.clear()
        finally:
            self._connected.clear()
            if self._channel is not None:
                self._channel.close()
            self._fail_waiting()

    async def reserve(
        self, call_id: str, agent: AgentSpec, *, expires_s: float = 30.0, timeout_s: float = 10.0
    ) -> Reserved:
        """Return once a worker is ready for the call; the reservation lapses by itself.

        Raises:
            ConfigError: the agent cannot be loaded; the sentence says why.
            WorkerFailed: its workers keep failing.
            DispatchError: no pool, or no answer within ``timeout_s``.
        """
        return await self._ask(
            lambda request_id: Reserve(
                request_id=request_id, call_id=call_id, agent=agent, expires_s=expires_s
            ),
            Reserved,
            timeout_s,
        )

    async def claim(
        self, call_id: str, agent: AgentSpec, *, attempt: int = 1, timeout_s: float = 15.0
    ) -> Reserved:
        """Return the worker that serves the call's stream; raises as ``reserve``."""
        return await self._ask(
            lambda request_id: Claim(
                request_id=request_id, call_id=call_id, agent=agent, attempt=attempt
            ),
            Reserved,
            timeout_s,
        )

    async def prepare(
        self, agent: AgentSpec, *, check_only: bool = False, timeout_s: float = 65.0
    ) -> list[str]:
        """Load the agent and return warnings for the person who saved it; raises as ``reserve``."""
        answer = await self._ask(
            lambda request_id: Prepare(request_id=request_id, agent=agent, check_only=check_only),
            Prepared,
            timeout_s,
        )
        return list(answer.warnings)

    async def state(self, *, timeout_s: float = 2.0) -> PoolState:
        """Return the pool's figures.

        Raises:
            DispatchError: no pool, or no answer within ``timeout_s``.
        """
        return await self._ask(
            lambda request_id: PoolStateRequest(request_id=request_id), PoolState, timeout_s
        )

    async def release(self, call_id: str, *, timeout_s: float = 2.0) -> None:
        """The call has no stream, or none any more. Not answered: a lost one lapses anyway.

        Raises:
            DispatchError: no pool within ``timeout_s``.
        """
        await self._tell(Release(call_id=call_id), timeout_s)

    async def forget(self, name: str, *, timeout_s: float = 2.0) -> None:
        """The agent is disabled or gone; raises as ``release``."""
        await self._tell(Forget(name=name), timeout_s)

    async def _tell(self, message: Message, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._connected.wait()
        except TimeoutError:
            raise DispatchError("the pool cannot be reached") from None
        if self._channel is not None:
            self._channel.send(message)

    async def _ask(
        self, new_request: Callable[[int], Message], expected: type[_Answer], timeout_s: float
    ) -> _Answer:
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    answer = await self._ask_once(new_request)
                    if isinstance(answer, expected):
                        return answer
                    if isinstance(answer, Refused):
                        raise _error(answer)
        except TimeoutError:
            away = "" if self.is_connected else ": it cannot be reached"
            raise DispatchError(f"the pool did not answer within {timeout_s:g} s{away}") from None

    async def _ask_once(self, new_request: Callable[[int], Message]) -> Message | None:
        """Return the answer, or None when the pool went away and must be asked again."""
        await self._connected.wait()
        if self._channel is None:
            return None
        request_id = next(self._request_ids)
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = answer
        try:
            self._channel.send(new_request(request_id))
            return await answer
        except ConnectionError:
            return None
        finally:
            del self._waiting[request_id]

    def _receive(self, message: Message) -> None:
        match message:
            case Hello():
                self._connected.set()
            case Reserved() | Prepared() | PoolState() | Refused():
                answer = self._waiting.get(message.request_id)
                if answer is not None and not answer.done():
                    answer.set_result(message)
            case _:
                log.warning("unexpected message", message=type(message).__name__)

    def _lose(self, error: Exception | None) -> None:
        log.warning("pool is lost", error=str(error or ""))
        self._connected.clear()
        self._lost.set()
        self._fail_waiting()

    def _fail_waiting(self) -> None:
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionError("pool is lost"))


def _same(channel: Channel) -> Channel:
    return channel


def _error(refused: Refused) -> ConfigError | DispatchError:
    match refused.code:
        case ConfigError.code:
            return ConfigError(refused.reason)
        case WorkerFailed.code:
            return WorkerFailed(refused.reason)
        case _:
            return DispatchError(refused.reason)
