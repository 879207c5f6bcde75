"""The store on SQLite or PostgreSQL: each method is one transaction around one query function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import select
from typing_extensions import override

from trunkline.telephony.call import CallState

from . import agents, calls, carrier_settings, keys
from . import events as event_queries
from . import slots as slot_queries
from .changes import check_change
from .cursors import check_limit
from .engine import BUSY_TIMEOUT_S, Database, open_database, parse_database_url
from .records import (
    AgentRecord,
    ApiKeyRecord,
    CallFilter,
    CallPage,
    CallRecord,
    CarrierSettings,
    EventRecord,
    NewEvent,
    SlotRequest,
    Store,
)
from .schema import check_current

__all__ = ["SqlStore", "utc_now"]


def utc_now() -> datetime:
    """Return this moment; the clock of stores that are not given another."""
    return datetime.now(UTC)


class SqlStore(Store):
    """Implements ``Store``, whose docstrings are the contract."""

    def __init__(self, database: Database, *, now: Callable[[], datetime] = utc_now) -> None:
        """Take over ``database``. ``now`` stamps agents and revoked keys."""
        self._database = database
        self._now = now

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        now: Callable[[], datetime] = utc_now,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
    ) -> SqlStore:
        """Connect to a migrated database.

        Args:
            url: As ``Settings.effective_database_url``.
            now: The clock.
            busy_timeout_s: How long SQLite waits for another process, in seconds.

        Raises:
            ConfigError: the URL cannot be used, or the schema is not this version's.
            StoreUnavailable: the database is away.
        """
        database = open_database(parse_database_url(url), busy_timeout_s=busy_timeout_s)
        try:
            await check_current(database.writer)
        except BaseException:
            await database.close()
            raise
        return cls(database, now=now)

    @override
    async def check(self) -> None:
        async with self._database.read() as session:
            await session.execute(select(1))

    @override
    async def close(self) -> None:
        await self._database.close()

    # agents

    @override
    async def create_agent(self, agent: AgentRecord) -> AgentRecord:
        async with self._database.write() as session:
            return await agents.create_agent(session, agent, self._now())

    @override
    async def update_agent(self, agent: AgentRecord) -> AgentRecord:
        async with self._database.write() as session:
            return await agents.update_agent(session, agent, self._now())

    @override
    async def delete_agent(self, name: str) -> None:
        async with self._database.write() as session:
            await agents.delete_agent(session, name)

    @override
    async def fetch_agent(self, name: str) -> AgentRecord | None:
        async with self._database.read() as session:
            return await agents.fetch_agent(session, name)

    @override
    async def fetch_agents(self) -> Sequence[AgentRecord]:
        async with self._database.read() as session:
            return await agents.fetch_agents(session)

    # calls and slots

    @override
    async def admit_call(
        self, call: CallRecord, slots: Sequence[SlotRequest]
    ) -> tuple[CallRecord, bool]:
        async with self._database.write() as session:
            return await calls.admit_call(session, call, slots)

    @override
    async def free_slots(self, call_id: str) -> bool:
        async with self._database.write() as session:
            return await slot_queries.free_slots(session, call_id)

    @override
    async def count_slots(self) -> Mapping[str, int]:
        async with self._database.read() as session:
            return await slot_queries.count_slots(session)

    @override
    async def fetch_call(self, call_id: str) -> CallRecord | None:
        async with self._database.read() as session:
            return await calls.fetch_call(session, call_id)

    @override
    async def fetch_call_by_carrier_id(
        self, carrier: str, account_id: str, carrier_call_id: str
    ) -> CallRecord | None:
        async with self._database.read() as session:
            return await calls.fetch_call_by_carrier_id(
                session, carrier, account_id, carrier_call_id
            )

    @override
    async def fetch_call_by_idempotency_key(self, key: str) -> CallRecord | None:
        async with self._database.read() as session:
            return await calls.fetch_call_by_idempotency_key(session, key)

    @override
    async def fetch_calls(
        self, where: CallFilter, *, limit: int, cursor: str | None = None
    ) -> CallPage:
        check_limit(limit)
        async with self._database.read() as session:
            return await calls.fetch_calls(session, where, limit=limit, cursor=cursor)

    @override
    async def fetch_open_calls(self) -> Sequence[CallRecord]:
        async with self._database.read() as session:
            return await calls.fetch_open_calls(session)

    @override
    async def change_call(
        self,
        call_id: str,
        changes: Mapping[str, object],
        *,
        events: Sequence[NewEvent] = (),
        only_if_state: Sequence[CallState] | None = None,
    ) -> CallRecord | None:
        check_change(call_id, changes, events)
        async with self._database.write() as session:
            return await calls.change_call(
                session, call_id, changes, events=events, only_if_state=only_if_state
            )

    # events

    @override
    async def append_event(self, event: NewEvent) -> EventRecord | None:
        async with self._database.write() as session:
            return await event_queries.append_event(session, event)

    @override
    async def fetch_events(
        self,
        call_id: str,
        *,
        after_id: int = 0,
        kinds: Sequence[str] | None = None,
        limit: int = 1000,
    ) -> Sequence[EventRecord]:
        check_limit(limit)
        async with self._database.read() as session:
            return await event_queries.fetch_events(
                session, call_id, after_id=after_id, kinds=kinds, limit=limit
            )

    # keys and settings

    @override
    async def create_api_key(self, key: ApiKeyRecord) -> None:
        async with self._database.write() as session:
            await keys.create_api_key(session, key)

    @override
    async def fetch_api_key(self, digest: str) -> ApiKeyRecord | None:
        async with self._database.read() as session:
            return await keys.fetch_api_key(session, digest)

    @override
    async def fetch_api_keys(self) -> Sequence[ApiKeyRecord]:
        async with self._database.read() as session:
            return await keys.fetch_api_keys(session)

    @override
    async def revoke_api_key(self, key_id: str) -> bool:
        async with self._database.write() as session:
            return await keys.revoke_api_key(session, key_id, self._now())

    @override
    async def touch_api_key(self, key_id: str, at: datetime) -> None:
        async with self._database.write() as session:
            await keys.touch_api_key(session, key_id, at)

    @override
    async def fetch_carrier_settings(self) -> Sequence[CarrierSettings]:
        async with self._database.read() as session:
            return await carrier_settings.fetch_carrier_settings(session)

    @override
    async def save_carrier_settings(self, settings: CarrierSettings) -> None:
        async with self._database.write() as session:
            await carrier_settings.save_carrier_settings(session, settings)

    @override
    async def fetch_setting(self, name: str) -> str | None:
        async with self._database.read() as session:
            return await carrier_settings.fetch_setting(session, name)

    @override
    async def save_setting(self, name: str, value: str | None) -> None:
        async with self._database.write() as session:
            await carrier_settings.save_setting(session, name, value)
