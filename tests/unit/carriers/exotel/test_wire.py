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
from trunkline.carriers.exotel.account import ExotelAccount
from trunkline.carriers.exotel.wire import (
    PAYLOAD_UNIT_BYTES,
    ExotelStream,
    message_bytes,
    new_stream,
    stream_options,
)
from trunkline.errors import LocalProtocolError, RemoteProtocolError, UnsupportedByCarrier
from trunkline.telephony.media import (
    AudioReceived,
    DtmfReceived,
    MarkPlayed,
    ProtocolWarning,
    StreamStarted,
    StreamState,
    StreamStopped,
)

CAPTURES = Path(__file__).parents[3] / "captures" / "exotel"

START = (
    '> {"event":"start","sequence_number":"1","stream_sid":"S1","start":{"stream_sid":"S1",'
    '"call_sid":"C1","account_sid":"A1","from":"09876543210","to":"08047091234",'
    '"custom_parameters":{"tenant":"acme"},"media_format":{"encoding":"base64",'
    '"sample_rate":"8000","bit_rate":"128kbps"}}}'
)
STARTED = (
    "* StreamStarted stream_id='S1' carrier_call_id='C1' account_id='A1'"
    " received_format=L16/8000/1 sent_format=L16/8000/1"
    " from_number='+919876543210' to_number='+918047091234' parameters={'tenant': 'acme'}"
)
IDS = '"stream_sid":"S1","streamSid":"S1"'


def start_message(**changes: object) -> str:
    start: dict[str, object] = {"stream_sid": "S1", "call_sid": "C1", "account_sid": "A1"}
    start.update(changes)
    return json.dumps({"event": "start", "stream_sid": "S1", "start": start})


def opened(**start: object) -> ExotelStream:
    stream = ExotelStream()
    stream.receive_message(start_message(**start), 0)
    stream.events_received()
    return stream


def one_event(stream: ExotelStream) -> object:
    (event,) = stream.events_received()
    return event


def sent(stream: ExotelStream) -> list[dict[str, dict[str, str]]]:
    return [json.loads(message) for message in stream.messages_to_send()]


def payloads(stream: ExotelStream) -> list[bytes]:
    return [
        base64.b64decode(message["media"]["payload"])
        for message in sent(stream)
        if "media" in message
    ]


def media(payload: str = "AAA=", **more: object) -> str:
    return json.dumps({"event": "media", "media": {"payload": payload, **more}})


def test_a_whole_call() -> None:
    stream = ExotelStream()
    assert stream.state is StreamState.CONNECTING
    audio = base64.b64encode(b"\1\2" * 160).decode()
    Transcript(stream).play(
        f"""
        > {{"event":"connected"}}
        {START}
        {STARTED}
        > {{"event":"media","sequence_number":"3","stream_sid":"S1","media":{{"chunk":"2","timestamp":"200","payload":"AAECAw=="}}}}
        * AudioReceived payload=AAECAw== timestamp_ms=200
        # One official page writes numbers.
        > {{"event":"media","sequence_number":4,"stream_sid":"S1","media":{{"chunk":3,"timestamp":300,"payload":"AAE="}}}}
        * AudioReceived payload=AAE= timestamp_ms=300
        ! send_audio "{audio}"
        ! send_mark "g1-utt1"
        < {{"event":"media",{IDS},"media":{{"chunk":"1","timestamp":"0","sequenceNumber":"1","payload":"{audio}"}}}}
        < {{"event":"mark",{IDS},"mark":{{"name":"g1-utt1"}}}}
        > {{"event":"dtmf","sequence_number":"5","stream_sid":"S1","dtmf":{{"digit":"#","duration":"100"}}}}
        * DtmfReceived digit='#'
        > {{"event":"mark","sequence_number":"6","stream_sid":"S1","mark":{{"name":"g1-utt1"}}}}
        * MarkPlayed name='g1-utt1'
        ! send_clear
        < {{"event":"clear",{IDS}}}
        > {{"event":"stop","sequence_number":"7","stream_sid":"S1","stop":{{"call_sid":"C1","account_sid":"A1","reason":"callended"}}}}
        * StreamStopped reason='callended' call_ended=True
        > EOF
        """  # noqa: E501 - wire messages, as they are
    )
    assert stream.state is StreamState.CLOSED


@pytest.mark.parametrize("capture", sorted(CAPTURES.glob("ws_*.jsonl")), ids=lambda path: path.stem)
def test_captures(capture: Path) -> None:
    """What Exotel writes is understood without a warning; we say what is said there, and more."""
    stream = ExotelStream()
    heard = b""
    captured_audio = b""
    kinds: list[type] = []
    for row in map(json.loads, capture.read_text(encoding="utf-8").splitlines()):
        if row["dir"] == "us_to_carrier":
            _say(stream, row["msg"])
            # Larger payloads than ours are allowed there: only the audio must be the same.
            expected = row["msg"].get("media")
            messages = sent(stream)
            if expected is None:
                (message,) = messages
                assert message.pop("streamSid") == row["msg"]["stream_sid"]
                assert message == row["msg"]
            else:
                audio = b"".join(base64.b64decode(m["media"]["payload"]) for m in messages)
                assert audio == base64.b64decode(expected["payload"])
                assert {m["stream_sid"] for m in messages} == {row["msg"]["stream_sid"]}
        elif "msg" in row:
            if row["msg"]["event"] == "media":
                captured_audio += base64.b64decode(row["msg"]["media"]["payload"])
            stream.receive_message(json.dumps(row["msg"]), row["t_ms"])
        for event in stream.events_received():
            assert not isinstance(event, ProtocolWarning), render(event)
            kinds.append(type(event))
            if isinstance(event, AudioReceived):
                heard += event.payload
    assert heard == captured_audio != b""
    assert kinds.count(StreamStarted) == kinds.count(StreamStopped) == 1
    assert kinds.count(MarkPlayed) == 2
    assert kinds.count(DtmfReceived) == 1
    assert stream.state is StreamState.CLOSED


def _say(stream: ExotelStream, message: dict[str, dict[str, str]]) -> None:
    if "media" in message:
        stream.send_audio(base64.b64decode(message["media"]["payload"]))
    elif "mark" in message:
        stream.send_mark(message["mark"]["name"])
    else:
        stream.send_clear()


@pytest.mark.parametrize(("rate_hz", "n_bytes"), [(8000, 1600), (16000, 3200), (24000, 4800)])
def test_a_message_is_a_tenth_of_a_second(rate_hz: int, n_bytes: int) -> None:
    assert message_bytes(rate_hz) == n_bytes
    stream = opened(media_format={"sample_rate": str(rate_hz)})
    audio = bytes(index % 256 for index in range(3 * n_bytes + 2))

    stream.send_audio(audio)

    assert payloads(stream) == [
        audio[start : start + n_bytes] for start in range(0, 3 * n_bytes, n_bytes)
    ]


def test_messages_are_never_less_than_a_unit() -> None:
    assert message_bytes(8000, 1) == PAYLOAD_UNIT_BYTES
    assert message_bytes(8000, 30) == PAYLOAD_UNIT_BYTES
    assert message_bytes(8000, 200) == 3200


def test_the_length_of_messages_can_be_set() -> None:
    stream = ExotelStream(message_ms=200)
    stream.receive_message(start_message(), 0)
    stream.send_audio(bytes(6400))
    assert [len(payload) for payload in payloads(stream)] == [3200, 3200]


def test_the_account_sets_the_length_of_messages() -> None:
    account = ExotelAccount.model_validate({"message_ms": "200"})
    for options, n_bytes in (
        (stream_options(account), 3200),
        ({}, 1600),
        ({"message_ms": "x"}, 1600),
    ):
        stream = new_stream(options)
        stream.receive_message(start_message(), 0)
        stream.send_audio(bytes(3200))
        assert len(payloads(stream)[0]) == n_bytes


@pytest.mark.parametrize("n_bytes", [1, 2, 319, 320, 321, 1599, 1601, 3200, 5000])
def test_a_mark_brings_the_rest_out_in_whole_units(n_bytes: int) -> None:
    stream = opened()
    audio = bytes(1 + index % 250 for index in range(n_bytes))
    stream.send_audio(audio)
    stream.send_mark("g1-1")

    *media_messages, mark = sent(stream)

    assert mark["event"] == "mark"
    said = [base64.b64decode(message["media"]["payload"]) for message in media_messages]
    assert all(len(payload) % PAYLOAD_UNIT_BYTES == 0 for payload in said)
    padding = -n_bytes % PAYLOAD_UNIT_BYTES
    assert b"".join(said) == audio + bytes(padding)


def test_messages_are_numbered_and_timed() -> None:
    stream = opened(media_format={"sample_rate": 16000})
    for _ in range(3):
        stream.send_audio(bytes(3200))
    stream.send_clear()
    stream.send_audio(bytes(3200))
    numbers = [
        (message["media"]["chunk"], message["media"]["sequenceNumber"], timestamp)
        for message in sent(stream)
        if message["event"] == "media" and (timestamp := message["media"]["timestamp"])
    ]
    assert numbers == [("1", "1", "0"), ("2", "2", "100"), ("3", "3", "200"), ("4", "4", "300")]


def test_the_tail_of_a_stalled_bot_goes_out_with_the_next_caller_audio() -> None:
    stream = opened()
    stream.send_audio(b"\1" * 700)
    stream.receive_message(media(), 0)
    assert payloads(stream) == []  # it was still growing

    stream.receive_message(media(), 100)
    assert payloads(stream) == [b"\1" * 640]

    stream.receive_message(media(), 200)
    assert payloads(stream) == []  # less than a unit waits for a mark
    stream.send_mark("g1-1")
    assert payloads(stream) == [b"\1" * 60 + bytes(260)]


def test_a_clear_drops_what_waits() -> None:
    stream = opened()
    stream.send_audio(b"\1" * 700)
    stream.send_clear()
    stream.send_mark("g2-1")
    assert [message["event"] for message in sent(stream)] == ["clear", "mark"]


@pytest.mark.parametrize(
    ("media_format", "rate_hz"),
    [
        (None, 8000),
        ({}, 8000),
        ({"encoding": "raw", "sample_rate": "16000", "bit_rate": "16"}, 16000),
        ({"encoding": "audio/x-raw", "sample_rate": 24000}, 24000),
        ({"sampleRate": "16000"}, 16000),
    ],
)
def test_formats(media_format: object, rate_hz: int) -> None:
    stream = ExotelStream()
    stream.receive_message(start_message(media_format=media_format), 0)
    started = one_event(stream)
    assert isinstance(started, StreamStarted)
    assert started.received_format == started.sent_format
    assert started.received_format.encoding is Encoding.L16
    assert started.received_format.sample_rate_hz == rate_hz


def test_camel_case_and_capitals_are_read() -> None:
    stream = ExotelStream()
    start = {
        "streamSid": "S1",
        "callSid": "C1",
        "accountSid": "A1",
        "customParameters": {"a": "1"},
        "mediaFormat": {"sampleRate": "16000"},
    }
    stream.receive_message(json.dumps({"Event": "start", "start": start}), 0)
    started = one_event(stream)
    assert isinstance(started, StreamStarted)
    assert (started.stream_id, started.carrier_call_id, started.account_id) == ("S1", "C1", "A1")
    assert started.parameters == {"a": "1"}
    assert started.received_format.sample_rate_hz == 16000
    stream.receive_message('{"Event":"media","media":{"Payload":"AAE="}}', 0)
    assert one_event(stream) == AudioReceived(b"\0\1")


def test_ids_may_stand_beside_the_details() -> None:
    stream = ExotelStream()
    message = {"event": "start", "stream_sid": 'S"1', "call_sid": "C1", "start": {}}
    stream.receive_message(json.dumps(message), 0)
    started = one_event(stream)
    assert isinstance(started, StreamStarted)
    assert (started.stream_id, started.carrier_call_id, started.account_id) == ('S"1', "C1", "")
    assert (started.from_number, started.to_number, started.parameters) == (None, None, {})
    stream.send_clear()
    assert sent(stream)[0]["stream_sid"] == 'S"1'


def test_parameters_that_are_no_text_are_left_out_with_a_warning() -> None:
    stream = ExotelStream()
    stream.receive_message(start_message(custom_parameters={"a": "1", "b": 2}), 0)
    warning, started = stream.events_received()
    assert warning == ProtocolWarning(code="malformed_parameter")
    assert isinstance(started, StreamStarted)
    assert started.parameters == {"a": "1"}


@pytest.mark.parametrize(
    ("message", "close_code"),
    [
        ('{"event":"start"}', 1002),
        ('{"event":"start","start":[]}', 1002),
        ('{"event":"start","start":{"call_sid":"C1","account_sid":"A1"}}', 1002),
        (start_message(call_sid=None), 1002),
        (start_message(call_sid=""), 1002),
        (start_message(call_sid=5), 1002),
        (start_message(media_format={"sample_rate": "44100"}), 1003),
        (start_message(media_format={"sample_rate": "fast"}), 1003),
        (start_message(media_format={"sample_rate": True}), 1003),
        (start_message(media_format={"encoding": "audio/x-mulaw"}), 1003),
        (start_message(media_format={"encoding": "PCMA"}), 1003),
        (start_message(media_format={"encoding": 5}), 1003),
    ],
)
def test_what_cannot_be_tolerated(message: str, close_code: int) -> None:
    stream = ExotelStream()
    with pytest.raises(RemoteProtocolError) as caught:
        stream.receive_message(message, 0)
    assert caught.value.close_code == close_code
    assert stream.state is StreamState.CONNECTING
    assert stream.events_received() == ()


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("", "malformed_message"),
        ("hello", "malformed_message"),
        ("[]", "malformed_message"),
        ("\ud800", "malformed_message"),
        ("[" * 5000, "malformed_message"),
        (media(), "media_before_start"),
        ('{"event":"stop"}', "stop_before_start"),
        ('{"event":"mark","mark":{"name":"a"}}', "malformed_mark"),
        ('{"event":"dtmf","dtmf":{"digit":"1"}}', "malformed_dtmf"),
        ('{"event":"video"}', "unknown_event"),
        ('{"event":["media"]}', "unknown_event"),
        ("{}", "unknown_event"),
    ],
)
def test_before_the_start(message: str, code: str) -> None:
    stream = ExotelStream()
    stream.receive_message(message, 0)
    event = one_event(stream)
    assert isinstance(event, ProtocolWarning)
    assert event.code == code


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('{"event":"media"}', "malformed_media"),
        ('{"event":"media","media":[]}', "malformed_media"),
        ('{"event":"media","media":{}}', "malformed_media"),
        ('{"event":"media","media":{"payload":5}}', "malformed_media"),
        (media("???"), "malformed_payload"),
        (media("AA"), "malformed_payload"),
        (media("AAAA"), "malformed_payload"),
        (media(""), "empty_payload"),
        ('{"event":"mark","mark":{}}', "malformed_mark"),
        ('{"event":"mark"}', "malformed_mark"),
        ('{"event":"dtmf","dtmf":{"digit":"12"}}', "malformed_dtmf"),
        ('{"event":"dtmf","dtmf":{"digit":5}}', "malformed_dtmf"),
        ('{"event":"dtmf","dtmf":{"digit":""}}', "malformed_dtmf"),
        ('{"event":"silence"}', "unknown_event"),
    ],
)
def test_oddities_are_warned_of(message: str, code: str) -> None:
    stream = opened()
    stream.receive_message(message, 0)
    event = one_event(stream)
    assert isinstance(event, ProtocolWarning)
    assert event.code == code
    assert stream.state is StreamState.OPEN


def test_binary_messages_are_ignored() -> None:
    stream = opened()
    stream.receive_message(b"\x00\x01", 0)
    assert one_event(stream) == ProtocolWarning(code="binary_message", detail="2 bytes")


def test_a_second_start() -> None:
    stream = opened()
    stream.receive_message(start_message(), 0)
    assert one_event(stream) == ProtocolWarning(code="repeated_start")
    with pytest.raises(RemoteProtocolError):
        stream.receive_message(start_message(stream_sid="S2"), 0)


@pytest.mark.parametrize("timestamp", [None, "soon", -1, True, "9" * 30])
def test_a_strange_timestamp_is_none(timestamp: object) -> None:
    stream = opened()
    stream.receive_message(media(timestamp=timestamp), 0)
    assert one_event(stream) == AudioReceived(b"\0\0", None)


@pytest.mark.parametrize(
    ("message", "reason", "call_ended"),
    [
        ('{"event":"stop","stop":{"reason":"stopped"}}', "stopped", False),
        ('{"event":"stop","stop":{"reason":"callended"}}', "callended", True),
        ('{"event":"stop","stop":{"reason":7}}', "", True),
        ('{"event":"stop"}', "", True),
        ('{"event":"closed"}', "", True),
    ],
)
def test_stops(message: str, reason: str, call_ended: bool) -> None:
    stream = opened()
    stream.receive_message(message, 0)
    assert one_event(stream) == StreamStopped(reason=reason, call_ended=call_ended)
    stream.receive_message(media(), 0)
    assert stream.events_received() == ()


def test_there_is_no_message_for_digits() -> None:
    with pytest.raises(UnsupportedByCarrier):
        opened().send_dtmf("1")


def test_a_mark_needs_a_name() -> None:
    with pytest.raises(LocalProtocolError):
        opened().send_mark("")


def test_closing_says_nothing() -> None:
    stream = opened()
    stream.send_close("done")
    assert stream.messages_to_send() == ()
    assert stream.state is StreamState.CLOSED
    with pytest.raises(LocalProtocolError):
        stream.send_audio(b"\0\0")


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=20),
            st.text(max_size=20),
            st.dictionaries(
                st.sampled_from(["event", "Event", "media", "start", "stop", "dtmf", "mark"]),
                st.recursive(
                    st.none()
                    | st.booleans()
                    | st.integers()
                    | st.sampled_from(["start", "media", "stop", "AAA=", "S1", "mark", "dtmf"]),
                    lambda inner: st.dictionaries(
                        st.sampled_from(
                            ["stream_sid", "call_sid", "payload", "media_format", "name", "digit"]
                        ),
                        inner,
                    ),
                    max_leaves=5,
                ),
            ).map(json.dumps),
        ),
        max_size=6,
    )
)
def test_whatever_comes_gives_events_or_a_close_code(messages: list[bytes | str]) -> None:
    for stream in (ExotelStream(), opened()):
        for message in messages:
            with suppress(RemoteProtocolError):
                stream.receive_message(message, 0)
        stream.events_received()
        stream.receive_eof()
        assert stream.state is StreamState.CLOSED


@given(st.lists(st.binary(max_size=4000), max_size=8))
def test_audio_is_cut_without_loss(chunks: list[bytes]) -> None:
    stream = opened()
    for chunk in chunks:
        stream.send_audio(chunk)
    stream.send_mark("end")
    said = payloads(stream)
    assert all(len(payload) % PAYLOAD_UNIT_BYTES == 0 for payload in said)
    audio = b"".join(chunks)
    assert b"".join(said) == audio + bytes(-len(audio) % PAYLOAD_UNIT_BYTES)
