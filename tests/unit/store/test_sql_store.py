from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from datetime import UTC, timedelta
from pathlib import Path

import pytest

from tests.support.descriptors import open_descriptors
from tests.support.stores import NOON, admitted
from tests.support.waiting import eventually
from trunkline.errors import ConfigError, StoreUnavailable
from trunkline.store import AgentKind, AgentRecord, CallRecord, SqlStore, Store
from trunkline.store.sql_store import utc_now


async def test_the_store_of_a_database_without_schema_does_not_open(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="migrate"):
        await SqlStore.open(f"sqlite:///{tmp_path / 'empty.db'}")


async def test_the_store_of_a_database_that_is_away_does_not_open(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        await SqlStore.open(f"postgresql://u@/d?host={tmp_path}")
    with pytest.raises(StoreUnavailable):
        await SqlStore.open(f"sqlite:///{tmp_path / 'no' / 'folder.db'}")


async def test_the_check_asks_the_database(store: Store) -> None:
    await store.check()


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


async def test_the_check_notices_that_the_database_went_away(
    tmp_path: Path, migrated_sqlite: str
) -> None:
    opened = await SqlStore.open(migrated_sqlite, busy_timeout_s=0.1)
    path = Path(migrated_sqlite.removeprefix("sqlite+aiosqlite:///"))
    await opened.close()
    replace_by_folder(path)

    with pytest.raises(StoreUnavailable):
        await opened.check()


async def test_rows_outlive_the_store(sql_url: str) -> None:
    first = await SqlStore.open(sql_url)
    call = await admitted(first, "machine", body={"a": 1})
    await first.close()

    second = await SqlStore.open(sql_url)
    assert await second.fetch_call(call.id) == call
    assert await second.count_slots() == {"machine": 1}
    await second.close()


async def test_the_clock_is_the_one_given(sql_url: str) -> None:
    store = await SqlStore.open(sql_url, now=lambda: NOON + timedelta(days=1))

    agent = await store.create_agent(AgentRecord(name="a", kind=AgentKind.MODULE))

    assert agent.created_at == agent.updated_at == NOON + timedelta(days=1)
    assert utc_now().tzinfo is UTC
    await store.close()


async def test_a_locked_database_is_unavailable_and_comes_back(migrated_sqlite: str) -> None:
    store = await SqlStore.open(migrated_sqlite, busy_timeout_s=0.1)
    path = migrated_sqlite.removeprefix("sqlite+aiosqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable):
            await admitted(store, "machine")
        await store.check()
        other.execute("ROLLBACK")

    await admitted(store, "machine")
    assert await store.count_slots() == {"machine": 1}
    await store.close()


async def test_cancelled_admissions_leave_whole_calls_or_none(sql_store: SqlStore) -> None:
    """A webhook's client may go away at any moment."""
    tasks: list[asyncio.Task[CallRecord]] = []
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        for number in range(40):
            task = group.create_task(admitted(sql_store, "machine", "agent:a"))
            tasks.append(task)
            asyncio.get_running_loop().call_later(number / 2000, task.cancel)

    calls = await sql_store.fetch_open_calls()
    slots = await sql_store.count_slots()
    assert slots.get("machine", 0) == slots.get("agent:a", 0) == len(calls)
    finished = {task.result().id for task in tasks if not task.cancelled()}
    assert finished <= {call.id for call in calls}
    await admitted(sql_store, "machine")


async def test_opening_and_closing_leaks_no_descriptor(sql_url: str) -> None:
    async def use() -> None:
        store = await SqlStore.open(sql_url)
        await store.check()
        await admitted(store)
        await store.close()

    await use()
    before = open_descriptors()
    for _ in range(5):
        await use()

    await eventually(lambda: open_descriptors() <= before, what=f"{os.getpid()} closed its files")
