from __future__ import annotations

import base64
import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.transcript import Transcript, render
from trunkline.audio import Encoding
from trunkline.carriers.twilio.wire import MEDIA_FORMAT, SENT_MESSAGE_BYTES, TwilioStream
from trunkline.errors import LocalProtocolError, RemoteProtocolError, UnsupportedByCarrier
from trunkline.telephony.media import (
    AudioReceived,
    ProtocolWarning,
    StreamStarted,
    StreamState,
    StreamStopped,
)

CAPTURES = Path(__file__).parents[3] / "captures" / "twilio"

START = (
    '> {"event":"start","sequenceNumber":"1","streamSid":"MZ1","start":{"accountSid":"AC1",'
    '"streamSid":"MZ1","callSid":"CA1","tracks":["inbound"],"mediaFormat":{"encoding":'
    '"audio/x-mulaw","sampleRate":8000,"channels":1},"customParameters":{}}}'
)
STARTED = (
    "* StreamStarted stream_id='MZ1' carrier_call_id='CA1' account_id='AC1'"
    " received_format=PCMU/8000/1 sent_format=PCMU/8000/1"
)


def opened() -> TwilioStream:
    stream = TwilioStream()
    stream.receive_message(START[2:], 0)
    stream.events_received()
    return stream


def start_message(**changes: object) -> str:
    start: dict[str, object] = {"accountSid": "AC1", "callSid": "CA1"}
    start.update(changes)
    return json.dumps({"event": "start", "streamSid": "MZ1", "start": start})


def one_event(stream: TwilioStream) -> object:
    (event,) = stream.events_received()
    return event


def test_a_whole_call() -> None:
    stream = TwilioStream()
    assert stream.state is StreamState.CONNECTING
    Transcript(stream).play(
        f"""
        > {{"event":"connected","protocol":"Call","version":"1.0.0"}}
        {START}
        {STARTED}
        > {{"event":"media","sequenceNumber":"2","media":{{"track":"inbound","chunk":"1","timestamp":"5","payload":"AAEC"}},"streamSid":"MZ1"}}
        * AudioReceived payload=AAEC timestamp_ms=5
        # A stand-in may send integers.
        > {{"event":"media","sequenceNumber":3,"media":{{"track":"inbound","chunk":2,"timestamp":25,"payload":"/w=="}},"streamSid":"MZ1"}}
        * AudioReceived payload=/w== timestamp_ms=25
        ! send_audio "AQID"
        < {{"event":"media","streamSid":"MZ1","media":{{"payload":"AQID"}}}}
        ! send_mark "g1-utt1"
        < {{"event":"mark","streamSid":"MZ1","mark":{{"name":"g1-utt1"}}}}
        > {{"event":"dtmf","streamSid":"MZ1","sequenceNumber":"4","dtmf":{{"track":"inbound_track","digit":"#"}}}}
        * DtmfReceived digit='#'
        > {{"event":"mark","sequenceNumber":"5","streamSid":"MZ1","mark":{{"name":"g1-utt1"}}}}
        * MarkPlayed name='g1-utt1'
        ! send_clear
        < {{"event":"clear","streamSid":"MZ1"}}
        > {{"event":"stop","sequenceNumber":"6","streamSid":"MZ1","stop":{{"accountSid":"AC1","callSid":"CA1"}}}}
        * StreamStopped call_ended=True
        > EOF
        """  # noqa: E501 - wire messages, as they are
    )
    assert stream.state is StreamState.CLOSED


def test_a_wrong_transcript_fails() -> None:
    with pytest.raises(AssertionError):
        Transcript(TwilioStream()).play(f"{START}\n* MarkPlayed name='no'")


@pytest.mark.parametrize("capture", sorted(CAPTURES.glob("ws_*.jsonl")), ids=lambda path: path.stem)
def test_captures(capture: Path) -> None:
    """What Twilio wrote is understood without a warning; what we say is what was said there."""
    stream = TwilioStream()
    started = 0
    heard = b""
    captured_audio = b""
    for row in map(json.loads, capture.read_text(encoding="utf-8").splitlines()):
        if row["dir"] == "us_to_carrier":
            _say(stream, row["msg"])
            assert [json.loads(message) for message in stream.messages_to_send()] == [row["msg"]]
        elif "msg" in row:
            if row["msg"]["event"] == "media":
                captured_audio += base64.b64decode(row["msg"]["media"]["payload"])
            stream.receive_message(json.dumps(row["msg"]), row["t_ms"])
        for event in stream.events_received():
            assert not isinstance(event, ProtocolWarning), render(event)
            if isinstance(event, StreamStarted):
                started += 1
                assert event.raw["event"] == "start"
                assert event.parameters == {"run_id": "42", "caller": "+14155550100"}
            if isinstance(event, AudioReceived):
                heard += event.payload
    assert started == 1
    assert heard == captured_audio != b""
    assert stream.state is StreamState.CLOSED


def _say(stream: TwilioStream, message: dict[str, dict[str, str]]) -> None:
    if "media" in message:
        stream.send_audio(base64.b64decode(message["media"]["payload"]))
    else:
        stream.send_mark(message["mark"]["name"])


def test_the_format_is_the_only_one() -> None:
    assert (MEDIA_FORMAT.encoding, MEDIA_FORMAT.sample_rate_hz) == (Encoding.PCMU, 8000)


def test_parameters_arrive_as_they_were_sent() -> None:
    stream = TwilioStream()
    given = {"agent_name": "front-desk", "note": 'a "b" <c> ü\n'}

    stream.receive_message(start_message(customParameters=given), 0)

    started = one_event(stream)
    assert isinstance(started, StreamStarted)
    assert started.parameters == given
    assert started.from_number is None


@pytest.mark.parametrize("value", [None, [], "x", 1])
def test_parameters_of_another_kind_are_none(value: object) -> None:
    stream = TwilioStream()
    stream.receive_message(start_message(customParameters=value), 0)
    started = one_event(stream)
    assert isinstance(started, StreamStarted)
    assert started.parameters == {}


def test_a_parameter_that_is_no_text_is_left_out_with_a_warning() -> None:
    stream = TwilioStream()
    stream.receive_message(start_message(customParameters={"a": "1", "b": 2}), 0)
    warning, started = stream.events_received()
    assert warning == ProtocolWarning(code="malformed_parameter")
    assert isinstance(started, StreamStarted)
    assert started.parameters == {"a": "1"}


def test_the_stream_id_may_stand_in_the_details_only() -> None:
    stream = TwilioStream()
    details = {"accountSid": "AC1", "callSid": "CA1", "streamSid": 'MZ"2'}
    stream.receive_message(json.dumps({"event": "start", "start": details}), 0)
    started = one_event(stream)
    assert isinstance(started, StreamStarted)
    assert started.stream_id == 'MZ"2'
    stream.send_audio(b"\xff")
    (message,) = stream.messages_to_send()
    assert json.loads(message)["streamSid"] == 'MZ"2'


@pytest.mark.parametrize(
    ("message", "close_code"),
    [
        ("", 1007),
        ("hello", 1007),
        ('{"event":', 1007),
        ("\ud800", 1007),
        ("[" * 5000, 1007),
        ("[]", 1007),
        ("null", 1007),
        ('"start"', 1007),
        ('{"event":"start"}', 1002),
        ('{"event":"start","start":[]}', 1002),
        ('{"event":"start","start":{"callSid":"CA1","accountSid":"AC1"}}', 1002),
        (start_message(callSid=None), 1002),
        (start_message(callSid=""), 1002),
        (start_message(accountSid=5), 1002),
        (start_message(mediaFormat="audio/x-mulaw"), 1003),
        (start_message(mediaFormat={}), 1003),
        (
            start_message(
                mediaFormat={"encoding": "audio/x-l16", "sampleRate": 8000, "channels": 1}
            ),
            1003,
        ),
        (
            start_message(
                mediaFormat={"encoding": "audio/x-mulaw", "sampleRate": 16000, "channels": 1}
            ),
            1003,
        ),
        (
            start_message(
                mediaFormat={"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 2}
            ),
            1003,
        ),
    ],
)
def test_what_cannot_be_tolerated(message: str, close_code: int) -> None:
    stream = TwilioStream()
    with pytest.raises(RemoteProtocolError) as caught:
        stream.receive_message(message, 0)
    assert caught.value.close_code == close_code
    assert stream.state is StreamState.CONNECTING
    assert stream.events_received() == ()


def test_a_format_in_strings_is_the_same_format() -> None:
    stream = TwilioStream()
    media_format = {"encoding": "audio/x-mulaw", "sampleRate": "8000", "channels": "1"}
    stream.receive_message(start_message(mediaFormat=media_format), 0)
    assert isinstance(one_event(stream), StreamStarted)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('{"event":"media","media":{"payload":"/w=="}}', "media_before_start"),
        ('{"event":"stop"}', "stop_before_start"),
        ('{"event":"mark","mark":{"name":"a"}}', "malformed_mark"),
        ('{"event":"dtmf","dtmf":{"digit":"1"}}', "malformed_dtmf"),
        ('{"event":"video"}', "unknown_event"),
        ('{"event":["media"]}', "unknown_event"),
        ("{}", "unknown_event"),
    ],
)
def test_before_the_start(message: str, code: str) -> None:
    stream = TwilioStream()
    stream.receive_message(message, 0)
    assert one_event(stream) == ProtocolWarning(code=code)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('{"event":"media"}', "malformed_media"),
        ('{"event":"media","media":[]}', "malformed_media"),
        ('{"event":"media","media":{}}', "malformed_media"),
        ('{"event":"media","media":{"payload":7}}', "malformed_media"),
        ('{"event":"media","media":{"payload":""}}', "empty_payload"),
        ('{"event":"media","media":{"payload":"/w==","track":"outbound"}}', "foreign_track"),
        ('{"event":"mark"}', "malformed_mark"),
        ('{"event":"mark","mark":{"name":1}}', "malformed_mark"),
        ('{"event":"dtmf"}', "malformed_dtmf"),
        ('{"event":"dtmf","dtmf":{"digit":"12"}}', "malformed_dtmf"),
        ('{"event":"dtmf","dtmf":{"digit":"x"}}', "malformed_dtmf"),
        ('{"event":"dtmf","dtmf":{"digit":1}}', "malformed_dtmf"),
        ('{"event":"connected2"}', "unknown_event"),
    ],
)
def test_what_is_tolerated_on_an_open_stream(message: str, code: str) -> None:
    stream = opened()
    stream.receive_message(message, 0)
    assert one_event(stream) == ProtocolWarning(code=code)
    assert stream.state is StreamState.OPEN


@pytest.mark.parametrize("payload", ["!", "/w=", "/w==/w==", "AAE", "AA\n==", "ü", "A===", "===="])
def test_bad_base64_costs_one_frame(payload: str) -> None:
    stream = opened()
    stream.receive_message(json.dumps({"event": "media", "media": {"payload": payload}}), 0)
    event = one_event(stream)
    assert isinstance(event, ProtocolWarning)
    assert (event.code, event.detail) == ("malformed_payload", f"{len(payload)} characters")


@pytest.mark.parametrize("data", [b'{"event":"stop"}', memoryview(b"\x00\x01")])
def test_binary_messages_are_none_of_twilios(data: bytes | memoryview) -> None:
    stream = opened()
    stream.receive_message(data, 0)
    assert one_event(stream) == ProtocolWarning(code="binary_message", detail=f"{len(data)} bytes")
    assert stream.state is StreamState.OPEN


@pytest.mark.parametrize("n_bytes", [1, 7, 159, 160, 161, 4000, 65536])
def test_audio_of_any_size_is_received(n_bytes: int) -> None:
    stream = opened()
    audio = bytes(index % 256 for index in range(n_bytes))
    payload = base64.b64encode(audio).decode()
    stream.receive_message(json.dumps({"event": "media", "media": {"payload": payload}}), 0)
    assert one_event(stream) == AudioReceived(audio)


@pytest.mark.parametrize(
    ("timestamp", "expected_ms"),
    [
        ("5", 5),
        (5, 5),
        ("0", 0),
        (-5, None),
        ("-5", None),
        ("", None),
        ("5.0", None),
        (5.5, None),
        ("²", None),
        ("9" * 19, None),
        (True, None),
        (None, None),
        ([], None),
    ],
)
def test_timestamps(timestamp: object, expected_ms: int | None) -> None:
    stream = opened()
    media = {"payload": "/w==", "timestamp": timestamp}
    stream.receive_message(json.dumps({"event": "media", "media": media}), 0)
    assert one_event(stream) == AudioReceived(b"\xff", expected_ms)


@pytest.mark.parametrize("digit", "0123456789*#ABCDabcd")
def test_every_key(digit: str) -> None:
    Transcript(opened()).play(
        f"""
        > {{"event":"dtmf","dtmf":{{"digit":"{digit}"}}}}
        * DtmfReceived digit='{digit.upper()}'
        """
    )


def test_a_repeated_start_is_tolerated_another_stream_is_not() -> None:
    stream = TwilioStream()
    Transcript(stream).play(
        f"""
        {START}
        {STARTED}
        {START}
        * ProtocolWarning code='repeated_start'
        {START.replace("MZ1", "MZ2")}
        x RemoteProtocolError 1002 a second stream was started on one socket
        ! send_clear
        < {{"event":"clear","streamSid":"MZ1"}}
        """
    )


@pytest.mark.parametrize("n_bytes", [0, 1, 160, SENT_MESSAGE_BYTES, SENT_MESSAGE_BYTES + 1, 100000])
def test_audio_to_send_is_cut_and_kept(n_bytes: int) -> None:
    stream = opened()
    audio = bytes(index % 251 for index in range(n_bytes))

    stream.send_audio(audio)

    messages = [json.loads(message) for message in stream.messages_to_send()]
    parts = [base64.b64decode(message["media"]["payload"]) for message in messages]
    assert b"".join(parts) == audio
    assert all(0 < len(part) <= SENT_MESSAGE_BYTES for part in parts)
    assert stream.messages_to_send() == ()


def test_mark_names_are_quoted() -> None:
    stream = opened()
    stream.send_mark('a"b\\c\n')
    (message,) = stream.messages_to_send()
    assert json.loads(message)["mark"] == {"name": 'a"b\\c\n'}


def test_a_mark_without_a_name_is_our_bug() -> None:
    with pytest.raises(LocalProtocolError):
        opened().send_mark("")


def test_digits_cannot_be_sent() -> None:
    with pytest.raises(UnsupportedByCarrier):
        opened().send_dtmf("1")


VERBS = {
    "send_audio": (b"\xff",),
    "send_mark": ("a",),
    "send_clear": (),
    "send_dtmf": ("1",),
    "send_close": (),
}


@pytest.mark.parametrize("verb", VERBS)
def test_verbs_need_an_open_stream(verb: str) -> None:
    stopped, lost, closed = opened(), opened(), opened()
    stopped.receive_message('{"event":"stop"}', 0)
    lost.receive_eof()
    closed.send_close("bye")
    for stream in (TwilioStream(), stopped, lost, closed):
        with pytest.raises(LocalProtocolError):
            getattr(stream, verb)(*VERBS[verb])
        assert stream.messages_to_send() == ()


def test_closing_needs_no_message_and_silences_what_still_comes() -> None:
    stream = opened()
    Transcript(stream).play(
        """
        ! send_close "the bot is done"
        > {"event":"media","media":{"payload":"/w=="}}
        > not even JSON
        > {"event":"stop"}
        """
    )
    assert stream.state is StreamState.CLOSED


def test_stop_before_start_closes() -> None:
    stream = TwilioStream()
    stream.receive_message('{"event":"stop"}', 0)
    assert stream.state is StreamState.CLOSED


def test_an_empty_answer_does_not_change_later() -> None:
    stream = opened()
    before, messages = stream.events_received(), stream.messages_to_send()
    stream.send_clear()
    stream.receive_message('{"event":"stop"}', 0)
    assert (before, messages) == ((), ())
    assert one_event(stream) == StreamStopped()


# Text that reaches deep: the names and values of real messages, in all places.
WORDS = st.sampled_from(
    [
        "event",
        "start",
        "media",
        "mark",
        "dtmf",
        "stop",
        "connected",
        "payload",
        "name",
        "digit",
        "streamSid",
        "callSid",
        "accountSid",
        "mediaFormat",
        "customParameters",
        "track",
        "timestamp",
        "MZ1",
        "CA1",
        "AC1",
        "inbound",
        "/w==",
        "1",
        "",
        "8000",
        "audio/x-mulaw",
    ]
)
LEAVES = WORDS | st.text() | st.none() | st.booleans() | st.integers() | st.floats()
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(), inner, max_size=6)
    ),
    max_leaves=20,
)
MESSAGES = (
    st.text()
    | st.binary()
    | JSON.map(json.dumps)
    | st.fixed_dictionaries(
        {"event": WORDS},
        optional={"start": JSON, "media": JSON, "mark": JSON, "dtmf": JSON, "streamSid": JSON},
    ).map(json.dumps)
)


@given(started=st.booleans(), messages=st.lists(MESSAGES, max_size=5))
def test_any_message_gives_events_or_the_documented_error(
    started: bool, messages: list[str | bytes]
) -> None:
    stream = opened() if started else TwilioStream()
    for message in messages:
        with suppress(RemoteProtocolError):
            stream.receive_message(message, 0)
        for event in stream.events_received():
            assert render(event)
        assert stream.messages_to_send() == ()


@given(audio=st.binary(max_size=5000))
def test_audio_survives_the_way_there_and_back(audio: bytes) -> None:
    ours, theirs = opened(), opened()
    ours.send_audio(audio)
    for message in ours.messages_to_send():
        theirs.receive_message(message, 0)
    received = [event for event in theirs.events_received() if isinstance(event, AudioReceived)]
    assert b"".join(event.payload for event in received) == audio
