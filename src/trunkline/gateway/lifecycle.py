"""A stream's states, as data: every transition is here, and what is not listed is a bug."""

from __future__ import annotations

from enum import StrEnum

from trunkline.errors import LocalProtocolError

__all__ = ["TRANSITIONS", "SessionEvent", "SessionState", "advance"]


class SessionState(StrEnum):
    """Where a stream stands."""

    WAITING = "waiting"
    """The socket is open, the carrier has not sent ``start``."""
    OPENING = "opening"
    """Started; caller audio waits for the bot."""
    TALKING = "talking"
    FINISHING = "finishing"
    """The call is to end; what was queued is still being played."""
    HANGING_UP = "hanging_up"
    """Everything was played; the front ends the leg, and the carrier should now stop the stream."""
    SETTLING = "settling"
    """The stream is over; the worker says its last words and the recording is closed."""
    OVER = "over"


class SessionEvent(StrEnum):
    """What may happen to it."""

    STREAM_STARTED = "stream_started"
    BOT_STARTED = "bot_started"
    END_WANTED = "end_wanted"
    SPEECH_DONE = "speech_done"
    """Nothing is left to play, or it took too long."""
    STREAM_OVER = "stream_over"
    """Stopped, closed, lost, replaced or dropped."""
    SETTLED = "settled"


_S, _E = SessionState, SessionEvent

TRANSITIONS: dict[SessionState, dict[SessionEvent, SessionState]] = {
    _S.WAITING: {
        _E.STREAM_STARTED: _S.OPENING,
        _E.END_WANTED: _S.FINISHING,
        _E.STREAM_OVER: _S.SETTLING,
    },
    _S.OPENING: {
        _E.BOT_STARTED: _S.TALKING,
        _E.END_WANTED: _S.FINISHING,
        _E.STREAM_OVER: _S.SETTLING,
    },
    _S.TALKING: {
        _E.BOT_STARTED: _S.TALKING,
        _E.END_WANTED: _S.FINISHING,
        _E.STREAM_OVER: _S.SETTLING,
    },
    _S.FINISHING: {
        _E.STREAM_STARTED: _S.FINISHING,
        _E.BOT_STARTED: _S.FINISHING,
        _E.END_WANTED: _S.FINISHING,
        _E.SPEECH_DONE: _S.HANGING_UP,
        _E.STREAM_OVER: _S.SETTLING,
    },
    _S.HANGING_UP: {
        _E.STREAM_STARTED: _S.HANGING_UP,
        _E.BOT_STARTED: _S.HANGING_UP,
        _E.END_WANTED: _S.HANGING_UP,
        _E.STREAM_OVER: _S.SETTLING,
    },
    _S.SETTLING: {**dict.fromkeys(_E, _S.SETTLING), _E.SETTLED: _S.OVER},
    _S.OVER: dict.fromkeys(_E, _S.OVER),
}


def advance(state: SessionState, event: SessionEvent) -> SessionState:
    """The state after ``event``.

    Raises:
        LocalProtocolError: the table has no such pair.
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise LocalProtocolError(f"a stream that is {state} cannot take {event}") from None
