"""Queries on events."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from trunkline.errors import UnknownCall

from .models import CallRow, EventRow
from .records import EventRecord, NewEvent
from .rows import to_event
from .values import as_stored

__all__ = ["add_event", "append_event", "fetch_events", "is_done"]


async def is_done(session: AsyncSession, event: NewEvent) -> bool:
    """True when the call has an event of that key already. The caller holds the call's row."""
    if event.key is None:
        return False
    query = select(EventRow.id).where(EventRow.call_id == event.call_id, EventRow.key == event.key)
    return await session.scalar(query) is not None


async def add_event(session: AsyncSession, event: NewEvent) -> EventRecord | None:
    """Append unless its key is there; None then.

    The caller holds the call's row. So the events of one call are committed in the order of their
    ids, and a reader who goes on after the last id it saw misses none.
    """
    if await is_done(session, event):
        return None
    row = EventRow(
        call_id=event.call_id, kind=event.kind, at=event.at, data=event.data, key=event.key
    )
    session.add(row)
    await session.flush()
    return as_stored(to_event(row))


async def append_event(session: AsyncSession, event: NewEvent) -> EventRecord | None:
    """Raises ``UnknownCall``."""
    query = select(CallRow.id).where(CallRow.id == event.call_id).with_for_update(key_share=True)
    if await session.scalar(query) is None:
        raise UnknownCall(event.call_id)
    return await add_event(session, event)


async def fetch_events(
    session: AsyncSession, call_id: str, *, after_id: int, kinds: Sequence[str] | None, limit: int
) -> Sequence[EventRecord]:
    """In the order of their ids."""
    query = select(EventRow).where(EventRow.call_id == call_id, EventRow.id > after_id)
    if kinds is not None:
        query = query.where(EventRow.kind.in_(kinds))
    rows = await session.scalars(query.order_by(EventRow.id).limit(limit))
    return [to_event(row) for row in rows]
