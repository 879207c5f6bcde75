"""Queries on agents."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from trunkline.errors import Conflict, UnknownAgent

from .locks import take_locks
from .models import AgentRow
from .records import AgentRecord
from .rows import agent_columns, count_changed, to_agent
from .values import as_stored

__all__ = ["create_agent", "delete_agent", "fetch_agent", "fetch_agents", "update_agent"]


async def create_agent(session: AsyncSession, agent: AgentRecord, now: datetime) -> AgentRecord:
    """Raises ``Conflict`` when the name is taken."""
    await take_locks(session, [f"agent-row:{agent.name}"])
    if await session.get(AgentRow, agent.name) is not None:
        raise Conflict(f"there is already an agent named {agent.name!r}")
    row = AgentRow(**agent_columns(agent), revision=1, created_at=now, updated_at=now)
    session.add(row)
    await session.flush()
    return as_stored(to_agent(row))


async def update_agent(session: AsyncSession, agent: AgentRecord, now: datetime) -> AgentRecord:
    """Raises ``UnknownAgent``."""
    row = await session.get(AgentRow, agent.name, with_for_update=True)
    if row is None:
        raise UnknownAgent(agent.name)
    for name, value in agent_columns(agent).items():
        setattr(row, name, value)
    row.revision += 1
    row.updated_at = now
    await session.flush()
    return as_stored(to_agent(row))


async def delete_agent(session: AsyncSession, name: str) -> None:
    """Raises ``UnknownAgent``."""
    if not await count_changed(session, delete(AgentRow).where(AgentRow.name == name)):
        raise UnknownAgent(name)


async def fetch_agent(session: AsyncSession, name: str) -> AgentRecord | None:
    """Return the agent of that name, enabled or not."""
    row = await session.get(AgentRow, name)
    return None if row is None else to_agent(row)


async def fetch_agents(session: AsyncSession) -> Sequence[AgentRecord]:
    """All, by name."""
    # Sorted here: PostgreSQL's order depends on its locale, and may pass over hyphens.
    rows = await session.scalars(select(AgentRow))
    return sorted((to_agent(row) for row in rows), key=lambda agent: agent.name)
