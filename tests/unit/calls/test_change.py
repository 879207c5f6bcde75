from __future__ import annotations

from tests.support.stores import admitted, make_event
from trunkline.calls.change import change_from
from trunkline.store import CallRecord, InMemoryStore
from trunkline.telephony.call import CallState


def moves_on(call: CallRecord) -> dict[str, object]:
    return (
        {"state": CallState.IN_PROGRESS} if call.state is CallState.RINGING else {"error": "late"}
    )


async def test_what_is_written_depends_on_where_the_call_stands_now() -> None:
    store = InMemoryStore()
    stale = await admitted(store)
    await store.change_call(stale.id, {"state": CallState.COMPLETED})
    changed = await change_from(store, stale, moves_on, make_event(stale.id))
    assert changed is not None
    assert changed.state is CallState.COMPLETED
    assert changed.error == "late"


async def test_a_repeated_event_changes_nothing() -> None:
    store = InMemoryStore()
    call = await admitted(store)
    assert await change_from(store, call, moves_on, make_event(call.id, key="once")) is not None
    assert await change_from(store, call, moves_on, make_event(call.id, key="once")) is None
    again = await store.fetch_call(call.id)
    assert again is not None
    assert again.error is None


async def test_a_call_that_is_gone_is_none() -> None:
    store = InMemoryStore()
    call = await admitted(InMemoryStore())
    assert await change_from(store, call, moves_on, make_event(call.id)) is None
