"""A media socket asks to come in: the checks before its upgrade is accepted.

With a token in the path the call was admitted by its webhook or by the dial; its slot is not taken
again. Without one (a static URL: a TwiML Bin, an applet) the carrier's own proof is needed, and the
call is admitted here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from trunkline import carriers
from trunkline.calls.admit import enabled_agent, reserve_briefly, take_slots
from trunkline.calls.finish import OPEN_STATES, ask_carrier
from trunkline.calls.ports import Context
from trunkline.errors import DispatchError, Draining, MissingProof, TokenError, UnknownAgent
from trunkline.store.records import AgentRecord, CallRecord, NewEvent
from trunkline.telephony.call import FINAL_STATES, CallState, Direction, EndedBy, EndReason
from trunkline.telephony.carrier import Carrier, CarrierAccount
from trunkline.telephony.webhook import UpgradeRequest

__all__ = [
    "MAX_STREAMS_PER_CALL",
    "StreamGrant",
    "grant_stream",
    "look_up_numbers",
    "recording_file",
    "stream_not_taken",
]

log = structlog.get_logger(__name__)

MAX_STREAMS_PER_CALL = 5  # carriers that redial the same URL get so many tries


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamGrant:
    """The socket may come in, as this call's stream."""

    call: CallRecord
    agent: AgentRecord
    recording_path: Path | None
    max_duration_s: int
    stream_number: int
    """Counts the call's streams, from 1."""

    is_static: bool
    """Admitted here; the slot was taken by this grant."""

    stream_options: Mapping[str, str]
    """What of the account's settings the stream needs; see ``Carrier.stream_options``."""


async def grant_stream(
    context: Context,
    *,
    carrier_name: str,
    agent_name: str,
    token: str | None,
    upgrade: UpgradeRequest,
) -> StreamGrant:
    """Check a WebSocket upgrade.

    Raises:
        UnknownCarrier, UnknownAgent: 404.
        MissingProof: 401, no token and no signature.
        TokenError, SignatureError: 403, wrong, used or expired.
        NoFreeSlot, Draining, DispatchError: 503.
    """
    carrier = carriers.get(carrier_name)
    if token is None:
        return await _grant_static(context, carrier, agent_name, upgrade)
    call_id = context.tokens.check(
        token, carrier=carrier.name, agent_name=agent_name, now=context.now()
    )
    if carrier.verify_upgrade is None:
        account = await context.accounts.account(carrier)
    else:
        account = await _prove(context, carrier, replace(upgrade, has_token=True))
    call = await context.store.fetch_call(call_id)
    if call is None or call.state in FINAL_STATES:
        raise TokenError("its call is over")
    stream_number = await _next_stream(context, carrier, call)
    agent = await context.store.fetch_agent(call.agent_name)
    if agent is None:
        raise UnknownAgent(call.agent_name)
    return StreamGrant(
        call=call,
        agent=agent,
        recording_path=recording_file(context, call) if agent.record else None,
        max_duration_s=await _max_duration_s(context, call, agent),
        stream_number=stream_number,
        is_static=False,
        stream_options=_options(carrier, account),
    )


async def _prove(context: Context, carrier: Carrier, upgrade: UpgradeRequest) -> CarrierAccount:
    """Check the upgrade's own proof; returns the account that it proves.

    Raises:
        MissingProof: the carrier signs no upgrades.
        SignatureError: wrong, or a copy of one that was used.
    """
    if carrier.verify_upgrade is None:
        raise MissingProof
    account = await context.accounts.account_for_webhook(carrier, None)
    carrier.verify_upgrade(upgrade, account)
    nonce = carrier.upgrade_nonce(upgrade) if carrier.upgrade_nonce is not None else None
    if nonce is not None:
        # No carrier opens one socket twice, so a second use is a copy whatever it says.
        context.nonces.check(f"{carrier.name} upgrade", nonce, context.new_id())
    return account


def _options(carrier: Carrier, account: CarrierAccount) -> Mapping[str, str]:
    return {} if carrier.stream_options is None else carrier.stream_options(account)


async def _next_stream(context: Context, carrier: Carrier, call: CallRecord) -> int:
    """The number of the stream that the token may start now.

    A gateway that has the socket counts as well as a stream that has started: what its journal
    tells is on its way here.

    Raises:
        TokenError: the token is used up.
    """
    is_taken = call.stream_started_at is not None or call.id in context.gateways.live_calls()
    if not is_taken:
        return 1
    if not carrier.features.resumes_stream_by_same_url:
        raise TokenError("used up")
    started = len(await context.store.fetch_events(call.id, kinds=["stream_started"]))
    if started >= MAX_STREAMS_PER_CALL:
        raise TokenError("used up")
    return started + 1


async def _max_duration_s(context: Context, call: CallRecord, agent: AgentRecord) -> int:
    """The agent's limit, or the shorter one that an outbound call was placed with."""
    if call.direction is not Direction.OUTBOUND:
        return agent.max_duration_s
    admitted = await context.store.fetch_events(call.id, kinds=["admitted"], limit=1)
    wanted = admitted[0].data.get("max_duration_s") if admitted else None
    return min(wanted, agent.max_duration_s) if isinstance(wanted, int) else agent.max_duration_s


def recording_file(context: Context, call: CallRecord) -> Path:
    """Where the call is recorded, if it is."""
    day = call.created_at.strftime("%Y/%m/%d")
    return context.recordings_dir / day / f"{call.id}.wav"


async def _grant_static(
    context: Context, carrier: Carrier, agent_name: str, upgrade: UpgradeRequest
) -> StreamGrant:
    account = await _prove(context, carrier, upgrade)
    agent = await enabled_agent(context, agent_name)
    if context.is_draining():
        raise Draining
    call = CallRecord(
        id=context.new_id(),
        carrier=carrier.name,
        account_id=account.account_id,
        direction=Direction.INBOUND,
        agent_name=agent.name,
        from_number="",
        to_number="",
        state=CallState.RINGING,
        created_at=context.now(),
    )
    call, _ = await take_slots(context, carrier, agent, call)
    log.info(
        "call admitted",
        call_id=call.id,
        carrier=carrier.name,
        agent=agent.name,
        direction="inbound",
        url="static",
    )
    await context.store.append_event(
        NewEvent(call_id=call.id, kind="admitted", at=call.created_at, data={"static_url": True})
    )
    refusal = await reserve_briefly(context, call.id, agent)
    if refusal is not None:
        await stream_not_taken(context, call, refusal)
        raise DispatchError(refusal)
    return StreamGrant(
        call=call,
        agent=agent,
        recording_path=recording_file(context, call) if agent.record else None,
        max_duration_s=agent.max_duration_s,
        stream_number=1,
        is_static=True,
        stream_options=_options(carrier, account),
    )


async def stream_not_taken(context: Context, call: CallRecord, why: str) -> None:
    """No gateway took the socket of a call that was admitted by it: give everything back."""
    await context.store.change_call(
        call.id,
        {
            "state": CallState.REJECTED,
            "ended_at": context.now(),
            "ended_by": EndedBy.PLATFORM,
            "end_reason": EndReason.REJECTED,
            "error": why,
        },
        events=[NewEvent(call_id=call.id, kind="rejected", at=context.now(), data={"reason": why})],
        only_if_state=OPEN_STATES,
    )
    await context.store.free_slots(call.id)
    await context.dispatcher.release(call.id)
    context.hub.notify(call.id)


async def look_up_numbers(context: Context, call_id: str, carrier_call_id: str) -> tuple[str, str]:
    """(from, to) of a call by its carrier's REST API, written to the record.

    What the record says, possibly nothing, when the carrier cannot be asked.
    """
    call = await context.store.fetch_call(call_id)
    if call is None:
        return "", ""
    # Not written: the stream's own start brings the id into the record, in its transaction.
    told = await ask_carrier(
        context, replace(call, carrier_call_id=call.carrier_call_id or carrier_call_id)
    )
    if told is None:
        return call.from_number, call.to_number
    changes = {"from_number": told.from_number, "to_number": told.to_number}
    await context.store.change_call(call_id, changes)
    return told.from_number, told.to_number
