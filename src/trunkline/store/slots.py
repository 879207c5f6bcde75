"""Queries on slots: which calls hold a place in which scope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from trunkline.errors import NoFreeSlot

from .models import SlotRow
from .records import CallRecord, SlotRequest
from .rows import count_changed

__all__ = ["check_slots", "count_slots", "find_full_scope", "free_slots", "slot_lock", "take_slots"]


def slot_lock(scope: str) -> str:
    """Name of the lock that every taker of a slot in ``scope`` holds."""
    return f"slots:{scope}"


def find_full_scope(
    call: CallRecord, requests: Sequence[SlotRequest], in_use: Mapping[str, int]
) -> NoFreeSlot | None:
    """The error for the first scope, in the order asked for, that has reached its limit."""
    for request in requests:
        used = in_use.get(request.scope, 0)
        if request.limit is not None and used >= request.limit:
            return NoFreeSlot(
                scope=request.scope, limit=request.limit, in_use=used, carrier=call.carrier
            )
    return None


async def check_slots(
    session: AsyncSession, call: CallRecord, requests: Sequence[SlotRequest]
) -> None:
    """Return if every scope has a free slot. The caller holds their locks, so it stays free.

    Raises:
        NoFreeSlot: a scope is full.
    """
    scopes = {request.scope for request in requests}
    full = find_full_scope(call, requests, await count_slots(session, scopes))
    if full is not None:
        raise full


async def take_slots(session: AsyncSession, call_id: str, requests: Sequence[SlotRequest]) -> None:
    """Take one slot in every scope, each of which was just checked."""
    scopes = sorted({request.scope for request in requests})
    session.add_all(SlotRow(call_id=call_id, scope=scope) for scope in scopes)
    await session.flush()


async def free_slots(session: AsyncSession, call_id: str) -> bool:
    """Return True when the call held some."""
    return await count_changed(session, delete(SlotRow).where(SlotRow.call_id == call_id)) > 0


async def count_slots(session: AsyncSession, scopes: set[str] | None = None) -> Mapping[str, int]:
    """Scope → slots in use, of ``scopes`` or of all; scopes without any are left out."""
    query = select(SlotRow.scope, func.count()).group_by(SlotRow.scope)
    if scopes is not None:
        query = query.where(SlotRow.scope.in_(scopes))
    rows = await session.execute(query)
    return {row[0]: row[1] for row in rows}
