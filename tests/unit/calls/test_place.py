from __future__ import annotations

from xml.etree import ElementTree

import httpx
import pytest

from tests.support.front import CALLER, OUR_NUMBER, FrontWorld
from trunkline.calls.control import hang_up
from trunkline.calls.place import CARRIER_MARGIN_S, OutboundRequest, place_call
from trunkline.calls.report import apply_report
from trunkline.errors import (
    CarrierError,
    CarrierRejected,
    CarrierTimeout,
    CarrierUnavailable,
    ConfigError,
    DispatchError,
    Draining,
    InvalidNumber,
    InvalidRequest,
    NoFreeSlot,
    UnknownAgent,
    UnknownCarrier,
)
from trunkline.store import CallFilter, CallRecord
from trunkline.telephony.call import CallEvent, CallState, Direction, EndedBy, EndReason
from trunkline.telephony.carrier import AmdMode
from trunkline.telephony.webhook import CallChanged


def request(**changes: object) -> OutboundRequest:
    values = {"agent_name": "front-desk", "to_number": CALLER, **changes}
    return OutboundRequest(**values)  # type: ignore[arg-type]


async def only_call(world: FrontWorld) -> CallRecord:
    page = await world.store.fetch_calls(CallFilter(), limit=10)
    assert len(page.calls) == 1
    return page.calls[0]


async def test_a_call_is_written_gets_its_worker_and_is_dialled(world: FrontWorld) -> None:
    await world.agent()
    call, is_new = await place_call(
        world.context, request(body={"customer": "Ada", "order": 42, "note": "n" * 500, "o": {}})
    )
    assert is_new
    assert (call.direction, call.state) == (Direction.OUTBOUND, CallState.QUEUED)
    assert (call.from_number, call.to_number) == (OUR_NUMBER, CALLER)
    assert call.body == {"customer": "Ada", "order": 42, "note": "n" * 500, "o": {}}
    assert call.carrier_call_id == next(iter(world.twilio.calls))
    assert world.dispatcher.reserved == [call.id]
    [dial] = world.twilio.dials
    assert (dial["To"], dial["From"], dial["Timeout"]) == ([CALLER], [OUR_NUMBER], ["60"])
    assert dial["StatusCallback"] == [
        f"https://voice.example.com/telephony/twilio/events/{call.id}"
    ]
    markup = ElementTree.fromstring(dial["Twiml"][0])  # noqa: S314 - our own markup
    assert {part.attrib["name"]: part.attrib["value"] for part in markup.iter("Parameter")} == {
        "agent_name": "front-desk",
        "direction": "outbound",
        "from_number": OUR_NUMBER,
        "to_number": CALLER,
        "customer": "Ada",
        "order": "42",
    }
    assert "MachineDetection" not in dial
    assert "TimeLimit" not in dial


async def test_markup_that_is_too_long_is_fetched(world: FrontWorld) -> None:
    await world.agent()
    body = {f"key{number}": "x" * 400 for number in range(12)}
    call, _ = await place_call(world.context, request(body=body))
    [dial] = world.twilio.dials
    assert "Twiml" not in dial
    assert dial["Url"] == [f"https://voice.example.com/telephony/twilio/answer/{call.id}"]


async def test_the_carrier_s_limit_lies_above_ours(world: FrontWorld) -> None:
    await world.agent()
    await place_call(world.context, request(max_duration_s=60, amd=AmdMode.MESSAGE_END))
    [dial] = world.twilio.dials
    assert dial["TimeLimit"] == [str(60 + CARRIER_MARGIN_S)]
    assert dial["MachineDetection"] == ["DetectMessageEnd"]


async def test_without_a_caller_id_nothing_is_done(world: FrontWorld) -> None:
    await world.agent()
    del world.environment["TWILIO_PHONE_NUMBER"]
    with pytest.raises(InvalidRequest, match="TWILIO_PHONE_NUMBER") as caught:
        await place_call(world.context, request())
    assert caught.value.code == "caller_id_missing"
    assert (await world.store.fetch_calls(CallFilter(), limit=1)).calls == []


@pytest.mark.parametrize("field", ["to_number", "from_number"])
@pytest.mark.parametrize("number", ["4155550100", "+1", "+1415555010x", "", "+999999999999999999"])
async def test_numbers_are_e164(world: FrontWorld, field: str, number: str) -> None:
    await world.agent()
    if (field, number) == ("from_number", ""):
        number = "x"  # blank means the default
    with pytest.raises(InvalidNumber) as caught:
        await place_call(world.context, request(**{field: number}))
    assert caught.value.field == field
    assert world.twilio.requests == []


async def test_who_is_unknown_is_named(world: FrontWorld) -> None:
    with pytest.raises(UnknownAgent):
        await place_call(world.context, request())
    await world.agent()
    with pytest.raises(UnknownCarrier):
        await place_call(world.context, request(provider="acme"))
    world.environment.clear()
    with pytest.raises(ConfigError, match="TWILIO_ACCOUNT_SID"):
        await place_call(world.context, request(provider="twilio"))
    with pytest.raises(InvalidRequest) as caught:
        await place_call(world.context, request())
    assert caught.value.code == "provider_missing"


async def test_at_the_limit_the_refusal_says_how_many(world: FrontWorld) -> None:
    await world.agent(max_concurrent_calls=20)
    for _ in range(10):
        await place_call(world.context, request())
    with pytest.raises(NoFreeSlot) as caught:
        await place_call(world.context, request())
    assert caught.value.details == {
        "scope": "carrier:twilio",
        "provider": "twilio",
        "limit": 10,
        "in_use": 10,
    }
    assert len(world.twilio.dials) == 10


async def test_draining_places_nothing(world: FrontWorld) -> None:
    await world.agent()
    world.draining.append(True)
    with pytest.raises(Draining):
        await place_call(world.context, request())


async def test_the_same_key_is_the_same_call(world: FrontWorld) -> None:
    await world.agent()
    first, _ = await place_call(world.context, request(idempotency_key="once"))
    world.draining.append(True)
    second, is_new = await place_call(world.context, request(idempotency_key="once"))
    assert not is_new
    assert second.id == first.id
    assert len(world.twilio.dials) == 1


@pytest.mark.parametrize("failure", [DispatchError("no worker"), ConfigError("no key")])
async def test_no_worker_no_dial(world: FrontWorld, failure: Exception) -> None:
    await world.agent()
    world.dispatcher.failure = failure
    with pytest.raises(type(failure)):
        await place_call(world.context, request())
    call = await only_call(world)
    assert (call.state, call.end_reason, call.ended_by, call.error) == (
        CallState.FAILED,
        EndReason.BOT_FAILED,
        EndedBy.PLATFORM,
        str(failure),
    )
    assert await world.slots() == 0
    assert world.twilio.requests == []
    assert world.dispatcher.released == [call.id]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (httpx.Response(400, json={"code": 21211}), CarrierRejected),
        (httpx.Response(401, json={"code": 20003}), CarrierRejected),
        (httpx.Response(429), CarrierError),
        (httpx.ConnectError("refused"), CarrierUnavailable),
    ],
)
async def test_a_dial_that_did_not_happen_closes_the_record(
    world: FrontWorld, fault: httpx.Response | Exception, error: type[CarrierError]
) -> None:
    await world.agent()
    world.twilio.faults.append(fault)
    with pytest.raises(error):
        await place_call(world.context, request())
    call = await only_call(world)
    assert (call.state, call.ended_by, call.end_reason) == (
        CallState.FAILED,
        EndedBy.CARRIER,
        EndReason.CARRIER_FAILED,
    )
    assert call.error
    assert not call.hangup_pending
    assert await world.slots() == 0
    assert world.dispatcher.released == [call.id]
    assert len(world.twilio.requests) == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (httpx.ReadTimeout("slow"), CarrierTimeout),
        (httpx.Response(500), CarrierUnavailable),
        (httpx.RemoteProtocolError("cut"), CarrierUnavailable),
    ],
)
async def test_a_dial_that_may_have_happened_is_neither_repeated_nor_given_up(
    world: FrontWorld, fault: httpx.Response | Exception, error: type[CarrierError]
) -> None:
    await world.agent()
    world.twilio.faults.append(fault)
    with pytest.raises(error):
        await place_call(world.context, request())
    call = await only_call(world)
    assert call.state is CallState.QUEUED
    assert call.error
    assert await world.slots() == 1
    assert len(world.twilio.requests) == 1


async def test_a_callback_may_overtake_the_dial_s_answer(world: FrontWorld) -> None:
    await world.agent()

    async def answered_already(call_id: str) -> None:
        call = await world.call(call_id)
        report = CallChanged(
            carrier_call_id=f"CA{1:032x}",
            account_id=call.account_id,
            event=CallEvent.ANSWERED,
            carrier_word="in-progress",
            sequence=2,
            raw={"SequenceNumber": "2"},
        )
        await apply_report(world.context, call, report)

    world.dispatcher.while_reserving = answered_already
    call, _ = await place_call(world.context, request())
    assert call.state is CallState.IN_PROGRESS
    assert call.carrier_call_id == f"CA{1:032x}"


async def test_a_call_that_was_given_up_while_it_was_dialled_is_ended(world: FrontWorld) -> None:
    await world.agent()

    async def give_up(call_id: str) -> None:
        await hang_up(world.context, call_id)

    world.dispatcher.while_reserving = give_up
    call, _ = await place_call(world.context, request())
    assert (call.state, call.end_reason) == (CallState.CANCELED, EndReason.CANCELED)
    assert world.twilio.hangups == [f"CA{1:032x}"]
    assert not (await world.call(call.id)).hangup_pending
    assert await world.slots() == 0
