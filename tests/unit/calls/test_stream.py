from __future__ import annotations

import pytest

from tests.support.front import (
    ACCOUNT_SID,
    CALL_SID,
    CALLER,
    OUR_NUMBER,
    FrontWorld,
    signature,
)
from tests.support.stores import NOON, admitted
from trunkline import carriers
from trunkline.calls.admit import connect_document
from trunkline.calls.stream import StreamGrant, grant_stream, look_up_numbers, stream_not_taken
from trunkline.errors import (
    DispatchError,
    Draining,
    MissingProof,
    NoFreeSlot,
    SignatureError,
    TokenError,
    UnknownAgent,
    UnknownCarrier,
)
from trunkline.store import CallRecord, NewEvent
from trunkline.telephony.call import CallState, Direction, EndReason
from trunkline.telephony.webhook import UpgradeRequest

STATIC = "wss://voice.example.com/ws/twilio/front-desk"


async def waiting_call(world: FrontWorld, **changes: object) -> CallRecord:
    values = {
        "carrier": "twilio",
        "account_id": ACCOUNT_SID,
        "carrier_call_id": CALL_SID,
        "created_at": world.clock.now,
        **changes,
    }
    return await admitted(world.store, "carrier:twilio", **values)


async def token_of(world: FrontWorld, call: CallRecord) -> str:
    twilio = carriers.get("twilio")
    account = await world.context.accounts.account(twilio)
    markup = connect_document(world.context, twilio, account, call).body.decode()
    return markup.split(f"{STATIC}/")[1].split('"')[0]


async def knock(
    world: FrontWorld,
    token: str | None,
    *,
    agent: str = "front-desk",
    carrier: str = "twilio",
    signed: str | None = "",
) -> StreamGrant:
    url = f"wss://voice.example.com/ws/{carrier}/{agent}" + (f"/{token}" if token else "")
    headers = [] if signed is None else [("x-twilio-signature", signed or signature(url))]
    return await grant_stream(
        world.context,
        carrier_name=carrier,
        agent_name=agent,
        token=token,
        upgrade=UpgradeRequest(url=url, headers=headers),
    )


async def test_the_call_s_own_socket_comes_in(world: FrontWorld) -> None:
    await world.agent(max_duration_s=600)
    call = await waiting_call(world)
    grant = await knock(world, await token_of(world, call))
    assert grant.call.id == call.id
    assert not grant.is_static
    assert (grant.stream_number, grant.max_duration_s) == (1, 600)
    assert grant.recording_path == world.context.recordings_dir / f"2026/03/01/{call.id}.wav"
    assert await world.slots() == 1


async def test_an_agent_that_does_not_record_has_no_path(world: FrontWorld) -> None:
    await world.agent(record=False)
    call = await waiting_call(world)
    assert (await knock(world, await token_of(world, call))).recording_path is None


async def test_a_call_placed_with_a_shorter_limit_keeps_it(world: FrontWorld) -> None:
    await world.agent(max_duration_s=600)
    call = await waiting_call(world, direction=Direction.OUTBOUND)
    admitted_event = NewEvent(
        call_id=call.id, kind="admitted", at=NOON, data={"max_duration_s": 60}
    )
    await world.store.append_event(admitted_event)
    assert (await knock(world, await token_of(world, call))).max_duration_s == 60


async def test_forged_expired_or_another_agent_s(world: FrontWorld) -> None:
    await world.agent()
    await world.agent("back-office")
    token = await token_of(world, await waiting_call(world))
    with pytest.raises(TokenError, match="forged"):
        await knock(world, token[:-2] + ("AA" if token[-2:] != "AA" else "BB"))
    with pytest.raises(TokenError, match="forged"):
        await knock(world, token, agent="back-office")
    world.clock.advance(61)
    with pytest.raises(TokenError, match="expired"):
        await knock(world, token)


async def test_a_token_alone_is_not_enough_where_the_carrier_signs(world: FrontWorld) -> None:
    await world.agent()
    token = await token_of(world, await waiting_call(world))
    with pytest.raises(MissingProof):
        await knock(world, token, signed=None)
    with pytest.raises(SignatureError):
        await knock(world, token, signed="forged")


async def test_a_token_is_used_up_by_the_stream_that_started(world: FrontWorld) -> None:
    await world.agent()
    call = await waiting_call(world, stream_started_at=NOON, state=CallState.IN_PROGRESS)
    with pytest.raises(TokenError, match="used up"):
        await knock(world, await token_of(world, call))


async def test_a_gateway_that_has_the_socket_counts_before_its_journal(world: FrontWorld) -> None:
    await world.agent()
    call = await waiting_call(world)
    world.gateways.live.add(call.id)
    with pytest.raises(TokenError, match="used up"):
        await knock(world, await token_of(world, call))


async def test_a_call_that_is_over_takes_no_stream(world: FrontWorld) -> None:
    await world.agent()
    call = await waiting_call(world, state=CallState.CANCELED)
    with pytest.raises(TokenError, match="over"):
        await knock(world, await token_of(world, call))


async def test_a_call_whose_agent_was_deleted(world: FrontWorld) -> None:
    call = await waiting_call(world)
    with pytest.raises(UnknownAgent):
        await knock(world, await token_of(world, call))


async def test_draining_lets_admitted_calls_in(world: FrontWorld) -> None:
    await world.agent()
    call = await waiting_call(world)
    world.draining.append(True)
    assert (await knock(world, await token_of(world, call))).call.id == call.id
    with pytest.raises(Draining):
        await knock(world, None)


async def test_a_static_url_is_admitted_by_its_signature(world: FrontWorld) -> None:
    await world.agent()
    grant = await knock(world, None)
    assert grant.is_static
    assert grant.call.state is CallState.RINGING
    assert world.dispatcher.reserved == [grant.call.id]
    assert await world.slots() == 1


async def test_a_static_url_without_proof_or_agent(world: FrontWorld) -> None:
    with pytest.raises(MissingProof):
        await knock(world, None, signed=None)
    with pytest.raises(SignatureError):
        await knock(world, None, signed="forged")
    with pytest.raises(UnknownAgent):
        await knock(world, None)
    with pytest.raises(UnknownCarrier):
        await knock(world, None, carrier="acme")
    assert await world.slots() == 0


async def test_a_static_url_s_eleventh_socket_is_refused(world: FrontWorld) -> None:
    await world.agent()
    for _ in range(10):
        await knock(world, None)
    with pytest.raises(NoFreeSlot):
        await knock(world, None)
    assert await world.slots() == 10


async def test_a_static_url_without_a_worker_gives_everything_back(world: FrontWorld) -> None:
    await world.agent()
    world.dispatcher.failure = DispatchError("no worker")
    with pytest.raises(DispatchError):
        await knock(world, None)
    assert await world.slots() == 0
    assert await world.store.fetch_open_calls() == []


async def test_a_socket_that_no_gateway_took(world: FrontWorld) -> None:
    await world.agent()
    grant = await knock(world, None)
    await stream_not_taken(world.context, grant.call, "no gateway")
    after = await world.call(grant.call.id)
    assert (after.state, after.end_reason, after.error) == (
        CallState.REJECTED,
        EndReason.REJECTED,
        "no gateway",
    )
    assert await world.slots() == 0
    assert world.dispatcher.released == [grant.call.id]


async def test_numbers_are_looked_up_and_written(world: FrontWorld) -> None:
    call = await waiting_call(world, carrier_call_id=None, from_number="", to_number="")
    world.twilio.add(CALL_SID, "in-progress")
    assert await look_up_numbers(world.context, call.id, CALL_SID) == (CALLER, OUR_NUMBER)
    after = await world.call(call.id)
    assert (after.from_number, after.to_number) == (CALLER, OUR_NUMBER)


async def test_who_cannot_be_looked_up_stays_as_recorded(world: FrontWorld) -> None:
    call = await waiting_call(world, from_number="anonymous")
    numbers = await look_up_numbers(world.context, call.id, CALL_SID)
    assert numbers == ("anonymous", call.to_number)
    assert await look_up_numbers(world.context, "nobody", CALL_SID) == ("", "")
