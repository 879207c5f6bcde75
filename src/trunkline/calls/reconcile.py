"""Zero phantom calls: our open calls are compared with gateways and carriers.

That happens at front start and every minute. Whatever path lost the end of a call (a callback that
never came, a front that was away, a hang-up that the carrier did not confirm), this mends it, in
both directions: a record whose leg is down is closed, a leg whose record is closed is ended.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from trunkline.calls.admit import RESERVE_TIMEOUT_S
from trunkline.calls.finish import (
    ask_carrier,
    client_for,
    end_of_carrier_event,
    finish_call,
    hang_up_leg,
    why_wanted,
)
from trunkline.calls.intake import settle_ended_stream
from trunkline.calls.ports import Context
from trunkline.calls.tokens import INBOUND_TTL_S, OUTBOUND_TTL_S
from trunkline.errors import CarrierError, StoreError, TrunklineError
from trunkline.store.records import CallRecord
from trunkline.telephony.call import FINAL_STATES, CallEvent, Direction, EndedBy, EndReason
from trunkline.telephony.carrier import CarrierCall

__all__ = ["RECONCILE_EVERY_S", "reconcile"]

log = structlog.get_logger(__name__)

RECONCILE_EVERY_S = 60.0
LOST_DIAL_S = RESERVE_TIMEOUT_S + 30.0  # a call is written, gets its worker, and only then dials
SETTLE_S = 20  # seconds that a change may still be under way between carrier, gateway and record


async def reconcile(context: Context) -> int:
    """Compare once; returns how many calls were mended."""
    if not context.gateways.all_connected():
        return 0
    live = set(context.gateways.live_calls())
    mended = 0
    for call in await context.store.fetch_open_calls():
        if call.id in live:
            continue
        try:
            mended += await _mend(context, call)
        except StoreError:
            raise
        except TrunklineError as error:  # one call that cannot be mended must not hold up the rest
            log.error("call cannot be mended", call_id=call.id, code=error.code)
    if mended:
        log.warning("calls mended by reconciliation", count=mended)
    return mended


async def _mend(context: Context, call: CallRecord) -> bool:
    """A call without a stream: settle it if it is time to."""
    if call.state in FINAL_STATES:
        return await hang_up_leg(context, call)
    if not _is_overdue(context, call):
        return False
    if await settle_ended_stream(context, call.id):
        return True
    if call.direction is Direction.OUTBOUND and call.stream_started_at is None:
        return await _mend_dial(context, call)
    told = await ask_carrier(context, call)
    end = None if told is None else end_of_carrier_event(told.event, call)
    await _close(context, call, end, EndReason.SOCKET_LOST)
    return True


async def _mend_dial(context: Context, call: CallRecord) -> bool:
    """An outbound call that has had no stream yet: it may ring for minutes."""
    is_expired = _is_older(context, call.created_at, OUTBOUND_TTL_S)  # so is its stream's token
    if call.carrier_call_id is None:
        return await _mend_lost_dial(context, call, is_expired=is_expired)
    told = await ask_carrier(context, call)
    end = None if told is None else end_of_carrier_event(told.event, call)
    if end is None and not is_expired:
        if told is None or told.event is not CallEvent.ANSWERED:
            return False  # it rings, or the carrier cannot be asked
        if call.answered_at is None:
            # The callback was lost. Its stream may be opening just now: look again next time.
            await context.store.change_call(call.id, {"answered_at": context.now()})
            return False
        if not _is_older(context, call.answered_at, SETTLE_S):
            return False
    was_answered = call.answered_at is not None
    reason = EndReason.SOCKET_LOST if was_answered else EndReason.CARRIER_FAILED
    await _close(context, call, end, reason)
    return True


async def _mend_lost_dial(context: Context, call: CallRecord, *, is_expired: bool) -> bool:
    """The dial had no answer: look for its call in the carrier's list."""
    if not _is_older(context, call.created_at, LOST_DIAL_S):
        return False
    try:
        found = await (await client_for(context, call)).fetch_open_calls()
    except CarrierError as error:
        log.warning("carrier's calls cannot be listed", call_id=call.id, code=error.code)
        if not is_expired:
            return False
        found = ()
    ours = [
        theirs
        for theirs in found
        if _may_be(call, theirs) and await _is_free(context, call, theirs)
    ]
    if len(ours) == 1:
        await context.store.change_call(call.id, {"carrier_call_id": ours[0].carrier_call_id})
        return False
    if ours and not is_expired:
        return False  # several alike: a callback will tell which
    await _close(context, call, (EndedBy.CARRIER, EndReason.CARRIER_FAILED), None)
    return True


def _may_be(call: CallRecord, theirs: CarrierCall) -> bool:
    return (
        theirs.direction is Direction.OUTBOUND
        and theirs.to_number == call.to_number
        and theirs.from_number == call.from_number
    )


async def _is_free(context: Context, call: CallRecord, theirs: CarrierCall) -> bool:
    """No other call of ours is that one."""
    other = await context.store.fetch_call_by_carrier_id(
        call.carrier, call.account_id, theirs.carrier_call_id
    )
    return other is None


async def _close(
    context: Context,
    call: CallRecord,
    end: tuple[EndedBy, EndReason] | None,
    otherwise: EndReason | None,
) -> None:
    """Close the record: by what we wanted, else by the carrier's ``end``, else ``otherwise``."""
    wanted = await why_wanted(context, call.id)
    by, reason = wanted or end or (EndedBy.PLATFORM, otherwise or EndReason.SOCKET_LOST)
    await finish_call(context, call, by=by, reason=reason, leg_is_down=end is not None)
    await context.dispatcher.release(call.id)


def _is_overdue(context: Context, call: CallRecord) -> bool:
    """No stream although there should be one by now."""
    if call.stream_started_at is not None:
        return _is_older(context, call.stream_started_at, SETTLE_S)
    grace_s = INBOUND_TTL_S if call.direction is Direction.INBOUND else SETTLE_S
    return _is_older(context, call.created_at, grace_s)


def _is_older(context: Context, moment: datetime, seconds: float) -> bool:
    return context.now() - moment > timedelta(seconds=seconds)
