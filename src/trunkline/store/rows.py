"""Rows to records and back. Fields and columns have the same names; what differs is here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Delete, Update
from sqlalchemy.ext.asyncio import AsyncSession

from .models import AgentRow, ApiKeyRow, CallRow, CarrierSettingsRow, EventRow, StoreRow
from .records import AgentRecord, ApiKeyRecord, CallRecord, CarrierSettings, EventRecord, Overflow

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = [
    "agent_columns",
    "columns_of",
    "count_changed",
    "to_agent",
    "to_api_key",
    "to_call",
    "to_carrier_settings",
    "to_event",
]

Record = TypeVar("Record", bound="DataclassInstance")


def columns_of(record: DataclassInstance) -> dict[str, Any]:
    """The record's fields by name, not copied deeply (as ``dataclasses.asdict`` would)."""
    return {field.name: getattr(record, field.name) for field in fields(record)}


async def count_changed(session: AsyncSession, statement: Delete | Update) -> int:
    """Execute and return the number of rows; RETURNING would need SQLite 3.35."""
    connection = await session.connection()
    return (await connection.execute(statement)).rowcount


def _record(kind: type[Record], row: StoreRow) -> Record:
    values: Mapping[str, Any] = {field.name: getattr(row, field.name) for field in fields(kind)}
    return kind(**values)


def to_call(row: CallRow) -> CallRecord:
    """Return the record of a call's row."""
    return _record(CallRecord, row)


def to_event(row: EventRow) -> EventRecord:
    """Return the record of an event's row."""
    return _record(EventRecord, row)


def to_api_key(row: ApiKeyRow) -> ApiKeyRecord:
    """Return the record of a key's row."""
    return _record(ApiKeyRecord, row)


def to_carrier_settings(row: CarrierSettingsRow) -> CarrierSettings:
    """Return the record of a carrier's row."""
    return _record(CarrierSettings, row)


def to_agent(row: AgentRow) -> AgentRecord:
    """Return the record of an agent's row; its overflow is three columns."""
    values: dict[str, Any] = {
        field.name: getattr(row, field.name)
        for field in fields(AgentRecord)
        if field.name != "overflow"
    }
    overflow = Overflow(
        action=row.overflow_action, message=row.overflow_message, number=row.overflow_number
    )
    return AgentRecord(**values, overflow=overflow)


def agent_columns(agent: AgentRecord) -> dict[str, Any]:
    """Columns that a user sets; revision and times are the store's."""
    values = columns_of(agent)
    for name in ("overflow", "revision", "created_at", "updated_at"):
        del values[name]
    overflow = agent.overflow
    return {
        **values,
        "overflow_action": overflow.action,
        "overflow_message": overflow.message,
        "overflow_number": overflow.number,
    }
