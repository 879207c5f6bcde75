from __future__ import annotations

import httpx
import pytest

from tests.support.front import ACCOUNT_SID, CALL_SID, CALLER, OUR_NUMBER, FrontWorld
from tests.support.stores import NOON, admitted
from trunkline.calls.reconcile import LOST_DIAL_S, reconcile
from trunkline.calls.tokens import OUTBOUND_TTL_S
from trunkline.store import CallRecord, NewEvent
from trunkline.telephony.call import CallState, Direction, EndedBy, EndReason


async def inbound(world: FrontWorld, **changes: object) -> CallRecord:
    values = {
        "carrier": "twilio",
        "account_id": ACCOUNT_SID,
        "carrier_call_id": CALL_SID,
        **changes,
    }
    return await admitted(world.store, "carrier:twilio", **values)


async def outbound(world: FrontWorld, **changes: object) -> CallRecord:
    values = {
        "direction": Direction.OUTBOUND,
        "state": CallState.QUEUED,
        "from_number": OUR_NUMBER,
        "to_number": CALLER,
        **changes,
    }
    return await inbound(world, **values)


async def streaming(world: FrontWorld, **changes: object) -> CallRecord:
    values = {"state": CallState.IN_PROGRESS, "stream_started_at": NOON, "answered_at": NOON}
    return await inbound(world, **{**values, **changes})


async def test_a_live_call_is_left_alone(world: FrontWorld) -> None:
    call = await streaming(world)
    world.gateways.live.add(call.id)
    world.clock.advance(3600)
    assert await reconcile(world.context) == 0
    assert world.twilio.requests == []


async def test_nothing_is_taken_for_lost_while_a_gateway_is_away(world: FrontWorld) -> None:
    await streaming(world)
    world.gateways.connected = False
    world.clock.advance(3600)
    assert await reconcile(world.context) == 0


async def test_a_fresh_call_is_given_time(world: FrontWorld) -> None:
    await inbound(world)
    world.clock.advance(30)
    assert await reconcile(world.context) == 0


async def test_a_record_whose_leg_is_down_is_closed(world: FrontWorld) -> None:
    call = await streaming(world)
    world.twilio.add(CALL_SID, "completed")
    world.clock.advance(30)
    assert await reconcile(world.context) == 1
    after = await world.call(call.id)
    assert (after.state, after.ended_by) == (CallState.COMPLETED, EndedBy.CALLER)
    assert world.twilio.hangups == []
    assert await world.slots() == 0


async def test_a_leg_without_a_stream_is_ended(world: FrontWorld) -> None:
    call = await streaming(world)
    world.twilio.add(CALL_SID, "in-progress")
    world.clock.advance(30)
    assert await reconcile(world.context) == 1
    after = await world.call(call.id)
    assert after.end_reason is EndReason.SOCKET_LOST
    assert world.twilio.hangups == [CALL_SID]


async def test_a_leg_whose_record_is_closed_is_ended(world: FrontWorld) -> None:
    call = await inbound(world, state=CallState.COMPLETED, hangup_pending=True)
    world.twilio.add(CALL_SID, "in-progress")
    world.twilio.faults.append(httpx.Response(503))
    assert await reconcile(world.context) == 0
    assert (await world.call(call.id)).hangup_pending
    assert await reconcile(world.context) == 1
    assert world.twilio.calls[CALL_SID]["status"] == "completed"
    assert await reconcile(world.context) == 0


async def test_an_inbound_call_whose_socket_never_came_is_closed(world: FrontWorld) -> None:
    call = await inbound(world)
    world.clock.advance(61)
    assert await reconcile(world.context) == 1
    assert (await world.call(call.id)).end_reason is EndReason.SOCKET_LOST
    assert world.dispatcher.released == [call.id]
    assert await world.slots() == 0


async def test_a_front_that_stopped_before_it_settled_does_it_now(world: FrontWorld) -> None:
    call = await streaming(world)
    await world.store.append_event(
        NewEvent(call_id=call.id, kind="stream_ended", at=NOON, data={"how": "stop"})
    )
    world.clock.advance(30)
    assert await reconcile(world.context) == 1
    assert (await world.call(call.id)).end_reason is EndReason.COMPLETED


@pytest.mark.parametrize("status", ["queued", "ringing"])
async def test_an_outbound_call_may_ring_until_its_token_is_over(
    world: FrontWorld, status: str
) -> None:
    call = await outbound(world)
    world.twilio.add(CALL_SID, status, direction="outbound-api")
    world.clock.advance(OUTBOUND_TTL_S - 1)
    assert await reconcile(world.context) == 0
    world.clock.advance(2)
    assert await reconcile(world.context) == 1
    assert (await world.call(call.id)).end_reason is EndReason.CARRIER_FAILED
    assert world.twilio.hangups == [CALL_SID]


async def test_an_answered_call_without_a_stream_does_not_stay_up(world: FrontWorld) -> None:
    call = await outbound(world)
    world.twilio.add(CALL_SID, "in-progress", direction="outbound-api")
    world.clock.advance(30)
    assert await reconcile(world.context) == 0  # the answer is news, the stream may be coming
    assert (await world.call(call.id)).answered_at == world.clock.now
    world.clock.advance(60)
    assert await reconcile(world.context) == 1
    assert (await world.call(call.id)).end_reason is EndReason.SOCKET_LOST
    assert world.twilio.hangups == [CALL_SID]


async def test_an_outbound_call_that_nobody_took_is_closed(world: FrontWorld) -> None:
    call = await outbound(world)
    world.twilio.add(CALL_SID, "no-answer", direction="outbound-api")
    world.clock.advance(30)
    assert await reconcile(world.context) == 1
    assert (await world.call(call.id)).state is CallState.NO_ANSWER


async def test_a_carrier_that_is_away_is_asked_again(world: FrontWorld) -> None:
    await outbound(world)
    world.twilio.faults.append(httpx.ConnectError("no"))
    world.clock.advance(30)
    assert await reconcile(world.context) == 0


async def test_a_dial_under_way_is_left_alone(world: FrontWorld) -> None:
    await outbound(world, carrier_call_id=None)
    world.clock.advance(LOST_DIAL_S)
    assert await reconcile(world.context) == 0
    assert world.twilio.requests == []


async def test_a_dial_without_an_answer_is_found_in_the_carrier_s_list(world: FrontWorld) -> None:
    call = await outbound(world, carrier_call_id=None)
    numbers = {"from": OUR_NUMBER, "to": CALLER}
    world.twilio.add("CA" + "1" * 32, "ringing", direction="outbound-api", to="+14155550199")
    world.twilio.add(CALL_SID, "ringing", direction="outbound-api", **numbers)
    world.clock.advance(LOST_DIAL_S + 1)
    assert await reconcile(world.context) == 0
    assert (await world.call(call.id)).carrier_call_id == CALL_SID


async def test_a_dial_that_never_happened_gives_its_slot_back(world: FrontWorld) -> None:
    other = await outbound(world)
    call = await outbound(world, carrier_call_id=None)
    numbers = {"from": OUR_NUMBER, "to": CALLER}
    world.twilio.add(CALL_SID, "ringing", direction="outbound-api", **numbers)  # is the other one
    world.clock.advance(LOST_DIAL_S + 1)
    assert await reconcile(world.context) == 1
    after = await world.call(call.id)
    assert (after.state, after.end_reason) == (CallState.FAILED, EndReason.CARRIER_FAILED)
    assert (await world.call(other.id)).state is CallState.QUEUED
    assert await world.slots() == 1


async def test_twins_are_left_to_their_callbacks(world: FrontWorld) -> None:
    call = await outbound(world, carrier_call_id=None)
    numbers = {"from": OUR_NUMBER, "to": CALLER}
    for sid in (CALL_SID, "CA" + "1" * 32):
        world.twilio.add(sid, "ringing", direction="outbound-api", **numbers)
    world.clock.advance(LOST_DIAL_S + 1)
    assert await reconcile(world.context) == 0
    assert (await world.call(call.id)).carrier_call_id is None


async def test_one_call_that_cannot_be_mended_does_not_hold_up_the_rest(world: FrontWorld) -> None:
    await admitted(world.store, carrier="gone", carrier_call_id="1", stream_started_at=NOON)
    call = await streaming(world)
    world.twilio.add(CALL_SID, "completed")
    world.clock.advance(60)
    assert await reconcile(world.context) == 1
    assert (await world.call(call.id)).state is CallState.COMPLETED
