"""The end of a call: who ended it and why, slots freed, the carrier's leg really down.

Every step may happen twice. Facts come from three sides in any order: the gateway's journal
(``intake.py``), the carrier's callbacks (``report.py``) and the reconciler. The first that explains
the end closes the record; the others only add what they know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import TypeVar

import structlog

from trunkline import carriers
from trunkline.calls.ports import Context
from trunkline.errors import CarrierError, ConfigError, UnsupportedByCarrier
from trunkline.store.records import CallRecord, NewEvent
from trunkline.telephony.call import (
    FINAL_STATES,
    CallEvent,
    CallState,
    Direction,
    EndedBy,
    EndReason,
    advance,
)
from trunkline.telephony.carrier import CarrierCall, CarrierClient

__all__ = [
    "OPEN_STATES",
    "ask_carrier",
    "client_for",
    "end_of_carrier_event",
    "finish_call",
    "hang_up_leg",
    "why_wanted",
    "word_of",
]

log = structlog.get_logger(__name__)

OPEN_STATES = tuple(state for state in CallState if state not in FINAL_STATES)

_STATE_OF_REASON = {
    EndReason.BUSY: CallState.BUSY,
    EndReason.NO_ANSWER: CallState.NO_ANSWER,
    EndReason.CANCELED: CallState.CANCELED,
    EndReason.REJECTED: CallState.REJECTED,
    EndReason.SOCKET_LOST: CallState.FAILED,
    EndReason.BOT_FAILED: CallState.FAILED,
    EndReason.CARRIER_FAILED: CallState.FAILED,
}
"""Reasons that do not end in ``completed``."""


_W = TypeVar("_W", bound=StrEnum)


async def client_for(context: Context, call: CallRecord) -> CarrierClient:
    """The REST client for a call's account.

    Raises:
        ConfigError: credentials are missing.
        UnsupportedByCarrier: the carrier has no REST API.
    """
    carrier = carriers.get(call.carrier)
    return carrier.require_client(await context.accounts.ready_account(carrier), context.http)


async def why_wanted(context: Context, call_id: str) -> tuple[EndedBy, EndReason] | None:
    """Who on our side asked for the end, if anyone did: the first ``hangup_wanted`` counts."""
    events = await context.store.fetch_events(call_id, kinds=["hangup_wanted"], limit=1)
    if not events:
        return None
    data = events[0].data
    by = word_of(EndedBy, data.get("by"), EndedBy.PLATFORM)
    return by, word_of(EndReason, data.get("reason"), EndReason.COMPLETED)


def word_of(words: type[_W], value: object, default: _W) -> _W:
    """The member of ``words`` that a journal names; ``default`` for a word that is none of them."""
    return next((word for word in words if word.value == value), default)


async def _bot_failure(context: Context, call_id: str) -> str | None:
    """One sentence about the bot's failure, if the gateway told of one."""
    events = await context.store.fetch_events(call_id, kinds=["bot_failed"])
    if not events:
        return None
    data = events[-1].data
    sentence = f"the bot failed ({data.get('reason', 'unknown')}): {data.get('detail', '')}"
    return sentence.rstrip(": ")


async def ask_carrier(context: Context, call: CallRecord) -> CarrierCall | None:
    """What the carrier says of the call now; None when it cannot be asked or knows no such call."""
    if call.carrier_call_id is None:
        return None
    try:
        return await (await client_for(context, call)).fetch_call(call.carrier_call_id)
    except (CarrierError, ConfigError, UnsupportedByCarrier) as error:
        log.warning(
            "carrier could not be asked about a call", call_id=call.id, error=type(error).__name__
        )
        return None


async def finish_call(
    context: Context,
    call: CallRecord,
    *,
    by: EndedBy,
    reason: EndReason,
    leg_is_down: bool,
    changes: Mapping[str, object] | None = None,
    error: str | None = None,
) -> CallRecord:
    """Close the record, free the slots, end the carrier's leg if it may still be up.

    A call that is closed already keeps its end; only ``changes`` are added.

    Args:
        context: What use cases work with.
        call: The call, as last read.
        by: Who ended it.
        reason: Why.
        leg_is_down: The carrier itself said that the call is over.
        changes: Further fields to set, such as ``stats``.
        error: One sentence for people, when something failed.
    """
    now = context.now()
    final = _STATE_OF_REASON.get(reason, CallState.COMPLETED)
    closing: dict[str, object] = {
        "state": final,
        "ended_by": by,
        "end_reason": reason,
        "ended_at": now,
        "hangup_pending": not leg_is_down and call.carrier_call_id is not None,
        **(changes or {}),
    }
    if error is None and reason is EndReason.BOT_FAILED:
        error = await _bot_failure(context, call.id)
    if error is not None:
        closing["error"] = error
    if "duration_s" not in closing and call.answered_at is not None:
        closing["duration_s"] = round((now - call.answered_at).total_seconds(), 3)
    ended = NewEvent(
        call_id=call.id, kind="ended", at=now, data={"by": by.value, "reason": reason.value}
    )
    closed = await context.store.change_call(
        call.id, closing, events=[ended], only_if_state=OPEN_STATES
    )
    if closed is None and changes:
        await context.store.change_call(call.id, dict(changes))
    await context.store.free_slots(call.id)
    if closed is not None:
        log.info("call ended", call_id=call.id, by=by.value, reason=reason.value)
    context.hub.notify(call.id)
    current = await context.store.fetch_call(call.id) or call
    if leg_is_down and current.hangup_pending:
        current = await context.store.change_call(call.id, {"hangup_pending": False}) or current
    elif current.hangup_pending and await hang_up_leg(context, current):
        current = replace(current, hangup_pending=False)
    return current


async def hang_up_leg(context: Context, call: CallRecord) -> bool:
    """End the carrier's leg by REST; True once the carrier has confirmed.

    What fails stays pending on the record, and the reconciler tries again until the carrier
    confirms.
    """
    if call.carrier_call_id is None:
        return False
    try:
        await (await client_for(context, call)).hang_up(call.carrier_call_id)
    except (CarrierError, ConfigError, UnsupportedByCarrier) as error:
        log.error(
            "hang-up not confirmed by the carrier", call_id=call.id, error=type(error).__name__
        )
        return False
    if call.hangup_pending:
        await context.store.change_call(call.id, {"hangup_pending": False})
    return True


def end_of_carrier_event(event: CallEvent, call: CallRecord) -> tuple[EndedBy, EndReason] | None:
    """What a carrier's final event says by itself; None for events that end nothing."""
    if advance(CallState.QUEUED, event) not in FINAL_STATES:
        return None
    match event:
        case CallEvent.COMPLETED:
            # Only we, the other side or the carrier can end an answered call, and what we wanted
            # is on record.
            return EndedBy.CALLER, EndReason.COMPLETED
        case CallEvent.BUSY:
            return EndedBy.CALLER, EndReason.BUSY
        case CallEvent.NO_ANSWER:
            return EndedBy.CARRIER, EndReason.NO_ANSWER
        case CallEvent.CANCELED:
            by = EndedBy.CALLER if call.direction is Direction.INBOUND else EndedBy.CARRIER
            return by, EndReason.CANCELED
        case CallEvent.REJECTED:
            return EndedBy.CALLER, EndReason.REJECTED
        case _:
            return EndedBy.CARRIER, EndReason.CARRIER_FAILED
