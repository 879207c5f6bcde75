from __future__ import annotations

import httpx
import pytest

from tests.support.front import ACCOUNT_SID, CALL_SID, FrontWorld
from tests.support.stores import NOON, admitted
from trunkline.calls.control import hang_up
from trunkline.errors import CarrierUnavailable, UnknownCall
from trunkline.store import CallRecord
from trunkline.telephony.call import CallState, EndedBy, EndReason


async def call_of(world: FrontWorld, **changes: object) -> CallRecord:
    values = {
        "carrier": "twilio",
        "account_id": ACCOUNT_SID,
        "carrier_call_id": CALL_SID,
        **changes,
    }
    return await admitted(world.store, "carrier:twilio", **values)


async def test_a_live_call_is_ended_by_its_gateway(world: FrontWorld) -> None:
    call = await call_of(world, state=CallState.IN_PROGRESS)
    world.gateways.live.add(call.id)
    assert (await hang_up(world.context, call.id)).state is CallState.IN_PROGRESS
    assert world.gateways.ended == [(call.id, "api", "completed")]
    assert world.twilio.requests == []


async def test_a_call_that_rings_is_ended_by_rest(world: FrontWorld) -> None:
    call = await call_of(world, state=CallState.RINGING)
    world.twilio.add(CALL_SID, "ringing")
    ended = await hang_up(world.context, call.id)
    assert (ended.state, ended.ended_by, ended.end_reason) == (
        CallState.CANCELED,
        EndedBy.API,
        EndReason.CANCELED,
    )
    assert world.twilio.hangups == [CALL_SID]
    assert world.dispatcher.released == [call.id]
    assert await world.slots() == 0


async def test_an_answered_call_without_a_stream_is_completed(world: FrontWorld) -> None:
    call = await call_of(world, state=CallState.IN_PROGRESS, answered_at=NOON)
    world.twilio.add(CALL_SID, "in-progress")
    ended = await hang_up(world.context, call.id)
    assert (ended.state, ended.end_reason) == (CallState.COMPLETED, EndReason.COMPLETED)


async def test_one_that_is_over_there_already_is_over_here_too(world: FrontWorld) -> None:
    call = await call_of(world)
    assert (await hang_up(world.context, call.id)).ended_by is EndedBy.API


async def test_one_that_is_over_is_returned_as_it_is(world: FrontWorld) -> None:
    call = await call_of(world, state=CallState.BUSY)
    assert await hang_up(world.context, call.id) == call
    assert world.gateways.ended == []


async def test_a_carrier_that_is_away_leaves_the_call_open(world: FrontWorld) -> None:
    call = await call_of(world)
    world.twilio.faults.append(httpx.ConnectError("refused"))
    with pytest.raises(CarrierUnavailable):
        await hang_up(world.context, call.id)
    assert (await world.call(call.id)).state is CallState.RINGING
    assert await world.slots() == 1


async def test_there_is_no_such_call(world: FrontWorld) -> None:
    with pytest.raises(UnknownCall):
        await hang_up(world.context, "nobody")
