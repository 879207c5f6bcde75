from __future__ import annotations

import httpx
import pytest

from tests.support.front import ACCOUNT_SID, CALL_SID, FrontWorld
from tests.support.stores import NOON, admitted
from trunkline.calls import finish
from trunkline.store import CallRecord, NewEvent
from trunkline.telephony.call import CallEvent, CallState, EndedBy, EndReason


async def answered(world: FrontWorld, **changes: object) -> CallRecord:
    values = {
        "carrier": "twilio",
        "account_id": ACCOUNT_SID,
        "carrier_call_id": CALL_SID,
        "state": CallState.IN_PROGRESS,
        "answered_at": NOON,
        **changes,
    }
    return await admitted(world.store, "carrier:twilio", **values)


async def end(world: FrontWorld, call: CallRecord, **changes: object) -> CallRecord:
    values = {"by": EndedBy.BOT, "reason": EndReason.COMPLETED, "leg_is_down": True, **changes}
    return await finish.finish_call(world.context, call, **values)  # type: ignore[arg-type]


async def test_the_end_is_written_and_the_slot_is_free(world: FrontWorld) -> None:
    call = await answered(world)
    world.clock.advance(12.5)
    ended = await end(world, call, changes={"stats": {"frames": 1}})
    assert (ended.state, ended.ended_at, ended.duration_s) == (
        CallState.COMPLETED,
        world.clock.now,
        12.5,
    )
    assert ended.stats == {"frames": 1}
    assert await world.slots() == 0
    assert world.twilio.requests == []


async def test_a_second_end_only_adds_what_it_knows(world: FrontWorld) -> None:
    call = await answered(world)
    first = await end(world, call)
    again = await end(world, call, by=EndedBy.CALLER, changes={"duration_s": 3.0})
    assert (again.ended_by, again.duration_s) == (first.ended_by, 3.0)
    assert len(await world.events(call.id, "ended")) == 1


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        (EndReason.SILENCE, CallState.COMPLETED),
        (EndReason.MAX_DURATION, CallState.COMPLETED),
        (EndReason.SOCKET_LOST, CallState.FAILED),
        (EndReason.BOT_FAILED, CallState.FAILED),
        (EndReason.CARRIER_FAILED, CallState.FAILED),
        (EndReason.REJECTED, CallState.REJECTED),
    ],
)
async def test_the_reason_decides_the_state(
    world: FrontWorld, reason: EndReason, state: CallState
) -> None:
    assert (await end(world, await answered(world), reason=reason)).state is state


async def test_a_leg_that_may_be_up_is_ended(world: FrontWorld) -> None:
    world.twilio.add(CALL_SID, "in-progress")
    ended = await end(world, await answered(world), leg_is_down=False)
    assert world.twilio.hangups == [CALL_SID]
    assert not ended.hangup_pending
    assert not (await world.call(ended.id)).hangup_pending


async def test_what_the_carrier_did_not_confirm_stays_pending(world: FrontWorld) -> None:
    world.twilio.faults.append(httpx.Response(500))
    ended = await end(world, await answered(world), leg_is_down=False)
    assert ended.hangup_pending
    assert [call.id for call in await world.store.fetch_open_calls()] == [ended.id]
    # The carrier's own word that it is over settles it.
    assert not (await end(world, ended, leg_is_down=True)).hangup_pending
    assert await world.store.fetch_open_calls() == []


async def test_already_over_is_success(world: FrontWorld) -> None:
    world.twilio.faults.append(httpx.Response(400, json={"code": 21220}))
    assert await finish.hang_up_leg(world.context, await answered(world))


async def test_without_credentials_the_hang_up_waits(world: FrontWorld) -> None:
    call = await answered(world)
    world.environment.clear()
    ended = await end(world, call, leg_is_down=False)
    assert ended.hangup_pending
    assert ended.state is CallState.COMPLETED


async def test_a_call_without_a_carrier_s_id_has_no_leg_to_end(world: FrontWorld) -> None:
    call = await answered(world, carrier_call_id=None)
    assert not (await end(world, call, leg_is_down=False)).hangup_pending
    assert not await finish.hang_up_leg(world.context, call)
    assert await finish.ask_carrier(world.context, call) is None


async def test_the_first_wish_counts_and_odd_words_do_no_harm(world: FrontWorld) -> None:
    call = await answered(world)
    assert await finish.why_wanted(world.context, call.id) is None
    for data in ({"by": "gremlin", "reason": "silence"}, {"by": "api", "reason": "completed"}):
        await world.store.append_event(
            NewEvent(call_id=call.id, kind="hangup_wanted", at=NOON, data=data)
        )
    wanted = await finish.why_wanted(world.context, call.id)
    assert wanted == (EndedBy.PLATFORM, EndReason.SILENCE)


async def test_the_bot_s_failure_is_the_record_s_error(world: FrontWorld) -> None:
    call = await answered(world)
    data = {"reason": "hung", "detail": ""}
    await world.store.append_event(NewEvent(call_id=call.id, kind="bot_failed", at=NOON, data=data))
    ended = await end(world, call, reason=EndReason.BOT_FAILED)
    assert ended.error == "the bot failed (hung)"


async def test_what_ends_nothing_explains_nothing(world: FrontWorld) -> None:
    call = await answered(world)
    for event in (CallEvent.RINGING, CallEvent.ANSWERED, CallEvent.UNKNOWN):
        assert finish.end_of_carrier_event(event, call) is None
