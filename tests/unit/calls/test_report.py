from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.front import ACCOUNT_SID, CALL_SID, FrontWorld, open_world
from tests.support.stores import NOON, admitted
from trunkline.calls.report import apply_report
from trunkline.store import CallRecord, NewEvent
from trunkline.telephony.call import (
    FINAL_STATES,
    CallEvent,
    CallState,
    Direction,
    EndedBy,
    EndReason,
)
from trunkline.telephony.webhook import (
    AmdReported,
    AmdVerdict,
    CallChanged,
    StreamChanged,
    UnknownReport,
    WebhookEvent,
)


async def dialled(world: FrontWorld, **changes: object) -> CallRecord:
    values = {
        "carrier": "twilio",
        "account_id": ACCOUNT_SID,
        "direction": Direction.OUTBOUND,
        "state": CallState.QUEUED,
        "carrier_call_id": CALL_SID,
        **changes,
    }
    return await admitted(world.store, "carrier:twilio", **values)


def changed(event: CallEvent, sequence: int | None, **changes: object) -> CallChanged:
    values = {
        "carrier_call_id": CALL_SID,
        "account_id": ACCOUNT_SID,
        "event": event,
        "carrier_word": event.value,
        "sequence": sequence,
        "raw": {"CallStatus": event.value, "SequenceNumber": str(sequence)},
        **changes,
    }
    return CallChanged(**values)  # type: ignore[arg-type]


async def report(world: FrontWorld, call: CallRecord, *events: WebhookEvent) -> CallRecord:
    for event in events:
        await apply_report(world.context, await world.call(call.id), event)
    return await world.call(call.id)


async def test_a_call_goes_its_way(world: FrontWorld) -> None:
    call = await dialled(world)
    assert (await report(world, call, changed(CallEvent.RINGING, 1))).state is CallState.RINGING
    answered = await report(world, call, changed(CallEvent.ANSWERED, 2))
    assert answered.state is CallState.IN_PROGRESS
    assert answered.answered_at == world.clock.now
    ended = await report(world, call, changed(CallEvent.COMPLETED, 3, duration_s=7))
    assert (ended.state, ended.ended_by, ended.end_reason) == (
        CallState.COMPLETED,
        EndedBy.CALLER,
        EndReason.COMPLETED,
    )
    assert ended.duration_s == 7
    assert await world.slots() == 0


async def test_the_same_callback_twice_is_kept_once(world: FrontWorld) -> None:
    call = await dialled(world)
    await report(world, call, changed(CallEvent.RINGING, 1), changed(CallEvent.RINGING, 1))
    assert len(await world.events(call.id, "carrier_status")) == 1


async def test_an_older_callback_is_kept_and_changes_nothing(world: FrontWorld) -> None:
    call = await dialled(world)
    after = await report(world, call, changed(CallEvent.ANSWERED, 2), changed(CallEvent.RINGING, 1))
    assert after.state is CallState.IN_PROGRESS
    assert after.last_sequence == 2
    assert len(await world.events(call.id, "carrier_status")) == 2


@pytest.mark.parametrize(
    ("event", "state", "by", "reason"),
    [
        (CallEvent.BUSY, CallState.BUSY, EndedBy.CALLER, EndReason.BUSY),
        (CallEvent.NO_ANSWER, CallState.NO_ANSWER, EndedBy.CARRIER, EndReason.NO_ANSWER),
        (CallEvent.CANCELED, CallState.CANCELED, EndedBy.CARRIER, EndReason.CANCELED),
        (CallEvent.REJECTED, CallState.REJECTED, EndedBy.CALLER, EndReason.REJECTED),
        (CallEvent.FAILED, CallState.FAILED, EndedBy.CARRIER, EndReason.CARRIER_FAILED),
    ],
)
async def test_a_call_that_nobody_took(
    world: FrontWorld, event: CallEvent, state: CallState, by: EndedBy, reason: EndReason
) -> None:
    call = await dialled(world)
    ended = await report(world, call, changed(event, 3))
    assert (ended.state, ended.ended_by, ended.end_reason) == (state, by, reason)
    assert world.dispatcher.released == [call.id]
    assert world.gateways.dropped == [call.id]
    assert world.twilio.requests == []


async def test_an_inbound_caller_who_gives_up_has_canceled(world: FrontWorld) -> None:
    call = await dialled(world, direction=Direction.INBOUND, state=CallState.RINGING)
    ended = await report(world, call, changed(CallEvent.CANCELED, None))
    assert ended.ended_by is EndedBy.CALLER


async def test_a_final_event_counts_even_out_of_order(world: FrontWorld) -> None:
    call = await dialled(world)
    ended = await report(world, call, changed(CallEvent.RINGING, 5), changed(CallEvent.BUSY, 3))
    assert ended.state is CallState.BUSY


@given(order=st.permutations([*CallEvent]))
def test_a_final_state_is_never_left(order: list[CallEvent]) -> None:
    async def run() -> None:
        from pathlib import Path

        async with open_world(Path("unused")) as world:
            call = await dialled(world)
            ended: CallState | None = None
            for sequence, event in enumerate(order):
                now = await report(world, call, changed(event, sequence))
                assert ended is None or now.state is ended
                ended = now.state if now.state in FINAL_STATES else ended
            assert ended is not None

    asyncio.run(run())


async def test_callbacks_side_by_side_do_not_move_a_call_back(world: FrontWorld) -> None:
    call = await dialled(world)
    # Each was read before any of the others was written, as with requests that overlap.
    await asyncio.gather(
        *(
            apply_report(world.context, call, changed(event, sequence))
            for event, sequence in (
                (CallEvent.COMPLETED, 3),
                (CallEvent.ANSWERED, 2),
                (CallEvent.RINGING, 1),
            )
        )
    )
    after = await world.call(call.id)
    assert after.state is CallState.COMPLETED
    assert len(await world.events(call.id, "carrier_status")) == 3


async def test_an_unknown_word_is_kept_and_changes_nothing(world: FrontWorld) -> None:
    call = await dialled(world)
    after = await report(world, call, changed(CallEvent.UNKNOWN, 1, carrier_word="hovering"))
    assert after.state is CallState.QUEUED
    [event] = await world.events(call.id, "carrier_status")
    assert event.data["carrier_word"] == "hovering"


async def test_the_first_callback_brings_the_carrier_s_id(world: FrontWorld) -> None:
    call = await dialled(world, carrier_call_id=None)
    after = await report(world, call, changed(CallEvent.INITIATED, 0))
    assert after.carrier_call_id == CALL_SID


async def test_who_wanted_the_end_is_who_ended_it(world: FrontWorld) -> None:
    call = await dialled(world, state=CallState.IN_PROGRESS, answered_at=NOON)
    for kind, data in (
        ("bot_failed", {"reason": "died", "detail": "exit status 9"}),
        ("hangup_wanted", {"by": "platform", "reason": "bot_failed"}),
    ):
        await world.store.append_event(
            NewEvent(call_id=call.id, kind=kind, at=world.clock.now, data=data)
        )
    ended = await report(world, call, changed(CallEvent.COMPLETED, 3))
    assert (ended.ended_by, ended.end_reason) == (EndedBy.PLATFORM, EndReason.BOT_FAILED)
    assert ended.state is CallState.FAILED
    assert ended.error == "the bot failed (died): exit status 9"


async def test_a_leg_that_lives_after_its_record_was_closed_is_ended(world: FrontWorld) -> None:
    call = await dialled(world, carrier_call_id=None, state=CallState.CANCELED)
    world.twilio.add(CALL_SID, "ringing", direction="outbound-api")
    await report(world, call, changed(CallEvent.RINGING, 1))
    await world.settled()
    assert world.twilio.hangups == [CALL_SID]
    assert not (await world.call(call.id)).hangup_pending


async def test_a_late_callback_of_a_known_call_asks_for_nothing(world: FrontWorld) -> None:
    call = await dialled(world, state=CallState.COMPLETED)
    await report(world, call, changed(CallEvent.RINGING, 1))
    await world.settled()
    assert world.twilio.requests == []


async def test_detection_is_on_record(world: FrontWorld) -> None:
    call = await dialled(world)
    verdict = AmdReported(
        carrier_call_id=CALL_SID,
        account_id=ACCOUNT_SID,
        verdict=AmdVerdict.MACHINE,
        carrier_word="machine_end_beep",
        raw={"AnsweredBy": "machine_end_beep"},
    )
    after = await report(world, call, verdict, verdict)
    assert after.answered_by == "machine"
    [event] = await world.events(call.id, "amd")
    assert event.data == {"verdict": "machine", "carrier_word": "machine_end_beep"}


async def test_other_reports_are_kept(world: FrontWorld) -> None:
    call = await dialled(world)
    ids = {"carrier_call_id": CALL_SID, "account_id": ACCOUNT_SID}
    stream = StreamChanged(
        **ids, stream_id="MZ1", word="stream-error", error="31921", raw={"a": "1"}
    )
    unknown = UnknownReport(**ids, word="RecordingStatus=completed", raw={"b": "2"})
    await report(world, call, stream, unknown)
    kinds = [event.kind for event in await world.events(call.id)]
    assert kinds == ["carrier_stream", "carrier_unknown"]
