"""What every dialect must do, so that a bot's socket can rely on it."""

from __future__ import annotations

import json

import pytest

from tests.support.scripted_gateway import call_started
from trunkline.bots.presented import NAMES, find_dialect
from trunkline.bots.presented.dialect import PresentedStream
from trunkline.dispatch.messages import AgentSpec
from trunkline.errors import RemoteProtocolError


@pytest.fixture(params=NAMES)
def stream(request: pytest.FixtureRequest) -> PresentedStream:
    return find_dialect(request.param, None).new_stream(
        call_started(AgentSpec(name="own", kind="module"))
    )


def test_everything_is_text_that_a_bot_can_parse(stream: PresentedStream) -> None:
    texts = [
        *stream.opening(),
        stream.audio(bytes(160)),
        stream.dtmf("1"),
        stream.mark("m"),
        *stream.closing(),
    ]
    assert all(isinstance(json.loads(text), dict) for text in texts)


def test_two_messages_at_most_introduce_a_call(stream: PresentedStream) -> None:
    # Pipecat's parse_telephony_websocket reads no more than two before it decides.
    assert 1 <= len(stream.opening()) <= 2


def test_nonsense_is_refused(stream: PresentedStream) -> None:
    with pytest.raises(RemoteProtocolError):
        stream.read("nonsense")
