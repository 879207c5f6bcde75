from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.transcript import Transcript, render
from trunkline.audio import Encoding
from trunkline.carriers.vonage.wire import (
    EARLY_BYTES,
    MESSAGE_MS,
    TAIL_WAIT_MESSAGES,
    VonageStream,
)
from trunkline.errors import LocalProtocolError, RemoteProtocolError, UnsupportedByCarrier
from trunkline.telephony.media import (
    AudioReceived,
    DtmfReceived,
    ProtocolWarning,
    StreamStarted,
    StreamState,
    StreamStopped,
)

CAPTURES = Path(__file__).parents[3] / "captures" / "vonage"

CALL_UUID = "aaaaaaaa-bbbb-cccc-dddd-000000000001"
HEARD = b"\x01\x02" * 160  # 20 ms at 8 kHz


def connected(rate_hz: int = 8000, **headers: object) -> str:
    return json.dumps(
        {
            "event": "websocket:connected",
            "content-type": f"audio/l16;rate={rate_hz}",
            "vonage_call_sid": CALL_UUID,
            **headers,
        }
    )


def opened(rate_hz: int = 8000) -> VonageStream:
    stream = VonageStream()
    stream.receive_message(connected(rate_hz), 0)
    stream.events_received()
    return stream


def one_event(stream: VonageStream) -> object:
    (event,) = stream.events_received()
    return event


def test_a_whole_call() -> None:
    stream = VonageStream()
    assert stream.state is StreamState.CONNECTING
    frame, quiet = "0102" * 160, "0000" * 160
    Transcript(stream).play(
        f"""
        > {connected(agent_name="desk")}
        * StreamStarted stream_id='{CALL_UUID}' carrier_call_id='{CALL_UUID}' received_format=L16/8000/1 sent_format=L16/8000/1 parameters={{'vonage_call_sid': '{CALL_UUID}', 'agent_name': 'desk'}}
        > hex:0100
        * AudioReceived payload=AQA=
        # Less than 20 ms waits, and the mark behind it, too.
        ! send_audio "AQIDBA=="
        ! send_mark "g1-1"
        > hex:0000
        * AudioReceived payload=AAA=
        > hex:0000
        * AudioReceived payload=AAA=
        > hex:0000
        * AudioReceived payload=AAA=
        < hex:01020304{quiet[8:]}
        < {{"action":"notify","payload":{{"mark":"g1-1"}}}}
        > {{"event":"websocket:dtmf","digit":"5","duration":260}}
        * DtmfReceived digit='5'
        > {{"event":"websocket:notify","payload":{{"mark":"g1-1"}}}}
        * MarkPlayed name='g1-1'
        ! send_audio "AQIDBA=="
        ! send_clear
        < {{"action":"clear"}}
        > {{"event":"websocket:cleared"}}
        * AudioCleared
        > hex:{frame[:4]}
        * AudioReceived payload=AQI=
        > EOF
        """  # noqa: E501 - wire messages, as they are
    )
    assert stream.state is StreamState.CLOSED


@pytest.mark.parametrize("capture", sorted(CAPTURES.glob("ws_*.jsonl")), ids=lambda path: path.stem)
def test_captures(capture: Path) -> None:
    """What Vonage wrote is understood without a warning; what we say is what was said there."""
    stream = VonageStream()
    started, heard, digits, marks = 0, 0, list[str](), list[str]()
    for row in map(json.loads, capture.read_text(encoding="utf-8").splitlines()):
        if row["dir"] == "us_to_carrier":
            assert _say(stream, row) == _wire(row)
        elif "close" in row:
            stream.receive_eof()
        elif "http_upgrade" not in row:
            message = _wire(row)
            stream.receive_message(
                json.dumps(message) if isinstance(message, dict) else message, row["t_ms"]
            )
        for event in stream.events_received():
            assert not isinstance(event, ProtocolWarning), render(event)
            if isinstance(event, StreamStarted):
                started += 1
                assert event.received_format.sample_rate_hz == 16000
                assert event.carrier_call_id == CALL_UUID  # written without dashes there
                assert event.parameters["run_id"] == "run_42"
            if isinstance(event, AudioReceived):
                heard += len(event.payload)
            if isinstance(event, DtmfReceived):
                digits.append(event.digit)
            marks.append(type(event).__name__)
    assert (started, heard, digits) == (1, 1280, ["5"])
    assert marks.count("MarkPlayed") == marks.count("AudioCleared") == 1
    assert stream.state is StreamState.CLOSED


def _wire(row: dict[str, dict[str, object]]) -> dict[str, object] | bytes:
    if "msg" in row:
        return row["msg"]
    binary = row["binary"]
    return bytes.fromhex(str(binary["fill_hex"])) * int(str(binary["len"]))


def _say(stream: VonageStream, row: dict[str, dict[str, object]]) -> dict[str, object] | bytes:
    wanted = _wire(row)
    match wanted:
        case bytes():
            stream.send_audio(wanted)
        case {"action": "notify", "payload": {"mark": str(name)}}:
            stream.send_mark(name)
        case {"action": "clear"}:
            stream.send_clear()
        case _:
            raise AssertionError(f"nobody says {wanted}")
    (message,) = stream.messages_to_send()
    return message if isinstance(message, bytes) else json.loads(message)


@pytest.mark.parametrize(("rate_hz", "n_bytes"), [(8000, 320), (16000, 640), (24000, 960)])
def test_the_rate_sets_the_size_of_messages(rate_hz: int, n_bytes: int) -> None:
    stream = VonageStream()
    stream.receive_message(connected(rate_hz), 0)
    started = one_event(stream)
    assert isinstance(started, StreamStarted)
    assert started.received_format == started.sent_format
    assert started.sent_format.encoding is Encoding.L16
    assert started.sent_format.n_bytes(MESSAGE_MS) == n_bytes
    stream.send_audio(b"\x01" * (3 * n_bytes))
    assert stream.messages_to_send() == [b"\x01" * n_bytes] * 3


@pytest.mark.parametrize(
    "content_type", ["audio/l16;rate=16000", "audio/L16; rate=16000", "audio/l16;x=1;rate=16000"]
)
def test_ways_to_write_the_format(content_type: str) -> None:
    stream = VonageStream()
    stream.receive_message(connected(**{"content-type": content_type}), 0)
    started = one_event(stream)
    assert isinstance(started, StreamStarted)
    assert started.received_format.sample_rate_hz == 16000


def test_headers_are_parameters() -> None:
    stream = VonageStream()
    given = {"agent_name": "desk", "note": 'ü "b" <c>'}
    stream.receive_message(connected(**given, n=5), 0)
    warning, started = stream.events_received()
    assert warning == ProtocolWarning(code="malformed_parameter")
    assert isinstance(started, StreamStarted)
    assert started.parameters == {**given, "vonage_call_sid": CALL_UUID}
    assert started.raw["n"] == 5
    assert started.account_id == ""


@pytest.mark.parametrize(
    ("headers", "stream_id", "call_id"),
    [
        ({}, CALL_UUID, CALL_UUID),
        ({"call_uuid": CALL_UUID.replace("-", "0")[:4]}, "aaaa", "aaaa"),
        ({"vonage_call_sid": CALL_UUID.replace("-", "").upper()}, CALL_UUID, CALL_UUID),
        ({"stream_id": "s1"}, "s1", CALL_UUID),
        ({"vonage_call_sid": 7}, "", ""),
    ],
)
def test_who_the_headers_name(headers: dict[str, object], stream_id: str, call_id: str) -> None:
    stream = VonageStream()
    stream.receive_message(connected(**headers), 0)
    started = stream.events_received()[-1]
    assert isinstance(started, StreamStarted)
    assert (started.stream_id, started.carrier_call_id) == (stream_id, call_id)
    assert not {"call_uuid", "stream_id", "event", "content-type"} & set(started.parameters)


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
        ('{"event":"websocket:connected"}', 1003),
        (connected(11025), 1003),
        (connected(**{"content-type": "audio/l16"}), 1003),
        (connected(**{"content-type": "audio/pcmu;rate=8000"}), 1003),
        (connected(**{"content-type": "audio/l16;rate=8000;rate=16000"}), 1003),
        (connected(**{"content-type": 8000}), 1003),
    ],
)
def test_what_cannot_be_tolerated(message: str, close_code: int) -> None:
    stream = VonageStream()
    with pytest.raises(RemoteProtocolError) as caught:
        stream.receive_message(message, 0)
    assert caught.value.close_code == close_code
    assert stream.state is StreamState.CONNECTING
    assert stream.events_received() == ()


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('{"event":"websocket:notify","payload":{"mark":"a"}}', "malformed_mark"),
        ('{"event":"websocket:dtmf","digit":"1"}', "malformed_dtmf"),
        ('{"event":"websocket:cleared"}', "cleared_before_start"),
        ('{"event":"websocket:closed"}', "stop_before_start"),
        ('{"event":"media"}', "unknown_event"),
        ('{"event":["websocket:closed"]}', "unknown_event"),
        ("{}", "unknown_event"),
    ],
)
def test_before_the_start(message: str, code: str) -> None:
    stream = VonageStream()
    stream.receive_message(message, 0)
    assert one_event(stream) == ProtocolWarning(code=code)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('{"event":"websocket:notify"}', "malformed_mark"),
        ('{"event":"websocket:notify","payload":"a"}', "malformed_mark"),
        ('{"event":"websocket:notify","payload":{"mark":1}}', "malformed_mark"),
        ('{"event":"websocket:dtmf"}', "malformed_dtmf"),
        ('{"event":"websocket:dtmf","digit":"12"}', "malformed_dtmf"),
        ('{"event":"websocket:dtmf","digit":12}', "malformed_dtmf"),
        ('{"event":"websocket:dtmf","digit":true}', "malformed_dtmf"),
        ('{"event":"websocket:dtmf","digit":""}', "malformed_dtmf"),
        ('{"event":"websocket:new"}', "unknown_event"),
    ],
)
def test_what_is_tolerated_on_an_open_stream(message: str, code: str) -> None:
    stream = opened()
    stream.receive_message(message, 0)
    assert one_event(stream) == ProtocolWarning(code=code)
    assert stream.state is StreamState.OPEN


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00" * 321])
def test_bytes_that_are_no_samples(data: bytes) -> None:
    stream = opened()
    stream.receive_message(data, 0)
    assert one_event(stream) == ProtocolWarning(
        code="malformed_payload", detail=f"{len(data)} bytes"
    )


@pytest.mark.parametrize("data", [HEARD, memoryview(HEARD), HEARD[:2], HEARD * 100])
def test_audio_of_any_even_size_is_received(data: bytes | memoryview) -> None:
    stream = opened()
    stream.receive_message(data, 0)
    assert one_event(stream) == AudioReceived(bytes(data))


def test_audio_that_comes_first_is_heard_after_the_start() -> None:
    stream = VonageStream()
    stream.receive_message(HEARD, 0)
    stream.receive_message(HEARD[:2], 20)
    assert stream.state is StreamState.CONNECTING
    assert stream.events_received() == [ProtocolWarning(code="media_before_start")] * 2

    stream.receive_message(connected(), 40)

    started, *audio = stream.events_received()
    assert isinstance(started, StreamStarted)
    assert audio == [AudioReceived(HEARD), AudioReceived(HEARD[:2])]


def test_audio_that_comes_first_is_bounded() -> None:
    stream = VonageStream()
    stream.receive_message(bytes(EARLY_BYTES), 0)
    stream.events_received()
    stream.receive_message(HEARD, 0)
    assert one_event(stream) == ProtocolWarning(code="early_audio_dropped", detail="320 bytes")


@pytest.mark.parametrize("digit", "0123456789*#ABCDabcd")
@pytest.mark.parametrize("nested", [False, True])
def test_every_key(digit: str, nested: bool) -> None:
    stream = opened()
    message = {"dtmf": {"digit": digit}} if nested else {"event": "websocket:dtmf", "digit": digit}
    stream.receive_message(json.dumps(message), 0)
    assert one_event(stream) == DtmfReceived(digit=digit.upper())


def test_a_key_may_be_a_number() -> None:
    stream = opened()
    stream.receive_message('{"event":"websocket:dtmf","digit":5,"duration":"260"}', 0)
    assert one_event(stream) == DtmfReceived(digit="5")


@pytest.mark.parametrize(
    "event", ["websocket:disconnected", "websocket:closed", "websocket:hangup"]
)
def test_goodbyes(event: str) -> None:
    stream = opened()
    stream.receive_message(json.dumps({"event": event}), 0)
    assert one_event(stream) == StreamStopped(reason=event)
    assert stream.state is StreamState.CLOSED
    stream.receive_message(HEARD, 0)
    assert stream.events_received() == ()


def test_a_repeated_start_is_tolerated_another_stream_is_not() -> None:
    stream = opened()
    stream.receive_message(connected(16000, agent_name="other"), 0)
    assert one_event(stream) == ProtocolWarning(code="repeated_start")
    with pytest.raises(RemoteProtocolError):
        stream.receive_message(connected(vonage_call_sid="another"), 0)
    stream.send_audio(HEARD)
    assert stream.messages_to_send() == [HEARD]  # still 8 kHz


@pytest.mark.parametrize("chunk_bytes", [1, 7, 160, 319, 320, 321, 1000])
def test_chunks_of_any_size_become_whole_messages_with_nothing_lost(chunk_bytes: int) -> None:
    stream = opened()
    audio = bytes(index % 251 for index in range(10 * 320))
    for start in range(0, len(audio), chunk_bytes):
        stream.send_audio(audio[start : start + chunk_bytes])
        stream.receive_message(HEARD, 0)  # the caller's beat does not cut running speech
    messages = stream.messages_to_send()
    assert all(len(message) == 320 for message in messages)
    assert b"".join(message for message in messages if isinstance(message, bytes)) == audio


def test_a_mark_within_speech_follows_the_audio_before_it() -> None:
    stream = opened()
    stream.send_audio(HEARD + b"\x03")
    stream.send_mark("a")
    stream.send_mark("b")
    assert stream.messages_to_send() == [HEARD]
    stream.send_audio(b"\x03" * 639)
    assert stream.messages_to_send() == [
        b"\x03" * 320,
        '{"action":"notify","payload":{"mark":"a"}}',
        '{"action":"notify","payload":{"mark":"b"}}',
        b"\x03" * 320,
    ]


def test_the_end_of_speech_is_filled_up_with_silence() -> None:
    stream = opened()
    stream.send_audio(b"\x03\x03")
    stream.send_mark("end")
    for _ in range(TAIL_WAIT_MESSAGES - 1):
        stream.receive_message(HEARD, 0)
        assert stream.messages_to_send() == ()
    stream.receive_message(HEARD, 0)
    assert stream.messages_to_send() == [
        b"\x03\x03" + bytes(318),
        '{"action":"notify","payload":{"mark":"end"}}',
    ]
    for _ in range(2 * TAIL_WAIT_MESSAGES):
        stream.receive_message(HEARD, 0)
    assert stream.messages_to_send() == ()


def test_clear_drops_what_waits() -> None:
    stream = opened()
    stream.send_audio(b"\x03\x03")
    stream.send_mark("gone")
    stream.send_clear()
    stream.send_audio(HEARD)
    stream.send_mark("next")
    assert stream.messages_to_send() == [
        '{"action":"clear"}',
        HEARD,
        '{"action":"notify","payload":{"mark":"next"}}',
    ]


def test_mark_names_are_quoted() -> None:
    stream = opened()
    stream.send_mark('a"b\\c\n')
    (message,) = stream.messages_to_send()
    assert json.loads(message)["payload"] == {"mark": 'a"b\\c\n'}


def test_a_mark_without_a_name_is_our_bug() -> None:
    with pytest.raises(LocalProtocolError):
        opened().send_mark("")


def test_digits_cannot_be_sent() -> None:
    with pytest.raises(UnsupportedByCarrier):
        opened().send_dtmf("1")


@pytest.mark.parametrize("close", ["send_close", "receive_eof"])
def test_nothing_can_be_sent_on_a_closed_stream(close: str) -> None:
    stream = opened()
    getattr(stream, close)()
    assert stream.state is StreamState.CLOSED
    for verb in (
        lambda: stream.send_audio(HEARD),
        lambda: stream.send_mark("a"),
        stream.send_clear,
        lambda: stream.send_dtmf("1"),
        stream.send_close,
    ):
        with pytest.raises(LocalProtocolError, match="closed"):
            verb()
    assert stream.messages_to_send() == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
MESSAGES = st.one_of(
    st.binary(max_size=700),
    st.text(),
    st.fixed_dictionaries(
        {
            "event": st.sampled_from(["connected", "notify", "dtmf", "cleared", "closed"]).map(
                lambda word: f"websocket:{word}"
            )
        },
        optional={
            "content-type": st.sampled_from(["audio/l16;rate=8000", "audio/l16;rate=24000"]) | JSON,
            "payload": JSON,
            "digit": JSON,
            "dtmf": JSON,
            "vonage_call_sid": JSON,
            "stream_id": JSON,
        },
    ).map(json.dumps),
)


@given(messages=st.lists(MESSAGES, max_size=12), audio=st.binary(max_size=2000))
def test_any_messages_give_events_or_a_documented_error(
    messages: list[bytes | str], audio: bytes
) -> None:
    stream = VonageStream()
    for message in messages:
        with suppress(RemoteProtocolError):
            stream.receive_message(message, 0)
        if stream.state is StreamState.OPEN:
            stream.send_audio(audio)
        for event in stream.events_received():
            render(event)
        assert len({len(sent) for sent in stream.messages_to_send() if isinstance(sent, bytes)}) < 2
