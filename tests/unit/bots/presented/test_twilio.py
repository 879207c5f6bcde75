from __future__ import annotations

import base64
import json

import pytest
from pipecat.serializers.twilio import TwilioFrameSerializer

from tests.support.scripted_gateway import call_started
from trunkline.audio import Encoding, MediaFormat
from trunkline.bots.presented.dialect import Clear, Mark, Speak
from trunkline.bots.presented.twilio import DIALECT, TwilioStream
from trunkline.dispatch.messages import AgentSpec
from trunkline.errors import RemoteProtocolError

AGENT = AgentSpec(name="own", kind="module")
L16 = MediaFormat(encoding=Encoding.L16, sample_rate_hz=16_000)


def stream(**changes: object) -> TwilioStream:
    return TwilioStream(call_started(AGENT, **changes))


def test_opening_is_connected_then_start() -> None:
    connected, start = (json.loads(text) for text in stream(account_id="AC1").opening())
    assert connected == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    assert start == {
        "event": "start",
        "sequenceNumber": "1",
        "streamSid": "MZ00000000000000000000000000000001",
        "start": {
            "accountSid": "AC1",
            "streamSid": "MZ00000000000000000000000000000001",
            "callSid": "CA00000000000000000000000000000001",
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"from_number": "+14155550100", "to_number": "+14155550199"},
        },
    }


def test_parameters_of_the_stream_win() -> None:
    call = stream(parameters={"from_number": "+1", "plan": "gold"})
    start = json.loads(call.opening()[1])["start"]
    assert start["customParameters"] == {
        "from_number": "+1",
        "to_number": "+14155550199",
        "plan": "gold",
    }


def test_messages_are_counted_and_timed_in_strings() -> None:
    call = stream()
    call.opening()
    first, second = (json.loads(call.audio(bytes([1]) * 160)) for _ in range(2))
    assert first["media"] == {
        "track": "inbound",
        "chunk": "1",
        "timestamp": "0",
        "payload": base64.b64encode(bytes([1]) * 160).decode(),
    }
    assert (second["sequenceNumber"], second["media"]["timestamp"]) == ("3", "20")
    assert json.loads(call.dtmf("7"))["dtmf"] == {"track": "inbound_track", "digit": "7"}
    assert json.loads(call.mark("m"))["mark"] == {"name": "m"}
    assert json.loads(call.closing()[0])["stop"]["callSid"].startswith("CA")


def test_what_a_bot_sends() -> None:
    call = stream()
    payload = base64.b64encode(b"\x01\x02").decode()
    assert call.read(json.dumps({"event": "media", "media": {"payload": payload}})) == (
        Speak(b"\x01\x02")
    )
    assert call.read('{"event":"mark","mark":{"name":"m"}}') == Mark("m")
    assert call.read('{"event":"clear"}') == Clear()
    assert call.read('{"event":"novelty"}') is None


@pytest.mark.parametrize("text", ["", "no", "[]", "{}", '{"event":1}', "\ud800"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        stream().read(text)


def test_audio_that_is_not_base64_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="base64"):
        stream().read('{"event":"media","media":{"payload":"\\u00e4"}}')


def test_call_in_another_encoding_is_converted_both_ways() -> None:
    call = stream(received_format=L16, sent_format=L16)
    call.opening()
    message = json.loads(call.audio(bytes(640)))
    assert 0 < len(base64.b64decode(message["media"]["payload"])) <= 160
    assert message["media"]["timestamp"] == "0"
    payload = base64.b64encode(b"\xff" * 1600).decode()
    spoken = call.read(json.dumps({"event": "media", "media": {"payload": payload}}))
    assert isinstance(spoken, Speak)
    assert len(spoken.payload) > 4 * 1600 - 640


def test_serializer_leaves_the_call_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TwilioFrameSerializer, "InputParams", TwilioFrameSerializer.InputParams)
    DIALECT.prepare()
    DIALECT.prepare()
    assert TwilioFrameSerializer.InputParams().auto_hang_up is False
    assert TwilioFrameSerializer.InputParams(auto_hang_up=True).auto_hang_up is False
    TwilioFrameSerializer(stream_sid="MZ1", call_sid="CA1")  # no credentials asked for


def test_stand_ins_satisfy_a_bot_that_asks_for_credentials() -> None:
    assert set(DIALECT.environment) == {"TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"}
