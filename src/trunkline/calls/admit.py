"""Admission: a call asks to come in; it gets a slot and a stream, or the agent's overflow.

Never silence. Idempotent on (carrier, account, carrier_call_id): a webhook that comes twice gets
the same markup and takes no second slot: carriers retry webhooks.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import cast

import structlog

from trunkline.calls.ports import Context
from trunkline.calls.tokens import INBOUND_TTL_S, OUTBOUND_TTL_S
from trunkline.errors import (
    ConfigError,
    DispatchError,
    NoFreeSlot,
    TrunklineError,
    UnknownAgent,
    UnsupportedByCarrier,
)
from trunkline.store.records import (
    AgentRecord,
    CallRecord,
    NewEvent,
    OverflowAction,
    SlotRequest,
)
from trunkline.telephony.call import FINAL_STATES, CallState, Direction, EndedBy, EndReason
from trunkline.telephony.carrier import Carrier, CarrierAccount, StreamConnect
from trunkline.telephony.webhook import Document, IncomingCall

__all__ = [
    "admit_inbound",
    "answer_outbound",
    "connect_document",
    "enabled_agent",
    "slots_of",
    "stream_connect",
    "take_slots",
]

log = structlog.get_logger(__name__)

RESERVE_GRACE_S = 0.05  # how long a webhook waits to learn that no worker can be had
RESERVATION_S = 30.0  # an inbound call's worker waits so long for the stream
RESERVE_TIMEOUT_S = 60.0  # a module that is imported cold may take seconds; longer is a failure


async def enabled_agent(context: Context, name: str) -> AgentRecord:
    """Raises ``UnknownAgent`` when there is none of that name, or it is disabled."""
    agent = await context.store.fetch_agent(name)
    if agent is None or not agent.enabled:
        raise UnknownAgent(name)
    return agent


async def slots_of(context: Context, carrier: Carrier, agent: AgentRecord) -> list[SlotRequest]:
    """The scopes that one call takes a slot in."""
    return [
        SlotRequest(scope=f"carrier:{carrier.name}", limit=await context.accounts.limit(carrier)),
        SlotRequest(scope=f"agent:{agent.name}", limit=agent.max_concurrent_calls),
        SlotRequest(scope="machine", limit=context.max_calls),
    ]


async def take_slots(
    context: Context, carrier: Carrier, agent: AgentRecord, call: CallRecord
) -> tuple[CallRecord, bool]:
    """Write the call and take its slots; the flag says whether the call is new.

    Raises:
        NoFreeSlot: with the carrier's name, for the API's answer.
    """
    try:
        return await context.store.admit_call(call, await slots_of(context, carrier, agent))
    except NoFreeSlot as full:
        raise NoFreeSlot(
            scope=full.scope, limit=full.limit, in_use=full.in_use, carrier=carrier.name
        ) from None


def text_parameters(body: object) -> dict[str, str]:
    """Text, numbers and booleans of a custom ``body``, as text.

    What else is in it, or does not fit the carrier's markup, reaches the bot by the record only.
    """
    if not isinstance(body, dict):
        return {}
    found: dict[str, str] = {}
    for key, value in cast("dict[object, object]", body).items():
        if isinstance(key, str) and isinstance(value, str | int | float | bool):
            found[key] = str(value).lower() if isinstance(value, bool) else str(value)
    return found


def stream_connect(
    context: Context, carrier: Carrier, account: CarrierAccount, call: CallRecord
) -> StreamConnect:
    """Where the call's media goes, and what travels with it; the same for the same call."""
    inbound = call.direction is Direction.INBOUND
    token = context.tokens.mint(
        carrier=carrier.name,
        agent_name=call.agent_name,
        call_id=call.id,
        created_at=call.created_at,
        ttl_s=INBOUND_TTL_S if inbound else OUTBOUND_TTL_S,
    )
    markup = carrier.require_markup(account)
    parameters = text_parameters(call.body) | {
        "agent_name": call.agent_name,
        "direction": call.direction.value,
        "from_number": call.from_number,
        "to_number": call.to_number,
    }
    if inbound and call.carrier_call_id:
        parameters[f"{carrier.name}_call_sid"] = call.carrier_call_id
    return StreamConnect(
        stream_url=context.urls.stream(carrier.name, call.agent_name, token),
        parameters={name: value for name, value in parameters.items() if markup.fits(name, value)},
        continue_url=context.urls.continuation(carrier.name, call.id),
        stream_status_url=context.urls.events(carrier.name, call.id),
    )


def connect_document(
    context: Context,
    carrier: Carrier,
    account: CarrierAccount,
    call: CallRecord,
    *,
    as_json: bool = False,
) -> Document:
    """Markup that connects the call to its media stream; the same for the same call.

    With ``as_json`` the carrier's request asks for JSON, for carriers that take either.
    """
    stream = replace(stream_connect(context, carrier, account, call), as_json=as_json)
    return carrier.require_markup(account).connect(stream)


async def admit_inbound(
    context: Context,
    carrier: Carrier,
    account: CarrierAccount,
    agent_name: str,
    incoming: IncomingCall,
    *,
    as_json: bool = False,
) -> Document:
    """Answer a verified incoming-call webhook.

    Raises:
        UnknownAgent: no such agent, or disabled.
    """
    agent = await enabled_agent(context, agent_name)
    account_id = incoming.account_id or account.account_id
    known = await context.store.fetch_call_by_carrier_id(
        carrier.name, account_id, incoming.carrier_call_id
    )
    if known is not None:
        return _repeat(context, carrier, account, agent, known, as_json=as_json)
    call = CallRecord(
        id=context.new_id(),
        carrier=carrier.name,
        account_id=account_id,
        carrier_call_id=incoming.carrier_call_id,
        direction=Direction.INBOUND,
        agent_name=agent.name,
        from_number=incoming.from_number,
        to_number=incoming.to_number,
        state=CallState.RINGING,
        created_at=context.now(),
        raw=dict(incoming.raw),
    )
    if context.is_draining():
        return await _refuse(context, carrier, account, agent, call, why="draining")
    try:
        call, is_new = await take_slots(context, carrier, agent, call)
    except NoFreeSlot as full:
        return await _refuse(context, carrier, account, agent, call, why=str(full))
    if not is_new:
        return _repeat(context, carrier, account, agent, call, as_json=as_json)
    log.info(
        "call admitted",
        call_id=call.id,
        carrier=carrier.name,
        agent=agent.name,
        direction="inbound",
    )
    await context.store.append_event(NewEvent(call_id=call.id, kind="admitted", at=call.created_at))
    context.hub.notify(call.id)
    refusal = await reserve_briefly(context, call.id, agent)
    if refusal is not None:
        await context.store.free_slots(call.id)
        return await _end_refused(context, carrier, agent, call, why=refusal)
    return connect_document(context, carrier, account, call, as_json=as_json)


def _repeat(
    context: Context,
    carrier: Carrier,
    account: CarrierAccount,
    agent: AgentRecord,
    call: CallRecord,
    *,
    as_json: bool = False,
) -> Document:
    """The answer to a webhook that was answered before."""
    if call.state is CallState.REJECTED:
        return overflow_document(context, carrier, agent, call)
    if call.state in FINAL_STATES:
        return carrier.require_markup().hangup()
    return connect_document(context, carrier, account, call, as_json=as_json)


async def reserve_briefly(context: Context, call_id: str, agent: AgentRecord) -> str | None:
    """Have a worker made ready; why none can be had, if that is known at once.

    A warm worker is reserved within a millisecond. A cold one may take seconds, which the webhook
    must not wait for: the reservation then goes on, and the gateway waits for it when the stream
    has started.
    """
    failure: list[TrunklineError] = []

    async def reserve() -> None:
        try:
            await context.dispatcher.reserve(
                call_id, agent, expires_s=RESERVATION_S, timeout_s=RESERVE_TIMEOUT_S
            )
        except (DispatchError, ConfigError) as error:
            failure.append(error)
            log.warning("no worker could be reserved", call_id=call_id, code=error.code)

    await asyncio.wait(
        {context.background.start(reserve(), name="reserve")}, timeout=RESERVE_GRACE_S
    )
    return str(failure[0]) if failure else None


async def _refuse(
    context: Context,
    carrier: Carrier,
    account: CarrierAccount,
    agent: AgentRecord,
    call: CallRecord,
    *,
    why: str,
) -> Document:
    """Record a call that got no slot, and answer with the overflow."""
    rejected = replace(
        call,
        state=CallState.REJECTED,
        ended_at=call.created_at,
        ended_by=EndedBy.PLATFORM,
        end_reason=EndReason.REJECTED,
        error=why,
    )
    call, is_new = await context.store.admit_call(rejected, [])
    if not is_new:  # the same webhook came twice at once, and the other one was answered first
        return _repeat(context, carrier, account, agent, call)
    await context.store.append_event(
        NewEvent(
            call_id=call.id,
            kind="rejected",
            at=call.created_at,
            data={"reason": why},
            key=f"{call.id}:rejected",
        )
    )
    log.warning("call refused", call_id=call.id, carrier=carrier.name, agent=agent.name, reason=why)
    return overflow_document(context, carrier, agent, call)


async def _end_refused(
    context: Context, carrier: Carrier, agent: AgentRecord, call: CallRecord, *, why: str
) -> Document:
    """The call had its slot, but no worker can be had."""
    await context.store.change_call(
        call.id,
        {
            "state": CallState.REJECTED,
            "ended_at": context.now(),
            "ended_by": EndedBy.PLATFORM,
            "end_reason": EndReason.BOT_FAILED,
            "error": why,
        },
        events=[NewEvent(call_id=call.id, kind="rejected", at=context.now(), data={"reason": why})],
    )
    context.hub.notify(call.id)
    log.error("call refused: no worker", call_id=call.id, agent=agent.name)
    return overflow_document(context, carrier, agent, call)


def overflow_document(
    context: Context, carrier: Carrier, agent: AgentRecord, call: CallRecord
) -> Document:
    """What the caller gets instead of a bot."""
    markup = carrier.require_markup()
    overflow = agent.overflow
    if overflow.action is OverflowAction.MESSAGE and overflow.message:
        return markup.say(overflow.message)
    if overflow.action is OverflowAction.FORWARD and overflow.number:
        return markup.forward(overflow.number, caller_id=call.to_number or None)
    return markup.reject()


async def answer_outbound(
    context: Context,
    carrier: Carrier,
    account: CarrierAccount,
    call: CallRecord,
    *,
    as_json: bool = False,
) -> Document:
    """The answered outbound call fetches its markup (only where it did not fit the dial request).

    Raises:
        UnsupportedByCarrier: the call is not this carrier's.
    """
    if call.carrier != carrier.name:
        raise UnsupportedByCarrier(carrier.name, "calls of another carrier")
    if call.state in FINAL_STATES:
        return carrier.require_markup().hangup()
    return connect_document(context, carrier, account, call, as_json=as_json)
