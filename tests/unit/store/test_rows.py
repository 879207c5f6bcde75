from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta

from sqlalchemy import delete, update

from tests.support.stores import NOON, make_call
from trunkline.store import AgentKind, AgentRecord, Overflow, OverflowAction
from trunkline.store.engine import open_database, parse_database_url
from trunkline.store.models import AgentRow, ApiKeyRow, CallRow, CarrierSettingsRow, SettingRow
from trunkline.store.records import ApiKeyRecord, CallRecord, CarrierSettings, Role
from trunkline.store.rows import (
    agent_columns,
    columns_of,
    count_changed,
    to_agent,
    to_api_key,
    to_call,
    to_carrier_settings,
)


def test_a_call_s_fields_are_its_columns() -> None:
    call = make_call(body=[1], answered_at=NOON)

    assert set(columns_of(call)) == set(CallRow.__table__.columns.keys())
    assert {field.name for field in fields(CallRecord)} == set(columns_of(call))
    assert to_call(CallRow(**columns_of(call))) == call


def test_keys_and_settings_have_the_same_names_too() -> None:
    key = ApiKeyRecord(id="k", name="n", role=Role.ADMIN, digest="d", created_at=NOON)
    settings = CarrierSettings(carrier="acme", credentials=b"x", max_concurrent_calls=1)

    assert to_api_key(ApiKeyRow(**columns_of(key))) == key
    assert to_carrier_settings(CarrierSettingsRow(**columns_of(settings))) == settings


def test_an_agent_s_overflow_is_three_columns() -> None:
    agent = AgentRecord(
        name="a",
        kind=AgentKind.MODULE,
        overflow=Overflow(action=OverflowAction.MESSAGE, message="m", number="+1"),
    )
    later = NOON + timedelta(days=1)
    columns = agent_columns(agent)

    row = AgentRow(**columns, revision=7, created_at=NOON, updated_at=later)

    assert to_agent(row) == replace(agent, revision=7, created_at=NOON, updated_at=later)
    assert set(columns) | {"revision", "created_at", "updated_at"} == set(
        AgentRow.__table__.columns.keys()
    )


async def test_changed_rows_are_counted(sql_url: str) -> None:
    database = open_database(parse_database_url(sql_url))
    async with database.write() as session:
        session.add_all(SettingRow(name=name, value="x") for name in "abc")
        await session.flush()
        some = update(SettingRow).where(SettingRow.name.in_(["a", "b"])).values(value="y")

        assert await count_changed(session, some) == 2
        assert await count_changed(session, delete(SettingRow)) == 3
        assert await count_changed(session, delete(SettingRow)) == 0
    await database.close()
