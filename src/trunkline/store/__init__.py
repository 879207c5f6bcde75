"""What Trunkline keeps: agents, calls, events, API keys and settings, on SQLite or PostgreSQL.

``Store`` is the contract, ``SqlStore`` the real thing, ``InMemoryStore`` its twin for tests.
"""

from __future__ import annotations

from .memory import InMemoryStore
from .records import (
    AgentKind,
    AgentRecord,
    ApiKeyRecord,
    CallFilter,
    CallPage,
    CallRecord,
    CarrierSettings,
    EventRecord,
    NewEvent,
    Overflow,
    OverflowAction,
    Role,
    SlotRequest,
    Store,
)
from .sql_store import SqlStore

__all__ = [
    "AgentKind",
    "AgentRecord",
    "ApiKeyRecord",
    "CallFilter",
    "CallPage",
    "CallRecord",
    "CarrierSettings",
    "EventRecord",
    "InMemoryStore",
    "NewEvent",
    "Overflow",
    "OverflowAction",
    "Role",
    "SlotRequest",
    "SqlStore",
    "Store",
]
