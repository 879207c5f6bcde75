"""The store's twin in memory: the same contract without a database, for tests and trials.

Every method runs to its end without giving way to another task, so each is as atomic as a
transaction. What goes in and comes out shares nothing with the caller, and is what a database
would give back: JSON as lists and dicts, times in UTC.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import override

from trunkline.errors import Conflict, StoreUnavailable, UnknownAgent, UnknownCall
from trunkline.telephony.call import CallState

from .changes import OPEN_STATES, check_change
from .cursors import check_limit, decode_cursor, encode_cursor
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
from .slots import find_full_scope
from .values import as_stored, check_text, check_time

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["InMemoryStore"]

Record = TypeVar("Record", bound="DataclassInstance")


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _matches(call: CallRecord, where: CallFilter) -> bool:
    wanted = (
        (call.agent_name, where.agent_name),
        (call.carrier, where.carrier),
        (call.direction, where.direction),
        (call.from_number, where.from_number),
        (call.to_number, where.to_number),
    )
    return (
        all(value is None or found == value for found, value in wanted)
        and (not where.states or call.state in where.states)
        and (where.created_after is None or call.created_at >= where.created_after)
        and (where.created_before is None or call.created_at < where.created_before)
    )


class InMemoryStore(Store):
    """Implements ``Store``, whose docstrings are the contract."""

    def __init__(self, *, now: Callable[[], datetime] = _utc_now) -> None:
        """``now`` stamps agents and revoked keys."""
        self.is_available = True
        """Set to False to see how a caller bears a database that is away."""
        self._now = now
        self._agents: dict[str, AgentRecord] = {}
        self._calls: dict[str, CallRecord] = {}
        self._slots: dict[str, frozenset[str]] = {}
        self._events: list[EventRecord] = []
        self._event_keys: set[tuple[str, str]] = set()
        self._keys: dict[str, ApiKeyRecord] = {}
        self._carriers: dict[str, CarrierSettings] = {}
        self._settings: dict[str, str] = {}

    def _reach(self) -> None:
        if not self.is_available:
            raise StoreUnavailable("the database is not available (InMemoryStore)")

    @override
    async def check(self) -> None:
        self._reach()

    @override
    async def close(self) -> None:
        self.is_available = False

    # agents

    @override
    async def create_agent(self, agent: AgentRecord) -> AgentRecord:
        self._reach()
        if agent.name in self._agents:
            raise Conflict(f"there is already an agent named {agent.name!r}")
        now = self._now()
        created = as_stored(replace(agent, revision=1, created_at=now, updated_at=now))
        self._agents[agent.name] = created
        return as_stored(created)

    @override
    async def update_agent(self, agent: AgentRecord) -> AgentRecord:
        self._reach()
        old = self._agents.get(agent.name)
        if old is None:
            raise UnknownAgent(agent.name)
        updated = as_stored(
            replace(
                agent,
                revision=old.revision + 1,
                created_at=old.created_at,
                updated_at=self._now(),
            )
        )
        self._agents[agent.name] = updated
        return as_stored(updated)

    @override
    async def delete_agent(self, name: str) -> None:
        self._reach()
        if self._agents.pop(check_text(name), None) is None:
            raise UnknownAgent(name)

    @override
    async def fetch_agent(self, name: str) -> AgentRecord | None:
        self._reach()
        return _found(self._agents.get(check_text(name)))

    @override
    async def fetch_agents(self) -> Sequence[AgentRecord]:
        self._reach()
        return [as_stored(self._agents[name]) for name in sorted(self._agents)]

    # calls and slots

    @override
    async def admit_call(
        self, call: CallRecord, slots: Sequence[SlotRequest]
    ) -> tuple[CallRecord, bool]:
        self._reach()
        stored = as_stored(call)
        twin = self._find_twin(stored)
        if twin is not None:
            return as_stored(twin), False
        if call.id in self._calls:
            raise Conflict("there is already a call of that id")
        full = find_full_scope(call, slots, self._count())
        if full is not None:
            raise full
        self._calls[call.id] = stored
        self._slots[call.id] = frozenset(check_text(slot.scope) for slot in slots)
        return as_stored(stored), True

    def _find_twin(self, call: CallRecord) -> CallRecord | None:
        """The stored call that ``call`` asks for; the carrier's id decides first."""
        by_carrier = _first(
            other
            for other in self._calls.values()
            if call.carrier_call_id is not None and _carrier_id(other) == _carrier_id(call)
        )
        return by_carrier or _first(
            other
            for other in self._calls.values()
            if call.idempotency_key is not None and other.idempotency_key == call.idempotency_key
        )

    def _count(self) -> Counter[str]:
        return Counter(scope for scopes in self._slots.values() for scope in scopes)

    @override
    async def free_slots(self, call_id: str) -> bool:
        self._reach()
        return bool(self._slots.pop(check_text(call_id), None))

    @override
    async def count_slots(self) -> Mapping[str, int]:
        self._reach()
        return dict(self._count())

    @override
    async def fetch_call(self, call_id: str) -> CallRecord | None:
        self._reach()
        return _found(self._calls.get(check_text(call_id)))

    @override
    async def fetch_call_by_carrier_id(
        self, carrier: str, account_id: str, carrier_call_id: str
    ) -> CallRecord | None:
        self._reach()
        wanted = (check_text(carrier), check_text(account_id), check_text(carrier_call_id))
        return _found(_first(call for call in self._calls.values() if _carrier_id(call) == wanted))

    @override
    async def fetch_call_by_idempotency_key(self, key: str) -> CallRecord | None:
        self._reach()
        check_text(key)
        return _found(_first(call for call in self._calls.values() if call.idempotency_key == key))

    @override
    async def fetch_calls(
        self, where: CallFilter, *, limit: int, cursor: str | None = None
    ) -> CallPage:
        check_limit(limit)
        self._reach()
        found = [call for call in self._calls.values() if _matches(call, as_stored(where))]
        if cursor is not None:
            position = decode_cursor(cursor)
            after = (position.created_at, position.call_id)
            found = [call for call in found if (call.created_at, call.id) < after]
        found.sort(key=_age, reverse=True)
        page = [as_stored(call) for call in found[:limit]]
        return CallPage(
            calls=page, next_cursor=encode_cursor(page[-1]) if len(found) > limit else None
        )

    @override
    async def fetch_open_calls(self) -> Sequence[CallRecord]:
        self._reach()
        is_open = (
            call
            for call in self._calls.values()
            if call.state in OPEN_STATES or call.hangup_pending
        )
        return [as_stored(call) for call in sorted(is_open, key=_age)]

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
        self._reach()
        call = self._calls.get(check_text(call_id))
        if call is None or (only_if_state is not None and call.state not in only_if_state):
            return None
        if events and self._is_done(events[0]):
            return None
        values: dict[str, Any] = {**changes}
        changed = as_stored(replace(call, **values))
        prepared = [as_stored(event) for event in events]
        self._check_unique(changed)
        self._calls[call_id] = changed
        for event in prepared:
            self._append(event)
        return as_stored(changed)

    def _check_unique(self, changed: CallRecord) -> None:
        for other in self._calls.values():
            if other.id == changed.id:
                continue
            same_carrier_id = changed.carrier_call_id is not None and _carrier_id(
                other
            ) == _carrier_id(changed)
            same_key = (
                changed.idempotency_key is not None
                and other.idempotency_key == changed.idempotency_key
            )
            if same_carrier_id or same_key:
                raise Conflict("what is stored already contradicts the request")

    # events

    def _is_done(self, event: NewEvent) -> bool:
        return event.key is not None and (event.call_id, event.key) in self._event_keys

    def _append(self, event: NewEvent) -> EventRecord | None:
        if self._is_done(event):
            return None
        record = EventRecord(
            id=len(self._events) + 1,
            call_id=event.call_id,
            kind=event.kind,
            at=event.at,
            data=event.data,
        )
        self._events.append(record)
        if event.key is not None:
            self._event_keys.add((event.call_id, event.key))
        return as_stored(record)

    @override
    async def append_event(self, event: NewEvent) -> EventRecord | None:
        self._reach()
        prepared = as_stored(event)
        if event.call_id not in self._calls:
            raise UnknownCall(event.call_id)
        return self._append(prepared)

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
        self._reach()
        check_text(call_id)
        found = (
            event
            for event in self._events[max(after_id, 0) :]
            if event.call_id == call_id and (kinds is None or event.kind in kinds)
        )
        return [as_stored(event) for event, _ in zip(found, range(limit), strict=False)]

    # keys and settings

    @override
    async def create_api_key(self, key: ApiKeyRecord) -> None:
        self._reach()
        stored = as_stored(key)
        if key.id in self._keys or any(other.digest == key.digest for other in self._keys.values()):
            raise Conflict("what is stored already contradicts the request")
        self._keys[key.id] = stored

    @override
    async def fetch_api_key(self, digest: str) -> ApiKeyRecord | None:
        self._reach()
        check_text(digest)
        return _first(
            key for key in self._keys.values() if key.digest == digest and key.revoked_at is None
        )

    @override
    async def fetch_api_keys(self) -> Sequence[ApiKeyRecord]:
        self._reach()
        return sorted(self._keys.values(), key=lambda key: (key.created_at, key.id))

    @override
    async def revoke_api_key(self, key_id: str) -> bool:
        self._reach()
        key = self._keys.get(check_text(key_id))
        if key is None or key.revoked_at is not None:
            return False
        self._keys[key_id] = replace(key, revoked_at=check_time(self._now()))
        return True

    @override
    async def touch_api_key(self, key_id: str, at: datetime) -> None:
        self._reach()
        key = self._keys.get(check_text(key_id))
        if key is not None and (key.last_used_at is None or key.last_used_at < at):
            self._keys[key_id] = replace(key, last_used_at=check_time(at))

    @override
    async def fetch_carrier_settings(self) -> Sequence[CarrierSettings]:
        self._reach()
        return [self._carriers[name] for name in sorted(self._carriers)]

    @override
    async def save_carrier_settings(self, settings: CarrierSettings) -> None:
        self._reach()
        self._carriers[settings.carrier] = as_stored(settings)

    @override
    async def fetch_setting(self, name: str) -> str | None:
        self._reach()
        return self._settings.get(check_text(name))

    @override
    async def save_setting(self, name: str, value: str | None) -> None:
        self._reach()
        check_text(name)
        if value is None:
            self._settings.pop(name, None)
        else:
            self._settings[name] = check_text(value)


def _found(record: Record | None) -> Record | None:
    return None if record is None else as_stored(record)


def _first(records: Iterable[Record]) -> Record | None:
    return next(iter(records), None)


def _carrier_id(call: CallRecord) -> tuple[str, str, str | None]:
    return call.carrier, call.account_id, call.carrier_call_id


def _age(call: CallRecord) -> tuple[datetime, str]:
    return call.created_at, call.id
