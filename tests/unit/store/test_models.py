from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import text

from tests.support.stores import NOON, make_call
from trunkline.errors import Conflict, InvalidRequest
from trunkline.store.engine import Database, open_database, parse_database_url
from trunkline.store.models import METADATA, CallRow, EventRow, SettingRow, SlotRow
from trunkline.store.rows import columns_of


@pytest.fixture
async def database(sql_url: str) -> AsyncIterator[Database]:
    opened = open_database(parse_database_url(sql_url))
    yield opened
    await opened.close()


def test_every_constraint_and_index_has_a_name() -> None:
    for table in METADATA.tables.values():
        assert all(constraint.name for constraint in table.constraints), table.name
        assert all(index.name for index in table.indexes), table.name
        # PostgreSQL cuts longer names off, and then two may be one.
        assert all(len(str(index.name)) <= 63 for index in table.indexes), table.name


@pytest.mark.parametrize(
    "value", [{"b": 1, "a": "\0"}, 12345678901234567890, 0.1, 1.0, "1", [], False, "null"]
)
async def test_json_is_kept_to_the_type(database: Database, value: object) -> None:
    call = make_call(body=value)
    async with database.write() as session:
        session.add(CallRow(**columns_of(call)))

    async with database.read() as session:
        row = await session.get(CallRow, call.id)
        assert row is not None
        assert row.body == value
        assert type(row.body) is type(value)
        assert list(row.body) == list(value) if isinstance(value, dict) else True


async def test_no_body_is_null(database: Database) -> None:
    async with database.write() as session:
        session.add(CallRow(**columns_of(make_call())))

    async with database.read() as session:
        query = text("SELECT count(*) FROM calls WHERE body IS NULL AND stats IS NOT NULL")
        assert await session.scalar(query) == 1


async def test_moments_are_ordered_whatever_their_zone(database: Database) -> None:
    moments = [
        NOON.astimezone(timezone(timedelta(hours=-11))),
        (NOON + timedelta(microseconds=1)).astimezone(timezone(timedelta(hours=13))),
        NOON + timedelta(seconds=1),
        datetime(1999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    ]
    async with database.write() as session:
        session.add_all(CallRow(**columns_of(make_call(created_at=moment))) for moment in moments)

    async with database.read() as session:
        query = text("SELECT id FROM calls ORDER BY created_at")
        ids = list((await session.scalars(query)).all())
        found = [await session.get(CallRow, call_id) for call_id in ids]

    assert [row.created_at for row in found if row is not None] == sorted(moments)
    assert all(row is not None and row.created_at.tzinfo is UTC for row in found)


async def test_text_with_nul_is_refused(database: Database) -> None:
    with pytest.raises(InvalidRequest, match="NUL"):
        async with database.write() as session:
            session.add(SettingRow(name="a", value="\0"))


@pytest.mark.parametrize(
    "row",
    [
        SlotRow(call_id="nobody", scope="machine"),
        EventRow(call_id="nobody", kind="noted", at=NOON, data={}),
    ],
    ids=["slot", "event"],
)
async def test_slots_and_events_need_their_call(database: Database, row: object) -> None:
    with pytest.raises(Conflict):
        async with database.write() as session:
            session.add(row)


async def test_an_event_s_id_is_never_given_twice(database: Database) -> None:
    call = make_call()

    async def add() -> int:
        async with database.write() as session:
            event = EventRow(call_id=call.id, kind="noted", at=NOON, data={})
            session.add(event)
            await session.flush()
            return event.id

    async with database.write() as session:
        session.add(CallRow(**columns_of(call)))
    first = await add()
    async with database.write() as session:
        await session.execute(text("DELETE FROM events"))

    assert await add() > first
