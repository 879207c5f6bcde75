from __future__ import annotations

from datetime import timedelta

import pytest

from tests.support.stores import NOON, admitted, make_call, make_event
from trunkline.errors import StoreUnavailable
from trunkline.store import (
    AgentKind,
    AgentRecord,
    ApiKeyRecord,
    CallFilter,
    CarrierSettings,
    InMemoryStore,
    Role,
)


async def test_a_store_that_is_away_answers_nothing() -> None:
    store = InMemoryStore()
    call = await admitted(store, "machine")
    agent = AgentRecord(name="a", kind=AgentKind.MODULE)
    key = ApiKeyRecord(id="k", name="n", role=Role.ADMIN, digest="d", created_at=NOON)
    store.is_available = False

    for request in (
        store.create_agent(agent),
        store.update_agent(agent),
        store.delete_agent("a"),
        store.fetch_agent("a"),
        store.fetch_agents(),
        store.admit_call(make_call(), []),
        store.free_slots(call.id),
        store.count_slots(),
        store.fetch_call(call.id),
        store.fetch_call_by_carrier_id("a", "b", "c"),
        store.fetch_call_by_idempotency_key("k"),
        store.fetch_calls(CallFilter(), limit=1),
        store.fetch_open_calls(),
        store.change_call(call.id, {}),
        store.append_event(make_event(call.id)),
        store.fetch_events(call.id),
        store.create_api_key(key),
        store.fetch_api_key("d"),
        store.fetch_api_keys(),
        store.revoke_api_key("k"),
        store.touch_api_key("k", NOON),
        store.fetch_carrier_settings(),
        store.save_carrier_settings(CarrierSettings(carrier="a")),
        store.fetch_setting("s"),
        store.save_setting("s", "v"),
        store.check(),
    ):
        with pytest.raises(StoreUnavailable):
            await request

    store.is_available = True
    await store.check()
    assert await store.count_slots() == {"machine": 1}


async def test_a_closed_store_is_away() -> None:
    store = InMemoryStore()
    await store.close()

    with pytest.raises(StoreUnavailable):
        await store.check()


async def test_the_clock_is_the_one_given() -> None:
    moments = iter([NOON, NOON + timedelta(seconds=1), NOON + timedelta(seconds=2)])
    store = InMemoryStore(now=lambda: next(moments))
    agent = AgentRecord(name="a", kind=AgentKind.MODULE)

    assert (await store.create_agent(agent)).created_at == NOON
    assert (await store.update_agent(agent)).updated_at == NOON + timedelta(seconds=1)
    key = ApiKeyRecord(id="k", name="n", role=Role.ADMIN, digest="d", created_at=NOON)
    await store.create_api_key(key)
    await store.revoke_api_key("k")
    assert (await store.fetch_api_keys())[0].revoked_at == NOON + timedelta(seconds=2)


async def test_a_change_that_fails_leaves_everything_as_it_was() -> None:
    store = InMemoryStore()
    call = await admitted(store)

    with pytest.raises(TypeError):
        await store.change_call(
            call.id, {"error": "x"}, events=[make_event(call.id, data={"a": object()})]
        )

    assert await store.fetch_call(call.id) == call
    assert await store.fetch_events(call.id) == []
