"""What use cases need from outside: dispatch, gateways, time.

Wired in ``trunkline.app``, replaced whole in tests.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import httpx

from trunkline.calls.accounts import Accounts
from trunkline.calls.background import Background
from trunkline.calls.hub import EventHub
from trunkline.calls.nonces import NonceCache
from trunkline.calls.tokens import StreamTokens
from trunkline.calls.urls import PublicUrls
from trunkline.store.records import AgentRecord, Store

__all__ = ["Context", "Dispatcher", "Gateways", "new_call_id", "utc_now"]


class Dispatcher(Protocol):
    """Workers for calls (``trunkline.dispatch.pool_client``).

    Raises ``DispatchError`` or ``ConfigError``.
    """

    async def reserve(
        self, call_id: str, agent: AgentRecord, *, expires_s: float, timeout_s: float
    ) -> None:
        """Return once a worker is ready for the call.

        Idempotent per call.
        """
        ...

    async def release(self, call_id: str) -> None:
        """The call will have no stream after all."""
        ...

    async def forget(self, name: str) -> None:
        """The agent is disabled or gone: keep no worker warm for it."""
        ...

    async def prepare(self, agent: AgentRecord, *, check_only: bool, timeout_s: float) -> list[str]:
        """Load the agent; returns warnings for the person who saved it."""
        ...


class Gateways(Protocol):
    """Live calls on this machine's gateways."""

    def live_calls(self) -> Collection[str]:
        """Ids of calls that have a stream on a connected gateway."""
        ...

    def all_connected(self) -> bool:
        """False while a gateway's calls are unknown, so that nothing is taken for lost."""
        ...

    async def end_call(self, call_id: str, *, by: str, reason: str) -> bool:
        """Ask the gateway to end the call; False when no gateway has it."""
        ...

    async def drop_stream(self, call_id: str) -> bool:
        """Close the call's stream at once: the carrier has already ended the call."""
        ...


def utc_now() -> datetime:
    """The time now, in UTC."""
    return datetime.now(UTC)


def new_call_id() -> str:
    """UUID4 text: it is the bot's ``session_id`` as well."""
    return str(uuid4())


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Everything use cases work with."""

    store: Store
    accounts: Accounts
    http: httpx.AsyncClient
    dispatcher: Dispatcher
    gateways: Gateways
    tokens: StreamTokens
    urls: PublicUrls
    hub: EventHub
    background: Background
    nonces: NonceCache = field(default_factory=NonceCache)
    recordings_dir: Path
    max_calls: int
    is_draining: Callable[[], bool]
    now: Callable[[], datetime] = utc_now
    new_id: Callable[[], str] = new_call_id
