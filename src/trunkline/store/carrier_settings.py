"""Queries on stored settings: those of carriers, and single texts by name."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from .locks import take_locks
from .models import CarrierSettingsRow, SettingRow
from .records import CarrierSettings
from .rows import columns_of, to_carrier_settings

__all__ = ["fetch_carrier_settings", "fetch_setting", "save_carrier_settings", "save_setting"]


async def fetch_carrier_settings(session: AsyncSession) -> Sequence[CarrierSettings]:
    """All, by carrier."""
    rows = await session.scalars(select(CarrierSettingsRow))
    return sorted((to_carrier_settings(row) for row in rows), key=lambda settings: settings.carrier)


async def save_carrier_settings(session: AsyncSession, settings: CarrierSettings) -> None:
    """Replace the carrier's row, or make it."""
    await take_locks(session, [f"carrier-settings:{settings.carrier}"])
    await session.merge(CarrierSettingsRow(**columns_of(settings)))


async def fetch_setting(session: AsyncSession, name: str) -> str | None:
    """Return the text stored under ``name``."""
    return await session.scalar(select(SettingRow.value).where(SettingRow.name == name))


async def save_setting(session: AsyncSession, name: str, value: str | None) -> None:
    """Set the text, or remove it when it is None."""
    await take_locks(session, [f"setting:{name}"])
    if value is None:
        await session.execute(delete(SettingRow).where(SettingRow.name == name))
    else:
        await session.merge(SettingRow(name=name, value=value))
