from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.carriers.twilio.wire import TwilioStream
from trunkline.simulator.connection import ClearSent, MarkSent, MediaSent
from trunkline.simulator.twilio.stream import GARBAGE, TwilioMedia
from trunkline.telephony.media import AudioReceived, DtmfReceived, MarkPlayed, StreamStarted

CAPTURE = Path(__file__).resolve().parents[3] / "captures" / "twilio" / "ws_inbound_call.jsonl"
STREAM = "MZ00000000000000000000000000000001"
CALL = "CA00000000000000000000000000000001"
ACCOUNT = "AC00000000000000000000000000000001"


def new_media() -> TwilioMedia:
    parameters = {"run_id": "42", "caller": "+14155550100"}
    return TwilioMedia(account_id=ACCOUNT, call_id=CALL, stream_id=STREAM, parameters=parameters)


def captured(event: str) -> dict[str, object]:
    for line in CAPTURE.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["dir"] == "carrier_to_us" and row.get("msg", {}).get("event") == event:
            return dict(row["msg"])
    raise AssertionError(event)


def test_our_messages_have_the_form_of_the_captured_ones() -> None:
    media = new_media()

    assert json.loads(media.connected()) == captured("connected")
    assert json.loads(media.start()) == captured("start")
    for made, event in (
        (media.media(b"\xff" * 160), "media"),
        (media.mark("g1-utt1"), "mark"),
        (media.dtmf("1"), "dtmf"),
        (media.stop(), "stop"),
    ):
        ours, theirs = json.loads(made), captured(event)
        assert ours.keys() == theirs.keys()
        details = theirs[event]
        assert isinstance(details, dict)
        assert ours[event].keys() == details.keys()
        assert {type(value) for value in ours[event].values()} == {str}


def test_numbers_rise_and_timestamps_tell_the_audio_sent() -> None:
    media = new_media()
    media.start()
    first, second = json.loads(media.media(bytes(160))), json.loads(media.media(bytes(80)))
    media.skip(160)
    third = json.loads(media.media(bytes(160)))

    assert [each["sequenceNumber"] for each in (first, second, third)] == ["2", "3", "4"]
    assert [each["media"]["chunk"] for each in (first, second, third)] == ["1", "2", "3"]
    assert [each["media"]["timestamp"] for each in (first, second, third)] == ["0", "20", "50"]


def test_trunklines_own_core_understands_us() -> None:
    media, core = new_media(), TwilioStream()
    messages = [media.connected(), media.start(), media.media(b"\x7e" * 160), media.dtmf("#")]
    for message in [*messages, media.mark("m"), media.stop()]:
        core.receive_message(message, 0)
    started, audio, digit, mark, _ = core.events_received()

    assert isinstance(started, StreamStarted)
    assert started.stream_id == STREAM
    assert audio == AudioReceived(b"\x7e" * 160, 0)
    assert digit == DtmfReceived(digit="#")
    assert mark == MarkPlayed(name="m")


def test_what_trunklines_own_core_sends_is_understood() -> None:
    media, core = new_media(), TwilioStream()
    core.receive_message(media.start(), 0)
    core.send_audio(b"\x01\x02\x03")
    core.send_mark("end")
    core.send_clear()
    received = [media.receive(message) for message in core.messages_to_send()]

    assert received == [MediaSent(payload=b"\x01\x02\x03"), MarkSent(name="end"), ClearSent()]
    assert media.violations == []


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"\x00\x01", "31950"),
        ("nonsense", "31950"),
        ("[]", "31950"),
        ({"event": "media", "media": {"payload": "AAAA"}}, "31951"),
        ({"event": "clear", "streamSid": "MZ9"}, "31951"),
        ({"event": "media", "streamSid": STREAM}, "31950"),
        ({"event": "media", "streamSid": STREAM, "media": {"payload": ""}}, "31950"),
        ({"event": "media", "streamSid": STREAM, "media": {"payload": "A*A="}}, "31950"),
        ({"event": "mark", "streamSid": STREAM, "mark": {}}, "31950"),
        ({"event": "mark", "streamSid": STREAM}, "31950"),
        ({"event": "dtmf", "streamSid": STREAM, "dtmf": {"digit": "1"}}, "31950"),
    ],
)
def test_what_twilio_would_ignore_is_ignored_and_on_record(message: object, code: str) -> None:
    media = new_media()
    data = message if isinstance(message, str | bytes) else json.dumps(message)

    assert media.receive(data) is None
    assert [violation.code for violation in media.violations] == [code]


def test_a_wav_header_is_played_as_the_noise_that_it_is_and_on_record() -> None:
    media = new_media()
    payload = b64encode(b"RIFF1234WAVE").decode()
    message = {"event": "media", "streamSid": STREAM, "media": {"payload": payload}}

    assert media.receive(json.dumps(message)) == MediaSent(payload=b"RIFF1234WAVE")
    assert [violation.code for violation in media.violations] == ["wav-header"]


@given(st.one_of(st.text(), st.binary()))
def test_no_message_of_a_server_breaks_the_carrier(data: str | bytes) -> None:
    media = new_media()

    assert (media.receive(data) is None) == bool(media.violations)


def test_garbage_is_garbage() -> None:
    for message in GARBAGE:
        media = new_media()
        assert media.receive(message) is None
