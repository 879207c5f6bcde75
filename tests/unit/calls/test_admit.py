from __future__ import annotations

import asyncio
from xml.etree import ElementTree

import pytest

from tests.support.front import ACCOUNT_SID, CALL_SID, CALLER, OUR_NUMBER, FrontWorld
from tests.support.waiting import eventually
from trunkline import carriers
from trunkline.calls import admit
from trunkline.errors import ConfigError, DispatchError, UnknownAgent, UnsupportedByCarrier
from trunkline.store import CallFilter, CallRecord, Overflow, OverflowAction
from trunkline.telephony.call import CallState, Direction, EndedBy, EndReason
from trunkline.telephony.webhook import IncomingCall

TWILIO = carriers.get("twilio")


def incoming(sid: str = CALL_SID, **changes: str) -> IncomingCall:
    return IncomingCall(
        carrier_call_id=sid,
        account_id=ACCOUNT_SID,
        direction=Direction.INBOUND,
        from_number=changes.get("from_number", CALLER),
        to_number=OUR_NUMBER,
    )


async def ring(
    world: FrontWorld, sid: str = CALL_SID, *, agent: str = "front-desk", **changes: str
) -> ElementTree.Element:
    account = await world.context.accounts.account(TWILIO)
    document = await admit.admit_inbound(
        world.context, TWILIO, account, agent, incoming(sid, **changes)
    )
    return ElementTree.fromstring(document.body)  # noqa: S314 - our own markup


async def only_call(world: FrontWorld) -> CallRecord:
    page = await world.store.fetch_calls(CallFilter(), limit=10)
    assert len(page.calls) == 1
    return page.calls[0]


async def test_a_new_call_gets_slot_worker_record_and_stream(world: FrontWorld) -> None:
    await world.agent()
    response = await ring(world)
    call = await only_call(world)
    assert call.state is CallState.RINGING
    assert (call.from_number, call.to_number) == (CALLER, OUR_NUMBER)
    assert world.dispatcher.reserved == [call.id]
    assert await world.store.count_slots() == {
        "carrier:twilio": 1,
        "agent:front-desk": 1,
        "machine": 1,
    }
    stream = response.find("Connect/Stream")
    assert stream is not None
    assert stream.attrib["url"].startswith(
        f"wss://voice.example.com/ws/twilio/front-desk/{call.id}."
    )
    assert {part.attrib["name"]: part.attrib["value"] for part in stream} == {
        "agent_name": "front-desk",
        "direction": "inbound",
        "from_number": CALLER,
        "to_number": OUR_NUMBER,
        "twilio_call_sid": CALL_SID,
    }
    redirect = response.find("Redirect")
    assert redirect is not None
    assert redirect.text == f"https://voice.example.com/telephony/twilio/continue/{call.id}"


async def test_a_repeated_webhook_gets_the_same_markup_and_no_second_slot(
    world: FrontWorld,
) -> None:
    await world.agent()
    first = await ring(world)
    world.clock.advance(3)
    second = await ring(world)
    assert ElementTree.tostring(first) == ElementTree.tostring(second)
    assert await world.slots() == 1
    assert len(world.dispatcher.reserved) == 1


async def test_a_webhook_that_comes_twice_at_once_is_one_call(world: FrontWorld) -> None:
    await world.agent()
    first, second = await asyncio.gather(ring(world), ring(world))
    assert ElementTree.tostring(first) == ElementTree.tostring(second)
    assert await world.slots() == 1


async def test_the_eleventh_call_is_busy_and_on_record(world: FrontWorld) -> None:
    await world.agent()
    for number in range(10):
        assert (await ring(world, f"CA{number:032x}")).find("Connect") is not None
    response = await ring(world, f"CA{10:032x}")
    reject = response.find("Reject")
    assert reject is not None
    assert reject.attrib == {"reason": "busy"}
    assert await world.slots() == 10
    refused = await world.store.fetch_call_by_carrier_id("twilio", ACCOUNT_SID, f"CA{10:032x}")
    assert refused is not None
    assert (refused.state, refused.ended_by, refused.end_reason) == (
        CallState.REJECTED,
        EndedBy.PLATFORM,
        EndReason.REJECTED,
    )
    assert refused.error == "10 of 10 calls are in use in carrier:twilio"
    # The same webhook again is busy again, and changes nothing.
    assert (await ring(world, f"CA{10:032x}")).find("Reject") is not None
    assert await world.slots() == 10


async def test_a_place_that_is_given_back_is_taken_by_the_next_call(world: FrontWorld) -> None:
    await world.agent(max_concurrent_calls=1)
    await ring(world)
    assert (await ring(world, f"CA{2:032x}")).find("Reject") is not None
    await world.store.free_slots((await _call(world, CALL_SID)).id)
    assert (await ring(world, f"CA{3:032x}")).find("Connect") is not None


async def _call(world: FrontWorld, sid: str) -> CallRecord:
    found = await world.store.fetch_call_by_carrier_id("twilio", ACCOUNT_SID, sid)
    assert found is not None
    return found


async def test_draining_admits_nobody_but_answers_whom_it_knows(world: FrontWorld) -> None:
    await world.agent()
    known = await ring(world)
    world.draining.append(True)
    assert ElementTree.tostring(await ring(world)) == ElementTree.tostring(known)
    assert (await ring(world, f"CA{2:032x}")).find("Reject") is not None
    assert (await _call(world, f"CA{2:032x}")).error == "draining"
    assert await world.slots() == 1


@pytest.mark.parametrize("name", ["nobody", "asleep"])
async def test_no_such_agent_or_a_disabled_one(world: FrontWorld, name: str) -> None:
    await world.agent("asleep", enabled=False)
    with pytest.raises(UnknownAgent):
        await ring(world, agent=name)
    assert (await world.store.fetch_calls(CallFilter(), limit=1)).calls == []


async def test_overflow_may_be_a_message(world: FrontWorld) -> None:
    overflow = Overflow(action=OverflowAction.MESSAGE, message="Call <again> later.")
    await world.agent(overflow=overflow)
    world.draining.append(True)
    response = await ring(world)
    assert response.findtext("Say") == "Call <again> later."
    assert response.find("Hangup") is not None


async def test_overflow_may_be_another_number(world: FrontWorld) -> None:
    await world.agent(overflow=Overflow(action=OverflowAction.FORWARD, number="+14155550111"))
    world.draining.append(True)
    response = await ring(world)
    assert response.findtext("Dial/Number") == "+14155550111"
    dial = response.find("Dial")
    assert dial is not None
    assert dial.attrib["callerId"] == OUR_NUMBER


@pytest.mark.parametrize("failure", [DispatchError("no worker"), ConfigError("no key")])
async def test_no_worker_is_overflow_and_gives_the_slot_back(
    world: FrontWorld, failure: Exception
) -> None:
    await world.agent()
    world.dispatcher.failure = failure
    assert (await ring(world)).find("Reject") is not None
    call = await only_call(world)
    assert (call.state, call.end_reason, call.error) == (
        CallState.REJECTED,
        EndReason.BOT_FAILED,
        str(failure),
    )
    assert await world.slots() == 0


async def test_a_cold_worker_does_not_keep_the_webhook_waiting(world: FrontWorld) -> None:
    await world.agent()
    world.dispatcher.ready.clear()
    assert (await ring(world)).find("Connect") is not None
    assert world.dispatcher.reserved == []
    world.dispatcher.ready.set()
    await eventually(lambda: world.dispatcher.reserved, what="the reservation")


async def test_a_webhook_for_a_call_that_is_over_hangs_up(world: FrontWorld) -> None:
    await world.agent()
    await ring(world)
    await world.store.change_call((await only_call(world)).id, {"state": CallState.COMPLETED})
    assert [verb.tag for verb in await ring(world)] == ["Hangup"]


async def test_a_caller_whose_name_does_not_fit_is_left_out_of_the_markup(
    world: FrontWorld,
) -> None:
    await world.agent()
    response = await ring(world, from_number="sip:" + "x" * 600 + "@example.com")
    names = [part.attrib["name"] for part in response.iter("Parameter")]
    assert "from_number" not in names
    assert "to_number" in names
    assert len((await only_call(world)).from_number) > 600


def test_text_numbers_and_booleans_of_a_body_are_parameters() -> None:
    body = {"name": "Ada", "order": 42, "rate": 1.5, "vip": True, "x": None, "list": [1], "o": {}}
    assert admit.text_parameters(body) == {
        "name": "Ada",
        "order": "42",
        "rate": "1.5",
        "vip": "true",
    }
    assert admit.text_parameters("text") == {}
    assert admit.text_parameters(None) == {}


async def test_an_answered_call_of_another_carrier_is_refused(world: FrontWorld) -> None:
    await world.agent()
    await ring(world)
    from dataclasses import replace

    call = replace(await only_call(world), carrier="acme")
    account = await world.context.accounts.account(TWILIO)
    with pytest.raises(UnsupportedByCarrier):
        await admit.answer_outbound(world.context, TWILIO, account, call)
