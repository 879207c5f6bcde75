from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from tests.support.stores import NOON, admitted, make_call, make_event
from trunkline.errors import Conflict, InvalidRequest, NoFreeSlot
from trunkline.store import CallFilter, CallRecord, SlotRequest, Store
from trunkline.telephony.call import CallState, Direction, EndedBy, EndReason

EARLY = NOON - timedelta(days=1)
ONE_SLOT = [SlotRequest(scope="machine", limit=1)]
JSON_VALUES = [
    {"name": "Zoë", "nested": {"list": [1, 2.5, None, True]}, "z": 1, "a": "nul \0 and \ud800"},
    ["only", "a", "list"],
    "text",
    12345678901234567890,
    0.1,
    False,
    None,
]


@pytest.mark.parametrize("body", JSON_VALUES, ids=lambda body: type(body).__name__)
async def test_a_call_comes_back_as_it_was_admitted(store: Store, body: object) -> None:
    call = make_call(
        body=body,
        carrier_call_id="CA1",
        idempotency_key="key",
        raw={"CallSid": "CA1"},
        stats={"frames": 2**40},
        last_sequence=2**40,
        answered_at=NOON + timedelta(microseconds=1),
        ended_by=EndedBy.BOT,
        end_reason=EndReason.SILENCE,
        duration_s=1.25,
    )

    assert await store.admit_call(call, []) == (call, True)

    assert await store.fetch_call(call.id) == call
    assert await store.fetch_call_by_carrier_id("acme", "AC1", "CA1") == call
    assert await store.fetch_call_by_idempotency_key("key") == call


async def test_the_order_of_a_body_s_keys_is_kept(store: Store) -> None:
    call = await admitted(store, body={"z": 1, "a": 2, "m": 3})

    found = await store.fetch_call(call.id)

    assert found is not None
    assert isinstance(found.body, dict)
    assert list(found.body) == ["z", "a", "m"]


async def test_a_call_that_is_not_there(store: Store) -> None:
    await admitted(store, carrier_call_id="CA1")

    assert await store.fetch_call("nobody") is None
    assert await store.fetch_call_by_carrier_id("acme", "AC2", "CA1") is None
    assert await store.fetch_call_by_carrier_id("other", "AC1", "CA1") is None
    assert await store.fetch_call_by_idempotency_key("CA1") is None


async def test_times_come_back_in_utc(store: Store) -> None:
    tokyo = timezone(timedelta(hours=9))

    call = await admitted(store, created_at=datetime(2026, 3, 1, 21, tzinfo=tokyo))

    assert call.created_at == NOON
    assert call.created_at.utcoffset() == timedelta(0)


async def test_a_time_without_zone_is_a_bug(store: Store) -> None:
    with pytest.raises(ValueError, match="time zone"):
        await store.admit_call(make_call(created_at=NOON.replace(tzinfo=None)), [])


@pytest.mark.parametrize("value", [float("nan"), {"x": float("inf")}])
async def test_what_json_does_not_have_is_refused(store: Store, value: object) -> None:
    with pytest.raises(ValueError, match="JSON"):
        await store.admit_call(make_call(body=value), [])


async def test_what_is_not_json_is_a_bug(store: Store) -> None:
    with pytest.raises(TypeError, match="JSON"):
        await store.admit_call(make_call(body=object()), [])


async def test_text_with_nul_is_refused_and_nothing_written(store: Store) -> None:
    call = make_call(from_number="+1\0")

    with pytest.raises(InvalidRequest):
        await store.admit_call(call, ONE_SLOT)

    assert await store.fetch_call(call.id) is None
    assert await store.count_slots() == {}


async def test_the_same_carrier_call_again_gets_the_first_one(store: Store) -> None:
    first, _ = await store.admit_call(make_call(carrier_call_id="CA1"), ONE_SLOT)

    again = await store.admit_call(make_call(carrier_call_id="CA1", to_number="+1"), ONE_SLOT)

    assert again == (first, False)
    assert await store.count_slots() == {"machine": 1}


async def test_the_same_idempotency_key_again_gets_the_first_call(store: Store) -> None:
    first, _ = await store.admit_call(make_call(idempotency_key="key"), ONE_SLOT)

    again = await store.admit_call(make_call(idempotency_key="key"), ONE_SLOT)

    assert again == (first, False)


async def test_the_carrier_s_id_decides_before_the_key(store: Store) -> None:
    by_carrier = await admitted(store, carrier_call_id="CA1")
    await admitted(store, idempotency_key="key")

    found, is_new = await store.admit_call(
        make_call(carrier_call_id="CA1", idempotency_key="key"), []
    )

    assert (found, is_new) == (by_carrier, False)


async def test_calls_of_other_accounts_and_carriers_are_other_calls(store: Store) -> None:
    await admitted(store, carrier_call_id="CA1")
    await admitted(store, carrier_call_id="CA1", account_id="AC2")
    await admitted(store, carrier_call_id="CA1", carrier="other")
    await admitted(store)
    await admitted(store)

    page = await store.fetch_calls(CallFilter(), limit=10)
    assert len(page.calls) == 5


async def test_a_different_call_of_the_same_id_is_a_conflict(store: Store) -> None:
    call = await admitted(store)

    with pytest.raises(Conflict):
        await store.admit_call(replace(call, carrier_call_id="CA1"), ONE_SLOT)

    assert await store.count_slots() == {}


async def test_of_many_twins_at_a_limit_of_one_all_get_the_same_call(store: Store) -> None:
    """None of them may be told that the slot is taken: it is their own."""
    results = await asyncio.gather(
        *(
            store.admit_call(make_call(carrier_call_id="CA1", idempotency_key="k"), ONE_SLOT)
            for _ in range(40)
        )
    )

    assert len({call.id for call, _ in results}) == 1
    assert sum(is_new for _, is_new in results) == 1
    assert await store.count_slots() == {"machine": 1}


async def test_twins_that_share_no_scope_are_one_call(store: Store) -> None:
    results = await asyncio.gather(
        *(
            store.admit_call(
                make_call(idempotency_key="k"), [SlotRequest(scope=f"agent:{number}", limit=1)]
            )
            for number in range(20)
        )
    )

    assert len({call.id for call, _ in results}) == 1
    assert list((await store.count_slots()).values()) == [1]


async def test_a_refused_call_is_not_written(store: Store) -> None:
    await store.admit_call(make_call(), ONE_SLOT)
    refused = make_call(carrier_call_id="CA9")

    with pytest.raises(NoFreeSlot):
        await store.admit_call(refused, ONE_SLOT)

    assert await store.fetch_call(refused.id) is None
    assert await store.fetch_call_by_carrier_id("acme", "AC1", "CA9") is None


async def test_a_change_sets_fields_and_appends_events(store: Store) -> None:
    call = await admitted(store)
    ended_at = NOON + timedelta(seconds=9)

    changed = await store.change_call(
        call.id,
        {
            "state": CallState.COMPLETED,
            "ended_at": ended_at,
            "ended_by": EndedBy.CALLER,
            "end_reason": EndReason.COMPLETED,
            "stats": {"frames": 450},
            "carrier_call_id": "CA7",
            "hangup_pending": True,
        },
        events=[make_event(call.id, "ended", key="status:3"), make_event(call.id, "noted")],
    )

    assert changed == replace(
        call,
        state=CallState.COMPLETED,
        ended_at=ended_at,
        ended_by=EndedBy.CALLER,
        end_reason=EndReason.COMPLETED,
        stats={"frames": 450},
        carrier_call_id="CA7",
        hangup_pending=True,
    )
    assert await store.fetch_call(call.id) == changed
    assert [event.kind for event in await store.fetch_events(call.id)] == ["ended", "noted"]


async def test_a_value_can_be_taken_back(store: Store) -> None:
    call = await admitted(store, error="went wrong", body={"a": 1})

    changed = await store.change_call(call.id, {"error": None, "body": None})

    assert changed == replace(call, error=None, body=None)


async def test_a_change_that_was_done_changes_nothing(store: Store) -> None:
    call = await admitted(store)
    event = make_event(call.id, key="status:1")
    first = await store.change_call(call.id, {"answered_by": "human"}, events=[event])

    again = await store.change_call(call.id, {"answered_by": "machine"}, events=[event])

    assert again is None
    assert await store.fetch_call(call.id) == first
    assert len(await store.fetch_events(call.id)) == 1


async def test_only_the_first_event_decides_whether_it_was_done(store: Store) -> None:
    call = await admitted(store)
    await store.append_event(make_event(call.id, "old", key="b"))

    changed = await store.change_call(
        call.id,
        {"error": "x"},
        events=[make_event(call.id, "new", key="a"), make_event(call.id, "twice", key="b")],
    )

    assert changed is not None
    assert [event.kind for event in await store.fetch_events(call.id)] == ["old", "new"]


async def test_a_change_waits_for_its_state(store: Store) -> None:
    call = await admitted(store)
    event = make_event(call.id)

    refused = await store.change_call(
        call.id, {"error": "x"}, events=[event], only_if_state=[CallState.QUEUED]
    )
    nothing = await store.change_call(call.id, {"error": "x"}, only_if_state=[])
    done = await store.change_call(
        call.id, {"error": "y"}, only_if_state=[CallState.QUEUED, CallState.RINGING]
    )

    assert (refused, nothing) == (None, None)
    assert done == replace(call, error="y")
    assert await store.fetch_events(call.id) == []


async def test_of_many_who_leave_one_state_one_succeeds(store: Store) -> None:
    call = await admitted(store)

    results = await asyncio.gather(
        *(
            store.change_call(
                call.id,
                {"state": CallState.COMPLETED, "error": str(number)},
                events=[make_event(call.id, "ended")],
                only_if_state=[CallState.RINGING],
            )
            for number in range(25)
        )
    )

    winners = [result for result in results if result is not None]
    assert len(winners) == 1
    assert await store.fetch_call(call.id) == winners[0]
    assert len(await store.fetch_events(call.id)) == 1


async def test_an_unknown_call_is_not_changed(store: Store) -> None:
    assert await store.change_call("nobody", {"error": "x"}) is None
    assert await store.change_call("nobody", {}, events=[make_event("nobody")]) is None


async def test_a_change_of_nothing_returns_the_call(store: Store) -> None:
    call = await admitted(store)

    assert await store.change_call(call.id, {}) == call


@pytest.mark.parametrize("field", ["id", "created_at", "colour"])
async def test_a_field_that_cannot_change_is_a_bug(store: Store, field: str) -> None:
    call = await admitted(store)

    with pytest.raises(ValueError, match=field):
        await store.change_call(call.id, {field: None})


async def test_another_call_s_event_is_a_bug(store: Store) -> None:
    call = await admitted(store)

    with pytest.raises(ValueError, match="another call"):
        await store.change_call(call.id, {}, events=[make_event("other")])


@pytest.mark.parametrize(
    "changes", [{"carrier_call_id": "CA1"}, {"idempotency_key": "k"}], ids=lambda it: next(iter(it))
)
async def test_an_id_that_another_call_has_is_a_conflict(
    store: Store, changes: dict[str, object]
) -> None:
    await admitted(store, carrier_call_id="CA1", idempotency_key="k")
    call = await admitted(store)

    with pytest.raises(Conflict):
        await store.change_call(call.id, changes, events=[make_event(call.id, key="a")])

    assert await store.fetch_call(call.id) == call
    assert await store.fetch_events(call.id) == []


async def test_open_calls_are_those_not_over_or_not_hung_up(store: Store) -> None:
    for minute, state in enumerate(CallState):
        await admitted(
            store, id=state.value, state=state, created_at=NOON + timedelta(minutes=minute)
        )
    await admitted(
        store, id="pending", state=CallState.FAILED, hangup_pending=True, created_at=EARLY
    )

    opened = await store.fetch_open_calls()

    assert [call.id for call in opened] == ["pending", "queued", "ringing", "in_progress"]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (CallFilter(), {"a", "b", "c"}),
        (CallFilter(agent_name="sales"), {"b"}),
        (CallFilter(carrier="other"), {"c"}),
        (CallFilter(direction=Direction.OUTBOUND), {"b"}),
        (CallFilter(states=[CallState.QUEUED, CallState.BUSY]), {"b", "c"}),
        (CallFilter(from_number="+1"), {"a"}),
        (CallFilter(to_number="+2"), {"a", "c"}),
        (CallFilter(created_after=NOON + timedelta(minutes=1)), {"b", "c"}),
        (CallFilter(created_before=NOON + timedelta(minutes=1)), {"a"}),
        (CallFilter(agent_name="sales", to_number="+2"), set[str]()),
    ],
)
async def test_filters(store: Store, where: CallFilter, expected: set[str]) -> None:
    minute = timedelta(minutes=1)
    await admitted(store, id="a", from_number="+1", to_number="+2")
    await admitted(
        store,
        id="b",
        agent_name="sales",
        direction=Direction.OUTBOUND,
        state=CallState.QUEUED,
        created_at=NOON + minute,
    )
    await admitted(
        store,
        id="c",
        carrier="other",
        state=CallState.BUSY,
        to_number="+2",
        created_at=NOON + 2 * minute,
    )

    page = await store.fetch_calls(where, limit=10)

    assert {call.id for call in page.calls} == expected
    assert page.next_cursor is None


async def test_a_page_says_whether_there_is_another(store: Store) -> None:
    calls = [await admitted(store, created_at=NOON + timedelta(seconds=n)) for n in range(4)]
    newest_first: list[CallRecord] = calls[::-1]

    first = await store.fetch_calls(CallFilter(), limit=2)
    second = await store.fetch_calls(CallFilter(), limit=2, cursor=first.next_cursor)

    assert (first.calls, second.calls) == (newest_first[:2], newest_first[2:])
    assert first.next_cursor is not None
    assert second.next_cursor is None


async def test_calls_that_come_meanwhile_do_not_shift_the_pages(store: Store) -> None:
    old = [await admitted(store, created_at=NOON + timedelta(seconds=n)) for n in range(3)]
    first = await store.fetch_calls(CallFilter(), limit=2)

    await admitted(store, created_at=NOON + timedelta(hours=1))

    second = await store.fetch_calls(CallFilter(), limit=2, cursor=first.next_cursor)
    assert [*first.calls, *second.calls] == old[::-1]


@pytest.mark.parametrize("cursor", ["", "x", "%%%", "bnVsbA", "WzEsMl0", "e30", "é", "A" * 5000])
async def test_a_cursor_that_is_none_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await store.fetch_calls(CallFilter(), limit=1, cursor=cursor)
    assert caught.value.field == "cursor"


@pytest.mark.parametrize("limit", [0, -1])
async def test_a_page_of_nothing_is_refused(store: Store, limit: int) -> None:
    with pytest.raises(InvalidRequest):
        await store.fetch_calls(CallFilter(), limit=limit)
    with pytest.raises(InvalidRequest):
        await store.fetch_events("any", limit=limit)


async def test_filters_are_data_not_sql(store: Store) -> None:
    await admitted(store, agent_name="front-desk")

    page = await store.fetch_calls(CallFilter(agent_name="' OR 1=1 --"), limit=10)

    assert page.calls == []
