from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import LocalProtocolError
from trunkline.telephony.call import FINAL_STATES, TRANSITIONS, CallEvent, CallState, advance

QUEUED, RINGING, IN_PROGRESS = CallState.QUEUED, CallState.RINGING, CallState.IN_PROGRESS
COMPLETED = CallState.COMPLETED


@pytest.mark.parametrize(("state", "event"), list(itertools.product(CallState, CallEvent)))
def test_the_table_has_every_pair(state: CallState, event: CallEvent) -> None:
    assert advance(state, event) is TRANSITIONS[state][event]


@pytest.mark.parametrize(
    ("events", "states"),
    [
        (
            ["initiated", "ringing", "answered", "completed"],
            [QUEUED, RINGING, IN_PROGRESS, COMPLETED],
        ),
        # The answer overtook the ringing.
        (["initiated", "answered", "ringing"], [QUEUED, IN_PROGRESS, IN_PROGRESS]),
        # The end overtook everything.
        (["completed", "answered", "ringing", "failed"], [COMPLETED] * 4),
        (
            ["ringing", "no_answer", "completed"],
            [RINGING, CallState.NO_ANSWER, CallState.NO_ANSWER],
        ),
        (["busy"], [CallState.BUSY]),
        (
            ["ringing", "unknown", "answered", "unknown"],
            [RINGING, RINGING, IN_PROGRESS, IN_PROGRESS],
        ),
    ],
)
def test_calls(events: list[str], states: list[CallState]) -> None:
    state = QUEUED
    for event, expected in zip(events, states, strict=True):
        state = advance(state, CallEvent(event))
        assert state is expected


@pytest.mark.parametrize(
    ("state", "event"), list(itertools.product(sorted(FINAL_STATES), CallEvent))
)
def test_a_final_state_is_never_left(state: CallState, event: CallEvent) -> None:
    assert advance(state, event) is state


def test_open_and_final_states_are_all_states() -> None:
    assert set(CallState) - FINAL_STATES == {QUEUED, RINGING, IN_PROGRESS}


@given(events=st.lists(st.sampled_from(list(CallEvent))))
def test_a_call_never_goes_back(events: list[CallEvent]) -> None:
    order = [QUEUED, RINGING, IN_PROGRESS]
    state = QUEUED
    for event in events:
        before, state = state, advance(state, event)
        if before in FINAL_STATES:
            assert state is before
        elif state not in FINAL_STATES:
            assert order.index(state) >= order.index(before)


def test_a_pair_that_is_not_in_the_table_is_our_bug() -> None:
    with pytest.raises(LocalProtocolError, match="queued"):
        advance(QUEUED, "teleported")  # pyright: ignore[reportArgumentType] - what the test is about
