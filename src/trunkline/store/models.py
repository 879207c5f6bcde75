"""Tables of the store, typed. Only this package sees them: everybody else gets the records.

Columns bear the names of the records' fields, so that ``rows.py`` can turn one into the other. A
change here needs a revision in ``migrations/versions``; a test compares the two on both databases.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Double,
    Enum,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator, TypeEngine
from typing_extensions import override

from trunkline.telephony.call import CallState, Direction, EndedBy, EndReason

from .records import AgentKind, OverflowAction, Role
from .values import check_text, check_time, dump_json

__all__ = [
    "METADATA",
    "AgentRow",
    "ApiKeyRow",
    "CallRow",
    "CarrierSettingsRow",
    "EventRow",
    "SettingRow",
    "SlotRow",
    "StoreRow",
]

# Every constraint has a name, which Alembic needs to change it later: SQLite's batch mode cannot
# drop a nameless one.
METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcTime(TypeDecorator[datetime]):
    """A moment in UTC: ``timestamptz`` on PostgreSQL, ISO text without offset on SQLite."""

    impl = DateTime(timezone=True)
    cache_ok = True

    @override
    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        utc = check_time(value)
        # SQLite orders times as text, which only works when none of them carries an offset.
        return utc if dialect.name == "postgresql" else utc.replace(tzinfo=None)

    @override
    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Words(TypeDecorator[str]):
    """Text that both databases can hold: PostgreSQL refuses NUL, so SQLite has to as well."""

    impl = Text
    cache_ok = True

    @override
    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else check_text(value)


class Json(TypeDecorator[object]):
    """Any JSON value, exactly as it came; None is NULL.

    PostgreSQL: ``json``, not ``jsonb``, which orders keys anew and refuses an escaped NUL. SQLite:
    text, since a column declared JSON has numeric affinity there and rounds a lone number.
    """

    impl = Text
    cache_ok = True

    @override
    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(JSON(none_as_null=True))
        return dialect.type_descriptor(Text())

    @override
    def process_bind_param(self, value: object, dialect: Dialect) -> object:
        return value if value is None or dialect.name == "postgresql" else dump_json(value)

    @override
    def process_result_value(self, value: Any, dialect: Dialect) -> object:
        return value if value is None or dialect.name == "postgresql" else json.loads(value)


def _values(kind: type[StrEnum]) -> Sequence[str]:
    return [member.value for member in kind]


def _enum(kind: type[StrEnum]) -> Enum:
    """The member's value as text without a CHECK: a new member must not need a migration."""
    return Enum(
        kind, native_enum=False, create_constraint=False, length=32, values_callable=_values
    )


class StoreRow(DeclarativeBase):
    """Base of all tables."""

    metadata = METADATA


class AgentRow(StoreRow):
    """A named bot configuration."""

    __tablename__ = "agents"

    name: Mapped[str] = mapped_column(Words, primary_key=True)
    kind: Mapped[AgentKind] = mapped_column(_enum(AgentKind))
    enabled: Mapped[bool]
    pipeline: Mapped[object | None] = mapped_column(Json)
    module: Mapped[str | None] = mapped_column(Words)
    present_as: Mapped[str | None] = mapped_column(Words)
    overflow_action: Mapped[OverflowAction] = mapped_column(_enum(OverflowAction))
    overflow_message: Mapped[str | None] = mapped_column(Words)
    overflow_number: Mapped[str | None] = mapped_column(Words)
    max_concurrent_calls: Mapped[int | None]
    max_duration_s: Mapped[int]
    silence_timeout_s: Mapped[int]
    record: Mapped[bool]
    caller_lookup: Mapped[bool]
    warm: Mapped[int | None]
    max_loop_block_s: Mapped[float] = mapped_column(Double)
    revision: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    updated_at: Mapped[datetime] = mapped_column(UtcTime)


class CallRow(StoreRow):
    """One leg at one carrier. Rows stay: they are the record."""

    __tablename__ = "calls"
    # Both constraints pass over NULL: a call that is not dialled yet has no carrier_call_id.
    __table_args__ = (
        UniqueConstraint("carrier", "account_id", "carrier_call_id"),
        UniqueConstraint("idempotency_key"),
        Index(None, "created_at", "id"),
        Index(None, "agent_name", "created_at"),
        Index(None, "state"),
        Index(None, "hangup_pending"),
    )

    id: Mapped[str] = mapped_column(Words, primary_key=True)
    carrier: Mapped[str] = mapped_column(Words)
    account_id: Mapped[str] = mapped_column(Words)
    carrier_call_id: Mapped[str | None] = mapped_column(Words)
    direction: Mapped[Direction] = mapped_column(_enum(Direction))
    agent_name: Mapped[str] = mapped_column(Words)
    from_number: Mapped[str] = mapped_column(Words)
    to_number: Mapped[str] = mapped_column(Words)
    state: Mapped[CallState] = mapped_column(_enum(CallState))
    body: Mapped[object | None] = mapped_column(Json)
    idempotency_key: Mapped[str | None] = mapped_column(Words)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    answered_at: Mapped[datetime | None] = mapped_column(UtcTime)
    stream_started_at: Mapped[datetime | None] = mapped_column(UtcTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcTime)
    duration_s: Mapped[float | None] = mapped_column(Double)
    ended_by: Mapped[EndedBy | None] = mapped_column(_enum(EndedBy))
    end_reason: Mapped[EndReason | None] = mapped_column(_enum(EndReason))
    answered_by: Mapped[str | None] = mapped_column(Words)
    last_sequence: Mapped[int | None] = mapped_column(BigInteger)
    recording_path: Mapped[str | None] = mapped_column(Words)
    stats: Mapped[object] = mapped_column(Json)
    error: Mapped[str | None] = mapped_column(Words)
    hangup_pending: Mapped[bool]
    raw: Mapped[object] = mapped_column(Json)


class SlotRow(StoreRow):
    """A call's place in one scope. Counting rows cannot drift away as a counter could."""

    __tablename__ = "slots"
    __table_args__ = (Index(None, "scope"),)

    call_id: Mapped[str] = mapped_column(ForeignKey("calls.id"), primary_key=True)
    scope: Mapped[str] = mapped_column(Words, primary_key=True)


class EventRow(StoreRow):
    """What happened to a call. AUTOINCREMENT: an id is never given twice, even after a removal."""

    __tablename__ = "events"
    __table_args__ = (
        UniqueConstraint("call_id", "key"),
        Index(None, "call_id", "id"),
        {"sqlite_autoincrement": True},
    )

    # SQLite counts up only in a column declared INTEGER, which holds 64 bits there.
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    call_id: Mapped[str] = mapped_column(ForeignKey("calls.id"))
    kind: Mapped[str] = mapped_column(Words)
    at: Mapped[datetime] = mapped_column(UtcTime)
    data: Mapped[object] = mapped_column(Json)
    key: Mapped[str | None] = mapped_column(Words)


class ApiKeyRow(StoreRow):
    """Who may use the API; the key itself is nowhere stored."""

    __tablename__ = "api_keys"
    __table_args__ = (UniqueConstraint("digest"),)

    id: Mapped[str] = mapped_column(Words, primary_key=True)
    name: Mapped[str] = mapped_column(Words)
    role: Mapped[Role] = mapped_column(_enum(Role))
    digest: Mapped[str] = mapped_column(Words)
    created_at: Mapped[datetime] = mapped_column(UtcTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcTime)


class CarrierSettingsRow(StoreRow):
    """What the settings API says about a carrier."""

    __tablename__ = "carrier_settings"

    carrier: Mapped[str] = mapped_column(Words, primary_key=True)
    credentials: Mapped[bytes | None] = mapped_column(LargeBinary)
    max_concurrent_calls: Mapped[int | None]


class SettingRow(StoreRow):
    """Settings that are one text each, such as the default carrier."""

    __tablename__ = "settings"

    name: Mapped[str] = mapped_column(Words, primary_key=True)
    value: Mapped[str] = mapped_column(Words)
