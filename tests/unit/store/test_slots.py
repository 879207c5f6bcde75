from __future__ import annotations

import asyncio

import pytest

from tests.support.stores import admitted, make_call
from trunkline.errors import NoFreeSlot
from trunkline.store import SlotRequest, Store
from trunkline.store.slots import find_full_scope, slot_lock


def scopes(*, carrier: int | None = None, agent: int | None = None) -> list[SlotRequest]:
    return [
        SlotRequest(scope="carrier:acme", limit=carrier),
        SlotRequest(scope="agent:front-desk", limit=agent),
        SlotRequest(scope="machine", limit=100),
    ]


async def test_a_call_takes_one_slot_in_every_scope(store: Store) -> None:
    await store.admit_call(make_call(), scopes())
    await store.admit_call(make_call(), scopes()[1:])

    assert await store.count_slots() == {"carrier:acme": 1, "agent:front-desk": 2, "machine": 2}


async def test_a_full_scope_takes_nothing_in_the_others(store: Store) -> None:
    await store.admit_call(make_call(), scopes(agent=1))
    before = await store.count_slots()

    with pytest.raises(NoFreeSlot) as caught:
        await store.admit_call(make_call(), scopes(agent=1))

    error = caught.value
    assert (error.scope, error.limit, error.in_use) == ("agent:front-desk", 1, 1)
    assert error.details == {
        "scope": "agent:front-desk",
        "limit": 1,
        "in_use": 1,
        "provider": "acme",
    }
    assert await store.count_slots() == before


async def test_a_limit_of_zero_is_always_full(store: Store) -> None:
    with pytest.raises(NoFreeSlot, match="0 of 0"):
        await store.admit_call(make_call(), scopes(carrier=0))


async def test_a_limit_that_was_lowered_below_what_is_in_use(store: Store) -> None:
    for _ in range(3):
        await store.admit_call(make_call(), scopes())

    with pytest.raises(NoFreeSlot) as caught:
        await store.admit_call(make_call(), scopes(carrier=2))

    assert (caught.value.in_use, caught.value.limit) == (3, 2)


async def test_freed_slots_can_be_taken_again_once(store: Store) -> None:
    call, _ = await store.admit_call(make_call(), scopes(carrier=1))
    other = await admitted(store, "machine")

    freed = await asyncio.gather(*(store.free_slots(call.id) for _ in range(10)))

    assert sorted(freed) == [False] * 9 + [True]
    assert await store.count_slots() == {"machine": 1}
    await store.admit_call(make_call(), scopes(carrier=1))
    assert await store.free_slots(other.id) is True


async def test_a_call_without_slots_has_none_to_free(store: Store) -> None:
    call = await admitted(store)

    assert await store.free_slots(call.id) is False
    assert await store.free_slots("nobody") is False


async def test_a_scope_named_twice_is_one_slot_under_the_lower_limit(store: Store) -> None:
    twice = [SlotRequest(scope="machine", limit=5), SlotRequest(scope="machine", limit=1)]

    await store.admit_call(make_call(), twice)

    assert await store.count_slots() == {"machine": 1}
    with pytest.raises(NoFreeSlot, match="1 of 1"):
        await store.admit_call(make_call(), twice)


def test_the_first_full_scope_in_the_order_asked_for_is_named() -> None:
    full = find_full_scope(
        make_call(), scopes(carrier=1, agent=1), {"carrier:acme": 1, "agent:front-desk": 1}
    )

    assert full is not None
    assert full.scope == "carrier:acme"
    assert find_full_scope(make_call(), scopes(carrier=1), {"machine": 99}) is None


def test_scopes_have_locks_of_their_own() -> None:
    assert slot_lock("machine") != slot_lock("agent:machine")
