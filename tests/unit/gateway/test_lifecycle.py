from __future__ import annotations

import itertools

import pytest

from trunkline.errors import LocalProtocolError
from trunkline.gateway.lifecycle import TRANSITIONS, SessionEvent, SessionState, advance


def test_every_state_has_a_row_and_can_end() -> None:
    assert set(TRANSITIONS) == set(SessionState)
    for state in SessionState:
        assert advance(state, SessionEvent.STREAM_OVER) in (
            SessionState.SETTLING,
            SessionState.OVER,
        )


def test_the_usual_way() -> None:
    state = SessionState.WAITING
    for event in (
        SessionEvent.STREAM_STARTED,
        SessionEvent.BOT_STARTED,
        SessionEvent.END_WANTED,
        SessionEvent.SPEECH_DONE,
        SessionEvent.STREAM_OVER,
        SessionEvent.SETTLED,
    ):
        state = advance(state, event)
    assert state is SessionState.OVER


def test_the_end_is_never_left() -> None:
    for event in SessionEvent:
        assert advance(SessionState.OVER, event) is SessionState.OVER


def test_what_is_not_listed_is_our_bug() -> None:
    unlisted = [
        (state, event)
        for state, event in itertools.product(SessionState, SessionEvent)
        if event not in TRANSITIONS[state]
    ]
    assert (SessionState.WAITING, SessionEvent.BOT_STARTED) in unlisted
    for state, event in unlisted:
        with pytest.raises(LocalProtocolError, match=state):
            advance(state, event)
