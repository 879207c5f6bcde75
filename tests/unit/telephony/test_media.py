from __future__ import annotations

import typing

import pytest

from trunkline.audio import Encoding, MediaFormat
from trunkline.telephony import media
from trunkline.telephony.media import (
    AudioReceived,
    StreamEvent,
    StreamStarted,
    StreamState,
    StreamStopped,
)

PCMU = MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=8000)


def test_a_stream_only_goes_forward() -> None:
    assert list(StreamState) == sorted(StreamState)
    assert StreamState.CONNECTING < StreamState.OPEN < StreamState.CLOSED


def test_every_event_of_the_vocabulary_is_public() -> None:
    events = {event.__name__ for event in typing.get_args(StreamEvent)}
    assert events <= set(media.__all__)


@pytest.mark.parametrize("event", typing.get_args(StreamEvent))
def test_events_are_frozen_and_slotted(event: type) -> None:
    assert event.__dataclass_params__.frozen  # pyright: ignore[reportAttributeAccessIssue]
    assert "__dict__" not in dir(event)


def test_events_of_equal_content_are_equal() -> None:
    assert AudioReceived(b"\xff", 20) == AudioReceived(b"\xff", 20)
    assert AudioReceived(b"\xff") != AudioReceived(b"\xff", 0)


def test_a_start_needs_no_more_than_its_ids_and_formats() -> None:
    started = StreamStarted(
        stream_id="s", carrier_call_id="c", account_id="a", received_format=PCMU, sent_format=PCMU
    )
    assert (started.from_number, started.parameters, started.raw) == (None, {}, {})


def test_a_stop_ends_the_call_unless_it_says_otherwise() -> None:
    assert StreamStopped().call_ended
