"""Queries on calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, and_, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from trunkline.telephony.call import CallState

from .changes import OPEN_STATES
from .cursors import decode_cursor, encode_cursor
from .events import add_event, is_done
from .locks import take_locks
from .models import CallRow
from .records import CallFilter, CallPage, CallRecord, NewEvent, SlotRequest
from .rows import columns_of, to_call
from .slots import check_slots, slot_lock, take_slots
from .values import as_stored

__all__ = [
    "admit_call",
    "change_call",
    "fetch_call",
    "fetch_call_by_carrier_id",
    "fetch_call_by_idempotency_key",
    "fetch_calls",
    "fetch_open_calls",
]


def _same_call(call: CallRecord) -> list[ColumnElement[bool]]:
    """Conditions under which a stored call is the one that ``call`` asks for."""
    conditions: list[ColumnElement[bool]] = []
    if call.carrier_call_id is not None:
        conditions.append(_has_carrier_id(call.carrier, call.account_id, call.carrier_call_id))
    if call.idempotency_key is not None:
        conditions.append(CallRow.idempotency_key == call.idempotency_key)
    return conditions


def _has_carrier_id(carrier: str, account_id: str, carrier_call_id: str) -> ColumnElement[bool]:
    return and_(
        CallRow.carrier == carrier,
        CallRow.account_id == account_id,
        CallRow.carrier_call_id == carrier_call_id,
    )


def _locks(call: CallRecord, slots: Sequence[SlotRequest]) -> list[str]:
    names = [slot_lock(slot.scope) for slot in slots]
    names.append(f"call:{call.id}")
    if call.carrier_call_id is not None:
        names.append(f"carrier-call:{call.carrier}:{call.account_id}:{call.carrier_call_id}")
    if call.idempotency_key is not None:
        names.append(f"idempotency-key:{call.idempotency_key}")
    return names


async def admit_call(
    session: AsyncSession, call: CallRecord, slots: Sequence[SlotRequest]
) -> tuple[CallRecord, bool]:
    """Write the call and take its slots; see ``Store.admit_call``.

    Locks first: a twin of this call that took the last slot has to be found, not refused.

    Raises:
        NoFreeSlot: a scope is full.
        Conflict: there is another call of that id.
    """
    await take_locks(session, _locks(call, slots))
    for condition in _same_call(call):
        row = await session.scalar(select(CallRow).where(condition))
        if row is not None:
            return to_call(row), False
    await check_slots(session, call, slots)
    session.add(CallRow(**columns_of(call)))
    await session.flush()  # before the slots, which refer to it
    await take_slots(session, call.id, slots)
    return as_stored(call), True


async def fetch_call(session: AsyncSession, call_id: str) -> CallRecord | None:
    """Return the call of our id."""
    row = await session.get(CallRow, call_id)
    return None if row is None else to_call(row)


async def fetch_call_by_carrier_id(
    session: AsyncSession, carrier: str, account_id: str, carrier_call_id: str
) -> CallRecord | None:
    """Return the call that the account's carrier knows by that id."""
    row = await session.scalar(
        select(CallRow).where(_has_carrier_id(carrier, account_id, carrier_call_id))
    )
    return None if row is None else to_call(row)


async def fetch_call_by_idempotency_key(session: AsyncSession, key: str) -> CallRecord | None:
    """Return the call that was admitted with that key."""
    row = await session.scalar(select(CallRow).where(CallRow.idempotency_key == key))
    return None if row is None else to_call(row)


def _conditions(where: CallFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    for column, value in (
        (CallRow.agent_name, where.agent_name),
        (CallRow.carrier, where.carrier),
        (CallRow.direction, where.direction),
        (CallRow.from_number, where.from_number),
        (CallRow.to_number, where.to_number),
    ):
        if value is not None:
            conditions.append(column == value)
    if where.states:
        conditions.append(CallRow.state.in_(where.states))
    if where.created_after is not None:
        conditions.append(CallRow.created_at >= where.created_after)
    if where.created_before is not None:
        conditions.append(CallRow.created_at < where.created_before)
    return conditions


async def fetch_calls(
    session: AsyncSession, where: CallFilter, *, limit: int, cursor: str | None
) -> CallPage:
    """One page; see ``Store.fetch_calls``.

    Reads one row more than asked for, which tells whether there is a next page.
    """
    query = select(CallRow).where(*_conditions(where))
    if cursor is not None:
        position = decode_cursor(cursor)
        query = query.where(
            tuple_(CallRow.created_at, CallRow.id) < tuple_(position.created_at, position.call_id)
        )
    newest_first = query.order_by(CallRow.created_at.desc(), CallRow.id.desc()).limit(limit + 1)
    calls = [to_call(row) for row in await session.scalars(newest_first)]
    page = calls[:limit]
    return CallPage(calls=page, next_cursor=encode_cursor(page[-1]) if len(calls) > limit else None)


async def fetch_open_calls(session: AsyncSession) -> Sequence[CallRecord]:
    """Oldest first."""
    is_open = or_(CallRow.state.in_(OPEN_STATES), CallRow.hangup_pending)
    rows = await session.scalars(
        select(CallRow).where(is_open).order_by(CallRow.created_at, CallRow.id)
    )
    return [to_call(row) for row in rows]


async def change_call(
    session: AsyncSession,
    call_id: str,
    changes: Mapping[str, object],
    *,
    events: Sequence[NewEvent],
    only_if_state: Sequence[CallState] | None,
) -> CallRecord | None:
    """Set fields and append events; see ``Store.change_call``.

    The call's row is locked, so changes of one call follow one another.
    """
    # FOR NO KEY UPDATE: the key stays as it is, so rows that refer to this one need not wait.
    row = await session.get(CallRow, call_id, with_for_update={"key_share": True})
    if row is None or (only_if_state is not None and row.state not in only_if_state):
        return None
    if events and await is_done(session, events[0]):
        return None
    for name, value in changes.items():
        setattr(row, name, value)
    await session.flush()
    for event in events:
        await add_event(session, event)
    return as_stored(to_call(row))
