"""What gateways tell about live calls, taken into the record exactly once.

Each fact carries its key (gateway, segment, number); key and effect go into one transaction, so a
journal that is replayed changes nothing. Effects outside the database, such as a
REST hang-up, may happen twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import cast

import structlog

from trunkline.calls.change import change_from
from trunkline.calls.finish import (
    ask_carrier,
    end_of_carrier_event,
    finish_call,
    hang_up_leg,
    why_wanted,
    word_of,
)
from trunkline.calls.ports import Context
from trunkline.errors import Conflict
from trunkline.store.records import CallRecord, NewEvent
from trunkline.telephony.call import FINAL_STATES, CallEvent, EndedBy, EndReason, advance

__all__ = ["Fact", "end_after_stream", "settle_ended_stream", "take_in"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One journal entry.

    ``kind`` and ``data`` are those of ``dispatch.messages.JournalEntry``.
    """

    key: str
    call_id: str
    kind: str
    at: datetime
    data: Mapping[str, object]


async def take_in(context: Context, fact: Fact) -> None:
    """Apply one fact.

    Returning means that it is safe in the database and may be acknowledged.

    Raises:
            StoreUnavailable: nothing was written; the gateway keeps the entry.
    """
    call = await context.store.fetch_call(fact.call_id)
    if call is None:
        log.error(
            "a gateway told of a call that is not on record", call_id=fact.call_id, kind=fact.kind
        )
        return
    match fact.kind:
        case "stream_started":
            await _stream_started(context, call, fact)
        case "hangup_wanted":
            if await _append(context, call, fact) and call.state not in FINAL_STATES:
                # Queued speech has been played: end the carrier's leg before the gateway closes the
                # socket. Beside the journal, because a carrier may take seconds.
                context.background.start(_hang_up(context, call), name="hang-up")
        case "stream_ended":
            await _append(context, call, fact, _facts_of_end(call, fact.data))
            context.background.start(_settle(context, call.id), name="settle")
        case _:
            await _append(context, call, fact)
    context.hub.notify(call.id)


async def _append(
    context: Context, call: CallRecord, fact: Fact, changes: Mapping[str, object] | None = None
) -> CallRecord | None:
    return await context.store.change_call(call.id, dict(changes or {}), events=[_event(fact)])


def _event(fact: Fact) -> NewEvent:
    data = cast("dict[str, object]", _storable(dict(fact.data)))
    return NewEvent(call_id=fact.call_id, kind=fact.kind, at=fact.at, data=data, key=fact.key)


def _storable(value: object) -> object:
    """The same without NUL, which a bot may say and no database holds."""
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if isinstance(value, dict):
        entries = cast("dict[object, object]", value).items()
        return {_storable(key): _storable(entry) for key, entry in entries}
    if isinstance(value, list | tuple):
        return [_storable(entry) for entry in cast("list[object]", value)]
    return value


def _text(data: Mapping[str, object], key: str) -> str:
    value = data.get(key)
    return value if isinstance(value, str) else ""


async def _stream_started(context: Context, call: CallRecord, fact: Fact) -> None:
    def changes(now: CallRecord) -> dict[str, object]:
        return _facts_of_start(now, fact)

    try:
        started = await change_from(context.store, call, changes, _event(fact))
    except Conflict:
        # Two of our calls cannot carry one carrier id (a static URL beside a webhook for the same
        # call): keep the fact.
        def without_id(now: CallRecord) -> dict[str, object]:
            return {
                field: value for field, value in changes(now).items() if field != "carrier_call_id"
            }

        started = await change_from(context.store, call, without_id, _event(fact))
    if started is not None and started.state in FINAL_STATES:
        # The carrier ended the call before the socket came: nobody is there to talk to.
        await context.gateways.drop_stream(call.id)


def _facts_of_start(call: CallRecord, fact: Fact) -> dict[str, object]:
    """What a stream's start tells about the call as it stands."""
    changes: dict[str, object] = {"stream_started_at": call.stream_started_at or fact.at}
    if call.state not in FINAL_STATES:
        changes["state"] = advance(call.state, CallEvent.ANSWERED)
    if call.answered_at is None:
        changes["answered_at"] = fact.at
    for field in ("from_number", "to_number", "account_id", "carrier_call_id"):
        if not getattr(call, field) and (told := _text(fact.data, field)):
            changes[field] = told
    return changes


async def _settle(context: Context, call_id: str) -> None:
    await settle_ended_stream(context, call_id)


async def _hang_up(context: Context, call: CallRecord) -> None:
    await hang_up_leg(context, call)


def _facts_of_end(call: CallRecord, data: Mapping[str, object]) -> dict[str, object]:
    """What a stream's end adds to the record, whoever ended the call."""
    changes: dict[str, object] = {}
    stats = data.get("stats")
    if isinstance(stats, dict):
        changes["stats"] = {**call.stats, **cast("dict[str, object]", stats)}
    if path := _text(data, "recording_path"):
        changes["recording_path"] = path
    return changes


async def end_after_stream(context: Context, call: CallRecord) -> None:
    """Close a call whose carrier asks what comes after its stream, and hears: hang up.

    One whose stream has ended is settled by what the gateway told. One whose stream never came (its
    socket was refused, or could not be reached) is closed here: nobody else would tell.
    """
    if call.state in FINAL_STATES:
        return
    continued = NewEvent(call_id=call.id, kind="continued", at=context.now(), key="continued")
    await context.store.append_event(continued)
    if call.stream_started_at is not None or call.id in context.gateways.live_calls():
        return
    await finish_call(
        context,
        call,
        by=EndedBy.PLATFORM,
        reason=EndReason.SOCKET_LOST,
        leg_is_down=True,
        error="the carrier had no media stream to this server",
    )
    await context.dispatcher.release(call.id)


async def settle_ended_stream(context: Context, call_id: str) -> bool:
    """Close a call whose stream has ended; False when there is nothing to settle by.

    Runs after the fact is safe. A front that stops in between leaves it to the reconciler, which
    comes here as well.
    """
    call = await context.store.fetch_call(call_id)
    ended = await context.store.fetch_events(call_id, kinds=["stream_ended"])
    if call is None or not ended:
        return False
    data = ended[-1].data
    if _text(data, "how") == "replaced":
        return False
    if call.state in FINAL_STATES:
        await context.store.free_slots(call.id)
        return False
    by, reason, leg_is_down, error = await _explain(context, call, data)
    await finish_call(context, call, by=by, reason=reason, leg_is_down=leg_is_down, error=error)
    if call.stream_started_at is None:
        await context.dispatcher.release(call.id)
    return True


async def _explain(
    context: Context, call: CallRecord, data: Mapping[str, object]
) -> tuple[EndedBy, EndReason, bool, str | None]:
    """Who ended the call, why, whether its leg is known to be down, and what failed if anything."""
    how = _text(data, "how")
    wanted = await why_wanted(context, call.id)
    if wanted is not None:
        return *wanted, how == "stop", None
    if _text(data, "by") and _text(data, "reason"):
        by = word_of(EndedBy, data["by"], EndedBy.PLATFORM)
        return by, word_of(EndReason, data["reason"], EndReason.SOCKET_LOST), how == "stop", None
    if how == "stop":
        return EndedBy.CALLER, EndReason.COMPLETED, True, None
    # The socket is gone and nobody said why: only the carrier can tell. That our gateway died we
    # know; and a leg that came to us for what follows its stream did not end with it.
    told = await ask_carrier(context, call)
    end = None if told is None else end_of_carrier_event(told.event, call)
    is_ours = how == "gateway_lost"
    if end is not None and not is_ours and not await _has_continued(context, call.id):
        return *end, True, None
    by = EndedBy.PLATFORM if is_ours or how == "never_started" else EndedBy.CARRIER
    return by, EndReason.SOCKET_LOST, end is not None, f"the media stream was lost ({how})"


async def _has_continued(context: Context, call_id: str) -> bool:
    return bool(await context.store.fetch_events(call_id, kinds=["continued"], limit=1))
