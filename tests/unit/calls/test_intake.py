from __future__ import annotations

import httpx
import pytest
from structlog.testing import capture_logs

from tests.support.front import ACCOUNT_SID, CALL_SID, CALLER, OUR_NUMBER, FrontWorld
from tests.support.stores import NOON, admitted
from trunkline.calls.intake import Fact, settle_ended_stream, take_in
from trunkline.errors import StoreUnavailable
from trunkline.store import CallRecord, InMemoryStore
from trunkline.telephony.call import CallState, EndedBy, EndReason

STARTED = {
    "stream_id": "MZ1",
    "carrier_call_id": CALL_SID,
    "account_id": ACCOUNT_SID,
    "from_number": CALLER,
    "to_number": OUR_NUMBER,
}


async def call_of(world: FrontWorld, **changes: object) -> CallRecord:
    values = {
        "carrier": "twilio",
        "account_id": ACCOUNT_SID,
        "carrier_call_id": CALL_SID,
        **changes,
    }
    return await admitted(world.store, "carrier:twilio", **values)


def fact(call: CallRecord, number: int, kind: str, **data: object) -> Fact:
    return Fact(key=f"gateway-0:1:{number}", call_id=call.id, kind=kind, at=NOON, data=data)


async def tell(world: FrontWorld, *facts: Fact) -> CallRecord:
    for one in facts:
        await take_in(world.context, one)
    await world.settled()
    return await world.call(facts[0].call_id)


async def test_a_stream_s_start_answers_the_call(world: FrontWorld) -> None:
    call = await call_of(world)
    after = await tell(world, fact(call, 1, "stream_started", **STARTED))
    assert after.state is CallState.IN_PROGRESS
    assert after.stream_started_at == after.answered_at == NOON


async def test_a_static_url_s_call_learns_who_it_is(world: FrontWorld) -> None:
    call = await call_of(world, carrier_call_id=None, from_number="", to_number="", account_id="")
    after = await tell(world, fact(call, 1, "stream_started", **STARTED))
    assert (after.carrier_call_id, after.account_id) == (CALL_SID, ACCOUNT_SID)
    assert (after.from_number, after.to_number) == (CALLER, OUR_NUMBER)


async def test_two_of_our_calls_with_one_carrier_id_are_both_kept(world: FrontWorld) -> None:
    await call_of(world)
    static = await call_of(world, carrier_call_id=None)
    after = await tell(world, fact(static, 1, "stream_started", **STARTED))
    assert after.state is CallState.IN_PROGRESS
    assert after.carrier_call_id is None
    assert len(await world.events(static.id, "stream_started")) == 1


async def test_a_stream_that_comes_after_the_end_is_dropped(world: FrontWorld) -> None:
    call = await call_of(world, state=CallState.CANCELED)
    after = await tell(world, fact(call, 1, "stream_started", **STARTED))
    assert after.state is CallState.CANCELED
    assert world.gateways.dropped == [call.id]


@pytest.mark.parametrize("kind", ["turn", "dtmf", "bot_started", "bot_failed", "something_new"])
async def test_facts_are_kept_once(world: FrontWorld, kind: str) -> None:
    call = await call_of(world)
    one = fact(call, 1, kind, text="hello")
    await tell(world, one, one)
    [event] = await world.events(call.id)
    assert (event.kind, event.at, event.data) == (kind, NOON, {"text": "hello"})


async def test_what_no_database_holds_is_kept_without_it(world: FrontWorld) -> None:
    call = await call_of(world)
    await tell(world, fact(call, 1, "turn", text="a\0b", words=["\0", 1, None], more={"\0": 1.5}))
    [event] = await world.events(call.id)
    assert event.data == {"text": "a\ufffdb", "words": ["\ufffd", 1, None], "more": {"\ufffd": 1.5}}


async def test_a_wish_to_hang_up_ends_the_leg_once(world: FrontWorld) -> None:
    call = await call_of(world)
    world.twilio.add(CALL_SID, "in-progress")
    wish = fact(call, 1, "hangup_wanted", by="bot", reason="completed")
    await tell(world, wish, wish)
    assert world.twilio.hangups == [CALL_SID]


async def test_the_bot_s_goodbye_is_the_end(world: FrontWorld) -> None:
    call = await call_of(world)
    world.twilio.add(CALL_SID, "in-progress")
    after = await tell(
        world,
        fact(call, 1, "stream_started", **STARTED),
        fact(call, 2, "hangup_wanted", by="bot", reason="completed"),
        fact(
            call, 3, "stream_ended", how="stop", stats={"frames_in": 50}, recording_path="/r/a.wav"
        ),
    )
    assert (after.state, after.ended_by, after.end_reason) == (
        CallState.COMPLETED,
        EndedBy.BOT,
        EndReason.COMPLETED,
    )
    assert after.stats == {"frames_in": 50}
    assert after.recording_path == "/r/a.wav"
    assert await world.slots() == 0


async def test_a_replayed_journal_changes_nothing(world: FrontWorld) -> None:
    call = await call_of(world)
    journal = [
        fact(call, 1, "stream_started", **STARTED),
        fact(call, 2, "turn", speaker="caller", text="hi"),
        fact(call, 3, "stream_ended", how="stop", stats={"frames_in": 1}),
    ]
    before = await tell(world, *journal)
    events = await world.events(call.id)
    world.clock.advance(60)
    assert await tell(world, *journal) == before
    assert await world.events(call.id) == events
    assert world.twilio.requests == []


async def test_the_carrier_s_stop_is_the_caller_s_end(world: FrontWorld) -> None:
    call = await call_of(world)
    after = await tell(world, fact(call, 1, "stream_ended", how="stop"))
    assert (after.ended_by, after.end_reason) == (EndedBy.CALLER, EndReason.COMPLETED)
    assert world.twilio.requests == []


async def test_a_lost_stream_is_explained_by_the_carrier(world: FrontWorld) -> None:
    call = await call_of(world)
    world.twilio.add(CALL_SID, "completed")
    after = await tell(world, fact(call, 1, "stream_ended", how="lost"))
    assert (after.state, after.ended_by) == (CallState.COMPLETED, EndedBy.CALLER)
    assert world.twilio.hangups == []


@pytest.mark.parametrize(
    ("how", "by"),
    [
        ("lost", EndedBy.CARRIER),
        ("closed", EndedBy.CARRIER),
        ("gateway_lost", EndedBy.PLATFORM),
        ("never_started", EndedBy.PLATFORM),
    ],
)
async def test_what_nobody_explains_is_socket_lost_and_the_leg_is_ended(
    world: FrontWorld, how: str, by: EndedBy
) -> None:
    call = await call_of(world)
    world.twilio.add(CALL_SID, "in-progress")
    after = await tell(world, fact(call, 1, "stream_ended", how=how))
    assert (after.state, after.ended_by, after.end_reason) == (
        CallState.FAILED,
        by,
        EndReason.SOCKET_LOST,
    )
    assert after.error == f"the media stream was lost ({how})"
    assert world.twilio.hangups == [CALL_SID]
    assert await world.slots() == 0


async def test_a_stream_that_never_started_gives_its_worker_back(world: FrontWorld) -> None:
    call = await call_of(world, carrier_call_id=None)
    await tell(world, fact(call, 1, "stream_ended", how="never_started"))
    assert world.dispatcher.released == [call.id]


async def test_a_carrier_that_cannot_be_asked_leaves_socket_lost_and_a_pending_hang_up(
    world: FrontWorld,
) -> None:
    call = await call_of(world)
    world.twilio.faults += [httpx.ConnectError("no"), httpx.ConnectError("no")]
    after = await tell(world, fact(call, 1, "stream_ended", how="lost"))
    assert after.end_reason is EndReason.SOCKET_LOST
    assert after.hangup_pending


async def test_the_gateway_s_own_reason_counts(world: FrontWorld) -> None:
    call = await call_of(world)
    world.twilio.add(CALL_SID, "in-progress")
    after = await tell(
        world, fact(call, 1, "stream_ended", how="closed", by="platform", reason="max_duration")
    )
    assert (after.state, after.ended_by, after.end_reason) == (
        CallState.COMPLETED,
        EndedBy.PLATFORM,
        EndReason.MAX_DURATION,
    )


async def test_a_failed_bot_says_how(world: FrontWorld) -> None:
    call = await call_of(world)
    after = await tell(
        world,
        fact(call, 1, "bot_failed", reason="raised", detail="ValueError"),
        fact(call, 2, "hangup_wanted", by="platform", reason="bot_failed"),
        fact(call, 3, "stream_ended", how="stop"),
    )
    assert after.end_reason is EndReason.BOT_FAILED
    assert after.error == "the bot failed (raised): ValueError"


async def test_a_replaced_stream_ends_nothing(world: FrontWorld) -> None:
    call = await call_of(world, state=CallState.IN_PROGRESS)
    after = await tell(world, fact(call, 1, "stream_ended", how="replaced"))
    assert after.state is CallState.IN_PROGRESS
    assert await world.slots() == 1
    assert not await settle_ended_stream(world.context, call.id)


async def test_a_call_that_nobody_knows_is_logged_and_acknowledged(world: FrontWorld) -> None:
    with capture_logs() as lines:
        await take_in(
            world.context, Fact(key="g:1:1", call_id="nobody", kind="turn", at=NOON, data={})
        )
    assert [line["call_id"] for line in lines] == ["nobody"]


async def test_a_database_that_is_away_is_said(world: FrontWorld) -> None:
    call = await call_of(world)
    assert isinstance(world.store, InMemoryStore)
    world.store.is_available = False
    with pytest.raises(StoreUnavailable):
        await take_in(world.context, fact(call, 1, "turn"))
    world.store.is_available = True
    assert await world.events(call.id) == []
