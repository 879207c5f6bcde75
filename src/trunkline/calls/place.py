"""Outbound: write the record, have a worker ready, dial, and know what to do when any of it fails.

A dial is never repeated by us: after a lost answer or a 5xx the carrier may have dialled
. The call then stays open until a callback or the reconciler tells what became of
it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import structlog

from trunkline import carriers
from trunkline.calls.admit import (
    RESERVE_TIMEOUT_S,
    connect_document,
    enabled_agent,
    stream_connect,
    take_slots,
)
from trunkline.calls.change import change_from
from trunkline.calls.finish import finish_call, hang_up_leg
from trunkline.calls.ports import Context
from trunkline.calls.tokens import OUTBOUND_TTL_S
from trunkline.errors import (
    CarrierError,
    CarrierTimeout,
    CarrierUnavailable,
    ConfigError,
    DispatchError,
    Draining,
    InvalidRequest,
    UnsupportedByCarrier,
)
from trunkline.store.records import AgentRecord, CallRecord, NewEvent
from trunkline.telephony.call import FINAL_STATES, CallState, Direction, EndedBy, EndReason, advance
from trunkline.telephony.carrier import (
    AmdMode,
    Carrier,
    CarrierAccount,
    DialOrder,
    PlacedCall,
)
from trunkline.telephony.numbers import parse_e164

__all__ = ["OutboundRequest", "place_call"]

log = structlog.get_logger(__name__)

CARRIER_MARGIN_S = 30
"""The carrier's own limit lies so much above ours, which is the one that says ``max_duration``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundRequest:
    """What a client asks for."""

    agent_name: str
    to_number: str
    from_number: str | None = None
    provider: str | None = None
    body: object = None
    amd: AmdMode | None = None
    ring_timeout_s: int = 60
    max_duration_s: int | None = None
    idempotency_key: str | None = None


async def place_call(context: Context, request: OutboundRequest) -> tuple[CallRecord, bool]:
    """Place a call.

    The flag is False when the idempotency key was used before: then it is that call.

    Raises:
        InvalidRequest, InvalidNumber, UnknownAgent, UnknownCarrier, ConfigError: nothing was done.
        NoFreeSlot, Draining: nothing was done.
        DispatchError, ConfigError: no worker could be made ready; the record says so.
        CarrierError: the carrier refused or is away; the record says so.
    """
    if request.idempotency_key is not None:
        known = await context.store.fetch_call_by_idempotency_key(request.idempotency_key)
        if known is not None:
            return known, False
    if context.is_draining():
        raise Draining
    agent = await enabled_agent(context, request.agent_name)
    carrier = await _choose_carrier(context, request.provider)
    account = await context.accounts.ready_account(carrier)
    call, is_new = await take_slots(
        context, carrier, agent, _new_call(context, request, agent, carrier, account)
    )
    if not is_new:
        return call, False
    log.info(
        "call placed", call_id=call.id, carrier=carrier.name, agent=agent.name, direction="outbound"
    )
    limits: dict[str, object] = {}
    if request.max_duration_s is not None:
        limits["max_duration_s"] = request.max_duration_s
    await context.store.append_event(
        NewEvent(call_id=call.id, kind="admitted", at=call.created_at, data=limits)
    )
    try:
        await context.dispatcher.reserve(
            call.id, agent, expires_s=float(OUTBOUND_TTL_S), timeout_s=RESERVE_TIMEOUT_S
        )
    except (DispatchError, ConfigError) as error:
        await _fail(context, call, EndedBy.PLATFORM, EndReason.BOT_FAILED, str(error))
        raise
    return await _dial(context, carrier, account, call, request), True


async def _choose_carrier(context: Context, provider: str | None) -> Carrier:
    name = provider or await context.accounts.default_provider()
    if name is None:
        raise InvalidRequest(
            "name a provider, or set the default one (TELEPHONY_PROVIDER)",
            field="provider",
            code="provider_missing",
        )
    carrier = carriers.get(name)
    if carrier.new_client is None or carrier.markup is None:
        raise UnsupportedByCarrier(carrier.name, "outbound calls")
    return carrier


def _new_call(
    context: Context,
    request: OutboundRequest,
    agent: AgentRecord,
    carrier: Carrier,
    account: CarrierAccount,
) -> CallRecord:
    from_number = request.from_number or account.phone_number
    if not from_number:
        variable = account.environment()["phone_number"]
        raise InvalidRequest(
            f"give from_number, or set {variable}", field="from_number", code="caller_id_missing"
        )
    return CallRecord(
        id=context.new_id(),
        carrier=carrier.name,
        account_id=account.account_id,
        direction=Direction.OUTBOUND,
        agent_name=agent.name,
        from_number=parse_e164(from_number, field="from_number"),
        to_number=parse_e164(request.to_number, field="to_number"),
        state=CallState.QUEUED,
        created_at=context.now(),
        body=request.body,
        idempotency_key=request.idempotency_key,
    )


async def _dial(
    context: Context,
    carrier: Carrier,
    account: CarrierAccount,
    call: CallRecord,
    request: OutboundRequest,
) -> CallRecord:
    order = DialOrder(
        call_id=call.id,
        to_number=call.to_number,
        from_number=call.from_number,
        stream=stream_connect(context, carrier, account, call),
        answer=connect_document(context, carrier, account, call),
        answer_url=context.urls.answer(carrier.name, call.id),
        status_url=context.urls.events(carrier.name, call.id),
        amd=request.amd,
        ring_timeout_s=request.ring_timeout_s,
        max_duration_s=None
        if request.max_duration_s is None
        else request.max_duration_s + CARRIER_MARGIN_S,
    )
    try:
        placed = await carrier.require_client(account, context.http).place_call(order)
    except CarrierError as error:
        if _may_have_dialled(error):
            # It may ring: keep the call and its slot, and let a callback or the reconciler tell.
            await context.store.change_call(call.id, {"error": str(error)})
        else:
            await _fail(context, call, EndedBy.CARRIER, EndReason.CARRIER_FAILED, str(error))
        raise
    return await _record_dial(context, call, placed)


def _may_have_dialled(error: CarrierError) -> bool:
    if isinstance(error, CarrierUnavailable):
        return not error.retryable
    return isinstance(error, CarrierTimeout)


async def _record_dial(context: Context, call: CallRecord, placed: PlacedCall) -> CallRecord:
    """Write what the carrier answered; its callbacks may have come first."""
    dialed = NewEvent(call_id=call.id, kind="dialed", at=context.now())

    def changes(now: CallRecord) -> dict[str, object]:
        found: dict[str, object] = {
            "carrier_call_id": placed.carrier_call_id,
            "raw": dict(placed.raw),
        }
        if now.state is CallState.QUEUED:
            state = advance(now.state, placed.event)
            if state not in FINAL_STATES:
                found["state"] = state
        elif now.state in FINAL_STATES and now.carrier_call_id is None:
            found["hangup_pending"] = True  # no callback ended it: it was given up while we dialled
        return found

    current = await change_from(context.store, call, changes, dialed) or call
    context.hub.notify(call.id)
    if current.hangup_pending and await hang_up_leg(context, current):
        current = replace(current, hangup_pending=False)
    return current


async def _fail(
    context: Context,
    call: CallRecord,
    by: EndedBy,
    reason: EndReason,
    error: str,
) -> None:
    """Nothing was dialled: close the record and give slot and worker back."""
    await finish_call(context, call, by=by, reason=reason, leg_is_down=True, error=error)
    await context.dispatcher.release(call.id)
