from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.audio import Encoding, MediaFormat
from trunkline.dispatch import messages
from trunkline.dispatch.messages import (
    KIND_AUDIO_IN,
    KIND_AUDIO_OUT,
    MESSAGES,
    AgentSpec,
    CallFacts,
    CallStarted,
    Hello,
    Message,
    decode,
    encode,
)
from trunkline.errors import ChannelError

AGENT = AgentSpec(name="front-desk", kind="module", module="bot.py", revision=3)


def test_every_message_class_is_listed_once_under_its_own_kind() -> None:
    assert set(MESSAGES.values()) == set(Message.__subclasses__())
    assert len(MESSAGES) == len(Message.__subclasses__())
    assert not {KIND_AUDIO_IN, KIND_AUDIO_OUT} & set(MESSAGES)
    assert all(0 < kind < 256 for kind in MESSAGES)


def test_the_public_names_are_complete() -> None:
    assert {cls.__name__ for cls in MESSAGES.values()} <= set(messages.__all__)
    assert all(hasattr(messages, name) for name in messages.__all__)


def test_a_call_survives_the_wire() -> None:
    message = CallStarted(
        facts=CallFacts(
            call_id="c1",
            carrier="test",
            direction="inbound",
            agent=AGENT,
            body={"nested": [1, None, "é"]},
        ),
        stream_id="s1",
        carrier_call_id="cc1",
        received_format=MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=8000),
        sent_format=MediaFormat(encoding=Encoding.L16, sample_rate_hz=16000),
        history=[{"role": "user", "content": "hello"}],
    )
    assert decode(CallStarted.KIND, encode(message)) == message


def test_a_field_that_another_version_added_is_ignored() -> None:
    payload = msgspec.msgpack.encode({"sender": "front", "colour": "red"})
    assert decode(Hello.KIND, payload) == Hello(sender="front")


def test_agents_share_a_zygote_only_at_one_revision() -> None:
    assert AGENT.zygote_key == msgspec.structs.replace(AGENT, warm=5).zygote_key
    assert AGENT.zygote_key != msgspec.structs.replace(AGENT, revision=4).zygote_key


@given(kind=st.integers(0, 255), payload=st.binary(max_size=100))
def test_any_bytes_give_a_message_or_a_channel_error(kind: int, payload: bytes) -> None:
    try:
        message = decode(kind, payload)
    except ChannelError:
        return
    assert type(message) is MESSAGES[kind]


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(ChannelError, match="unknown message kind 200"):
        decode(200, b"")
