"""Stores for tests, one behaviour for all: in memory, on SQLite and on a real PostgreSQL.

Import the fixtures into a ``conftest.py``, with those of ``tests.support.postgres``.
"""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from trunkline.store import CallRecord, InMemoryStore, NewEvent, SlotRequest, SqlStore, Store
from trunkline.store.engine import parse_database_url
from trunkline.store.schema import upgrade
from trunkline.telephony.call import CallState, Direction

__all__ = [
    "NOON",
    "admitted",
    "make_call",
    "make_event",
    "migrated_sqlite",
    "sql_store",
    "sql_url",
    "sqlite_template",
    "store",
    "store_url",
]

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database file with the schema, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    asyncio.run(upgrade(parse_database_url(f"sqlite+aiosqlite:///{path}")))
    return path


@pytest.fixture
def migrated_sqlite(sqlite_template: Path, tmp_path: Path) -> str:
    """Return the URL of a new file that has the schema and no rows."""
    path = tmp_path / "trunkline.db"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite+aiosqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def sql_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of a migrated, empty database."""
    fixture = {"sqlite": "migrated_sqlite", "postgresql": "migrated_postgres"}[request.param]
    return request.getfixturevalue(fixture)


@pytest.fixture
async def sql_store(sql_url: str) -> AsyncIterator[SqlStore]:
    """Yield a store on each database."""
    opened = await SqlStore.open(sql_url)
    yield opened
    await opened.close()


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str | None:
    """Return the URL of a migrated, empty database; None: in memory."""
    fixture = {"sqlite": "migrated_sqlite", "postgresql": "migrated_postgres"}.get(request.param)
    return None if fixture is None else request.getfixturevalue(fixture)


@pytest.fixture
async def store(store_url: str | None) -> AsyncIterator[Store]:
    """Yield each implementation of the contract."""
    opened: Store = InMemoryStore() if store_url is None else await SqlStore.open(store_url)
    yield opened
    await opened.close()


def make_call(**changes: object) -> CallRecord:
    """Return an inbound call of its own id, ringing since noon."""
    values: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "carrier": "acme",
        "account_id": "AC1",
        "direction": Direction.INBOUND,
        "agent_name": "front-desk",
        "from_number": "+14155550100",
        "to_number": "+14155550111",
        "state": CallState.RINGING,
        "created_at": NOON,
        **changes,
    }
    return CallRecord(**values)


def make_event(call_id: str, kind: str = "noted", **changes: object) -> NewEvent:
    """Return an event at noon."""
    values: dict[str, Any] = {"call_id": call_id, "kind": kind, "at": NOON, **changes}
    return NewEvent(**values)


async def admitted(store: Store, *scopes: str, **changes: object) -> CallRecord:
    """Return a new call that the store has admitted, with a slot in each of ``scopes``."""
    slots = [SlotRequest(scope=scope, limit=None) for scope in scopes]
    call, is_new = await store.admit_call(make_call(**changes), slots)
    assert is_new
    return call
