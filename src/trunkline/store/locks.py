"""Named locks that last to the end of the transaction, so that check-then-write is exact."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

__all__ = ["lock_key", "take_locks"]


def lock_key(name: str) -> int:
    """Return a signed 64-bit number for PostgreSQL's advisory locks.

    Two names of one number only wait for each other.
    """
    return int.from_bytes(
        hashlib.sha256(name.encode(errors="surrogatepass")).digest()[:8], signed=True
    )


async def take_locks(session: AsyncSession, names: Iterable[str]) -> None:
    """Wait until no other transaction holds any of ``names``; commit or rollback releases them.

    PostgreSQL: advisory locks, always in the order of their numbers, so that two transactions
    cannot wait for each other. SQLite: BEGIN IMMEDIATE, which connecting does, locks everybody out.
    """
    connection = await session.connection()
    if connection.dialect.name != "postgresql":
        return
    for key in sorted({lock_key(name) for name in names}):
        await session.execute(select(func.pg_advisory_xact_lock(key)))
