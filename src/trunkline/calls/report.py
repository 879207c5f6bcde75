"""What carriers report about calls: status callbacks, detection results, stream notices.

Deduplicated and ordered. Callbacks come late, twice and in any order. Each is kept
as an event once; one that is older than what was applied, or that comes after the end, changes
nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import structlog

from trunkline.calls.change import change_from
from trunkline.calls.finish import end_of_carrier_event, finish_call, hang_up_leg, why_wanted
from trunkline.calls.ports import Context
from trunkline.store.records import CallRecord, NewEvent
from trunkline.telephony.call import FINAL_STATES, CallEvent, CallState, EndedBy, EndReason, advance
from trunkline.telephony.webhook import (
    AmdReported,
    CallChanged,
    StreamChanged,
    UnknownReport,
    WebhookEvent,
)

__all__ = ["apply_report"]

log = structlog.get_logger(__name__)


async def apply_report(context: Context, call: CallRecord, report: WebhookEvent) -> None:
    """Apply one verified callback to its call."""
    match report:
        case CallChanged():
            await _apply_change(context, call, report)
        case AmdReported():
            data = {"verdict": report.verdict.value, "carrier_word": report.carrier_word}
            await _keep(
                context, call, "amd", data, report.raw, {"answered_by": report.verdict.value}
            )
        case StreamChanged():
            data = {"word": report.word, "error": report.error, "stream_id": report.stream_id}
            await _keep(context, call, "carrier_stream", data, report.raw)
        case UnknownReport():
            log.warning("carrier reported something unknown", call_id=call.id, carrier=call.carrier)
            await _keep(
                context,
                call,
                "carrier_unknown",
                {"word": report.word, "raw": dict(report.raw)},
                report.raw,
            )


def _key(call: CallRecord, kind: str, raw: Mapping[str, str]) -> str:
    """The same callback delivered twice has the same content; a digest fits a column."""
    content = "\n".join(f"{key}={raw[key]}" for key in sorted(raw))
    return f"{call.id}:{kind}:{hashlib.sha256(content.encode()).hexdigest()[:32]}"


async def _keep(
    context: Context,
    call: CallRecord,
    kind: str,
    data: Mapping[str, object],
    raw: Mapping[str, str],
    changes: Mapping[str, object] | None = None,
) -> bool:
    """Append the event once, with the changes that it brings; False when it was there."""
    event = NewEvent(
        call_id=call.id, kind=kind, at=context.now(), data=dict(data), key=_key(call, kind, raw)
    )
    changed = await context.store.change_call(call.id, dict(changes or {}), events=[event])
    if changed is not None:
        context.hub.notify(call.id)
    return changed is not None


async def _apply_change(context: Context, call: CallRecord, report: CallChanged) -> None:
    if report.event is CallEvent.UNKNOWN:
        log.warning("carrier used an unknown call status", call_id=call.id, carrier=call.carrier)
    data: dict[str, object] = {
        "event": report.event.value,
        "carrier_word": report.carrier_word,
        "sequence": report.sequence,
        "cause": report.cause,
    }
    event = NewEvent(
        call_id=call.id,
        kind="carrier_status",
        at=context.now(),
        data=data,
        key=_key(call, "carrier_status", report.raw),
    )
    changed = await change_from(
        context.store, call, lambda now: _changes(context, now, report), event
    )
    if changed is None:
        return
    context.hub.notify(call.id)
    # A final event counts even when it comes out of order: nothing follows it.
    end = end_of_carrier_event(report.event, call)
    if end is not None:
        await _end(context, changed, report, end)
    elif changed.hangup_pending:
        context.background.start(_hang_up(context, changed), name="hang-up")


def _changes(context: Context, call: CallRecord, report: CallChanged) -> dict[str, object]:
    """What a status callback changes on the call as it stands."""
    changes: dict[str, object] = {}
    is_ours_first = call.carrier_call_id is None and bool(report.carrier_call_id)
    if is_ours_first:
        changes["carrier_call_id"] = report.carrier_call_id
    if call.state in FINAL_STATES:
        ends = advance(CallState.QUEUED, report.event) in FINAL_STATES
        if is_ours_first and not ends:
            # Ended here before the dial had an answer (an API hang-up, a lost answer), and alive
            # there: nobody else will end that leg.
            changes["hangup_pending"] = True
        return changes
    is_stale = (
        report.sequence is not None
        and call.last_sequence is not None
        and report.sequence <= call.last_sequence
    )
    if is_stale:
        return changes
    if report.sequence is not None:
        changes["last_sequence"] = report.sequence
    state = advance(call.state, report.event)
    if state is not call.state and state not in FINAL_STATES:
        changes["state"] = state
    if state is CallState.IN_PROGRESS and call.answered_at is None:
        changes["answered_at"] = context.now()
    return changes


async def _hang_up(context: Context, call: CallRecord) -> None:
    await hang_up_leg(context, call)


async def _end(
    context: Context, call: CallRecord, report: CallChanged, end: tuple[EndedBy, EndReason]
) -> None:
    by, reason = await why_wanted(context, call.id) or end
    changes: dict[str, object] = {}
    if report.duration_s is not None and call.answered_at is not None:
        changes["duration_s"] = float(report.duration_s)
    await finish_call(context, call, by=by, reason=reason, leg_is_down=True, changes=changes)
    await context.gateways.drop_stream(call.id)
    if call.stream_started_at is None:
        await context.dispatcher.release(call.id)
