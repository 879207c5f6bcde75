from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from tests.support.stores import NOON, admitted, make_event
from trunkline.errors import UnknownCall
from trunkline.store import Store


async def test_an_event_comes_back_as_it_was_appended(store: Store) -> None:
    call = await admitted(store)

    event = await store.append_event(
        make_event(call.id, "dtmf", at=NOON + timedelta(seconds=1), data={"digit": "1"}, key="k")
    )

    assert event is not None
    assert (event.call_id, event.kind, event.data) == (call.id, "dtmf", {"digit": "1"})
    assert event.at == NOON + timedelta(seconds=1)
    assert await store.fetch_events(call.id) == [event]


async def test_ids_rise_over_all_calls(store: Store) -> None:
    one, two = await admitted(store), await admitted(store)

    events = [await store.append_event(make_event(call.id)) for call in (one, two, one, two)]

    ids = [event.id for event in events if event is not None]
    assert len(ids) == 4
    assert ids == sorted(set(ids))


async def test_an_event_of_one_key_happens_once_per_call(store: Store) -> None:
    one, two = await admitted(store), await admitted(store)

    results = await asyncio.gather(
        *(store.append_event(make_event(one.id, key="answered")) for _ in range(20))
    )

    assert sum(result is not None for result in results) == 1
    assert await store.append_event(make_event(two.id, key="answered")) is not None
    assert await store.append_event(make_event(one.id)) is not None
    assert await store.append_event(make_event(one.id)) is not None


async def test_events_of_an_unknown_call_are_refused(store: Store) -> None:
    with pytest.raises(UnknownCall):
        await store.append_event(make_event("nobody"))
    assert await store.fetch_events("nobody") == []


async def test_a_reader_goes_on_after_the_last_id(store: Store) -> None:
    call, other = await admitted(store), await admitted(store)
    for kind in ("a", "b", "a", "c"):
        await store.append_event(make_event(call.id, kind))
        await store.append_event(make_event(other.id, kind))
    everything = await store.fetch_events(call.id)

    assert [event.kind for event in everything] == ["a", "b", "a", "c"]
    assert await store.fetch_events(call.id, after_id=everything[1].id) == everything[2:]
    assert await store.fetch_events(call.id, limit=2) == everything[:2]
    assert await store.fetch_events(call.id, kinds=["a", "c"], limit=2) == [
        everything[0],
        everything[2],
    ]
    assert await store.fetch_events(call.id, kinds=[]) == []
    assert await store.fetch_events(call.id, after_id=everything[-1].id) == []


async def test_a_reader_while_many_write_misses_nothing(store: Store) -> None:
    """Ids are committed in their order, so what was passed over once never appears."""
    call = await admitted(store)
    seen: list[int] = []

    async def read() -> None:
        while len(seen) < 60:
            after_id = seen[-1] if seen else 0
            events = await store.fetch_events(call.id, after_id=after_id)
            seen.extend(event.id for event in events)
            await asyncio.sleep(0)

    async def write(number: int) -> None:
        if number % 2:
            await store.append_event(make_event(call.id))
        else:
            await store.change_call(call.id, {"error": str(number)}, events=[make_event(call.id)])

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        tasks = [group.create_task(write(number)) for number in range(60)]
        tasks.append(group.create_task(read()))

    assert seen == [event.id for event in await store.fetch_events(call.id)]
