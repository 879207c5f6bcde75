"""A call's states, as data.

Two rules (after h11): every transition is in this file, and this file does not know which carrier
or process asks. A call is one leg at one carrier, seen from us. ``advance`` is total for final
states: a final state absorbs every later event, because carriers deliver callbacks late, twice and
out of order (docs/carriers/twilio.md).
"""

from __future__ import annotations

from enum import StrEnum

from trunkline.errors import LocalProtocolError

__all__ = [
    "FINAL_STATES",
    "TRANSITIONS",
    "CallEvent",
    "CallState",
    "Direction",
    "EndReason",
    "EndedBy",
    "advance",
]


class Direction(StrEnum):
    """Seen from us."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class CallState(StrEnum):
    """Where a call stands: ``queued``, ``ringing`` and ``in_progress`` are open, the rest final."""

    QUEUED = "queued"
    """Outbound: written, not yet accepted by the carrier, or queued there."""

    RINGING = "ringing"
    """Inbound: the webhook came.

    Outbound: the far end rings.
    """

    IN_PROGRESS = "in_progress"
    """Answered: the carrier said so, or the media stream has started."""

    COMPLETED = "completed"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    CANCELED = "canceled"
    REJECTED = "rejected"
    """We refused it (limit, overflow, disabled agent)."""

    FAILED = "failed"


FINAL_STATES = frozenset(
    {
        CallState.COMPLETED,
        CallState.BUSY,
        CallState.NO_ANSWER,
        CallState.CANCELED,
        CallState.REJECTED,
        CallState.FAILED,
    }
)


class CallEvent(StrEnum):
    """What may happen to a call, in neutral words; carriers' own words map to these."""

    INITIATED = "initiated"
    RINGING = "ringing"
    ANSWERED = "answered"
    COMPLETED = "completed"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    CANCELED = "canceled"
    REJECTED = "rejected"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """A carrier's word that we do not know: kept raw, counted, changes nothing."""


class EndedBy(StrEnum):
    """Who ended the call."""

    CALLER = "caller"
    BOT = "bot"
    API = "api"
    CARRIER = "carrier"
    PLATFORM = "platform"


class EndReason(StrEnum):
    """Why a call is over; what no event explains is ``socket_lost``, never ``completed``."""

    COMPLETED = "completed"
    BUSY = "busy"
    NO_ANSWER = "no_answer"
    CANCELED = "canceled"
    REJECTED = "rejected"
    MAX_DURATION = "max_duration"
    SILENCE = "silence"
    SOCKET_LOST = "socket_lost"
    BOT_FAILED = "bot_failed"
    CARRIER_FAILED = "carrier_failed"


_ENDS = {
    CallEvent.COMPLETED: CallState.COMPLETED,
    CallEvent.BUSY: CallState.BUSY,
    CallEvent.NO_ANSWER: CallState.NO_ANSWER,
    CallEvent.CANCELED: CallState.CANCELED,
    CallEvent.REJECTED: CallState.REJECTED,
    CallEvent.FAILED: CallState.FAILED,
}

TRANSITIONS: dict[CallState, dict[CallEvent, CallState]] = {
    CallState.QUEUED: {
        CallEvent.INITIATED: CallState.QUEUED,
        CallEvent.RINGING: CallState.RINGING,
        CallEvent.ANSWERED: CallState.IN_PROGRESS,
        CallEvent.UNKNOWN: CallState.QUEUED,
        **_ENDS,
    },
    CallState.RINGING: {
        CallEvent.INITIATED: CallState.RINGING,
        CallEvent.RINGING: CallState.RINGING,
        CallEvent.ANSWERED: CallState.IN_PROGRESS,
        CallEvent.UNKNOWN: CallState.RINGING,
        **_ENDS,
    },
    CallState.IN_PROGRESS: {
        CallEvent.INITIATED: CallState.IN_PROGRESS,
        CallEvent.RINGING: CallState.IN_PROGRESS,
        CallEvent.ANSWERED: CallState.IN_PROGRESS,
        CallEvent.UNKNOWN: CallState.IN_PROGRESS,
        **_ENDS,
    },
    **{state: dict.fromkeys(CallEvent, state) for state in FINAL_STATES},
}


def advance(state: CallState, event: CallEvent) -> CallState:
    """Return the state after ``event``.

    Late and repeated events leave the state as it is; a final state is never left.

    Raises:
        LocalProtocolError: the table has no such pair (a state or event was added without a row).
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise LocalProtocolError(f"a call in state {state} cannot take event {event}") from None
