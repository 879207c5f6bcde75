"""Queries on API keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from .models import ApiKeyRow
from .records import ApiKeyRecord
from .rows import columns_of, count_changed, to_api_key

__all__ = ["create_api_key", "fetch_api_key", "fetch_api_keys", "revoke_api_key", "touch_api_key"]


async def create_api_key(session: AsyncSession, key: ApiKeyRecord) -> None:
    """A second key of the same id or digest is a ``Conflict``, by the table's constraints."""
    session.add(ApiKeyRow(**columns_of(key)))
    await session.flush()


async def fetch_api_key(session: AsyncSession, digest: str) -> ApiKeyRecord | None:
    """Return the valid key of that digest."""
    query = select(ApiKeyRow).where(ApiKeyRow.digest == digest, ApiKeyRow.revoked_at.is_(None))
    row = await session.scalar(query)
    return None if row is None else to_api_key(row)


async def fetch_api_keys(session: AsyncSession) -> Sequence[ApiKeyRecord]:
    """All, revoked ones too, oldest first."""
    rows = await session.scalars(select(ApiKeyRow).order_by(ApiKeyRow.created_at, ApiKeyRow.id))
    return [to_api_key(row) for row in rows]


async def revoke_api_key(session: AsyncSession, key_id: str, now: datetime) -> bool:
    """Return True when the key was valid until ``now``."""
    active = update(ApiKeyRow).where(ApiKeyRow.id == key_id, ApiKeyRow.revoked_at.is_(None))
    return await count_changed(session, active.values(revoked_at=now)) > 0


async def touch_api_key(session: AsyncSession, key_id: str, at: datetime) -> None:
    """Never moves the time back: two requests may report in either order."""
    earlier = or_(ApiKeyRow.last_used_at.is_(None), ApiKeyRow.last_used_at < at)
    await session.execute(
        update(ApiKeyRow).where(ApiKeyRow.id == key_id, earlier).values(last_used_at=at)
    )
