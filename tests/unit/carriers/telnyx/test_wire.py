from __future__ import annotations

import base64
import json
from contextlib import suppress
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.transcript import Transcript, render
from trunkline.audio import Encoding, swap_bytes
from trunkline.carriers.telnyx.wire import (
    FRAME_MS,
    MEDIA_FORMATS,
    MEDIA_PARAMETER,
    REORDER_WINDOW,
    SENT_MESSAGE_MS,
    Media,
    TelnyxStream,
)
from trunkline.errors import LocalProtocolError, RemoteProtocolError, UnsupportedByCarrier
from trunkline.telephony.media import (
    AudioReceived,
    ProtocolWarning,
    StreamEvent,
    StreamStarted,
    StreamState,
    StreamStopped,
)

CAPTURES = Path(__file__).parents[3] / "captures" / "telnyx"
PCMU = {"encoding": "PCMU", "sample_rate": 8000, "channels": 1}
FRAME_BYTES = 160

START = (
    '> {"event":"start","sequence_number":"1","stream_id":"s1","start":{"user_id":"u1",'
    '"call_control_id":"v3:c1","from":"+14155550100","to":"+13125550123","client_state":null,'
    '"custom_parameters":{"run_id":"42"},"media_format":{"encoding":"PCMU","sample_rate":8000,'
    '"channels":1}}}'
)
STARTED = (
    "* StreamStarted stream_id='s1' carrier_call_id='v3:c1' account_id='u1'"
    " received_format=PCMU/8000/1 sent_format=PCMU/8000/1 from_number='+14155550100'"
    " to_number='+13125550123' parameters={'run_id': '42'}"
)


def start_message(**changes: object) -> str:
    start: dict[str, object] = {"user_id": "u1", "call_control_id": "v3:c1", "media_format": PCMU}
    start.update(changes)
    return json.dumps({"event": "start", "stream_id": "s1", "start": start})


def opened(**changes: object) -> TelnyxStream:
    stream = TelnyxStream()
    stream.receive_message(start_message(**changes), 0)
    stream.events_received()
    return stream


def media_message(payload: bytes, **fields: object) -> str:
    encoded = base64.b64encode(payload).decode()
    return json.dumps(
        {"event": "media", "stream_id": "s1", "media": {"payload": encoded, **fields}}
    )


def one_event(stream: TelnyxStream) -> StreamEvent:
    (event,) = stream.events_received()
    return event


def sent_audio(stream: TelnyxStream) -> list[bytes]:
    messages = [json.loads(message) for message in stream.messages_to_send()]
    return [
        base64.b64decode(message["media"]["payload"], validate=True)
        for message in messages
        if message["event"] == "media"
    ]


def test_a_whole_call() -> None:
    stream = TelnyxStream()
    assert stream.state is StreamState.CONNECTING
    frame = base64.b64encode(b"\x01" * FRAME_BYTES).decode()
    Transcript(stream).play(
        f"""
        > {{"event":"connected","version":"1.0.0","connected":{{"x-telnyx-streaming-auth-token":"t"}}}}
        {START}
        {STARTED}
        > {{"event":"media","sequence_number":"2","stream_id":"s1","media":{{"track":"inbound","chunk":"1","timestamp":"20","payload":"AAEC"}}}}
        * AudioReceived payload=AAEC timestamp_ms=20
        # Other carriers' software sends integers, and names the track as the request did.
        > {{"event":"media","sequence_number":3,"stream_id":"s1","media":{{"track":"inbound_track","chunk":2,"timestamp":40,"payload":"/w=="}}}}
        * AudioReceived payload=/w== timestamp_ms=40
        ! send_audio "{frame}"
        < {{"event":"media","media":{{"payload":"{frame}"}}}}
        ! send_mark "g1-utt1"
        < {{"event":"mark","mark":{{"name":"g1-utt1"}}}}
        > {{"event":"dtmf","stream_id":"s1","occurred_at":"2026-10-06T10:15:50.698408Z","sequence_number":"4","dtmf":{{"digit":"#"}}}}
        * DtmfReceived digit='#'
        > {{"event":"mark","stream_id":"s1","sequence_number":"5","mark":{{"name":"g1-utt1"}}}}
        * MarkPlayed name='g1-utt1'
        ! send_clear
        < {{"event":"clear"}}
        > {{"event":"error","stream_id":"s1","payload":{{"code":100005,"title":"rate_limit_reached","detail":"Too many"}}}}
        * ProtocolWarning code='carrier_rate_limit_reached' detail='100005'
        > {{"event":"stop","sequence_number":"6","stream_id":"s1","stop":{{"user_id":"u1","call_control_id":"v3:c1"}}}}
        * StreamStopped call_ended=True
        > EOF
        """  # noqa: E501 - wire messages, as they are
    )
    assert stream.state is StreamState.CLOSED


@pytest.mark.parametrize("capture", sorted(CAPTURES.glob("ws_*.jsonl")), ids=lambda path: path.stem)
def test_captures(capture: Path) -> None:
    """What Telnyx wrote is understood, in its order; what we say is what was said there."""
    stream = TelnyxStream()
    events, written = _replay(stream, capture)
    warned = [event.code for event in events if isinstance(event, ProtocolWarning)]
    heard = [event for event in events if isinstance(event, AudioReceived)]
    started = [event for event in events if isinstance(event, StreamStarted)]
    is_error_capture = capture.stem == "ws_errors"
    expected = ["carrier_invalid_media", "carrier_rate_limit_reached"] if is_error_capture else []
    assert warned == expected
    if capture.stem == "ws_unanswered_outbound":
        assert started == []
        assert stream.state is StreamState.CLOSED
        return
    assert [event.parameters for event in started] == [{"run_id": "42"}]
    assert started[0].from_number == "+14155550100"
    stamps = [event.timestamp_ms for event in heard]
    assert stamps == sorted(stamps, key=lambda stamp: stamp or 0)
    in_order = b"".join(written[chunk] for chunk in sorted(written))
    if started[0].received_format.encoding is Encoding.L16:
        in_order = swap_bytes(in_order)
    assert b"".join(event.payload for event in heard) == in_order


def _replay(stream: TelnyxStream, capture: Path) -> tuple[list[StreamEvent], dict[int, bytes]]:
    """Play a capture; return the events, and the audio that Telnyx wrote by chunk."""
    events: list[StreamEvent] = []
    written: dict[int, bytes] = {}
    for row in map(json.loads, capture.read_text(encoding="utf-8").splitlines()):
        message = row.get("msg", {})
        # One capture has us say what we never would.
        if row["dir"] == "us_to_carrier" and "***" not in json.dumps(message):
            _say(stream, message)
        elif row["dir"] == "carrier_to_us" and message:
            if message["event"] == "media":
                media = message["media"]
                written[int(media["chunk"])] = base64.b64decode(media["payload"])
            stream.receive_message(json.dumps(message), row["t_ms"])
        elif "close" in row:
            stream.receive_eof()
        events.extend(stream.events_received())
    return events, written


def _say(stream: TelnyxStream, message: dict[str, dict[str, str]]) -> None:
    """Say what was said in a capture; its audio is whole frames."""
    match message:
        case {"event": "media", "media": {"payload": payload}}:
            audio = base64.b64decode(payload)
            stream.send_audio(audio)
            assert b"".join(sent_audio(stream)) == audio
            return
        case {"event": "mark", "mark": {"name": name}}:
            stream.send_mark(name)
        case _:
            stream.send_clear()
    assert [json.loads(text) for text in stream.messages_to_send()] == [message]


def test_the_byte_order_of_l16_is_a_setting() -> None:
    """The two captures hold one tone in either order: with its setting, each is heard alike."""
    heard: list[bytes] = []
    for stem, media in (("ws_l16_16k_be", Media.L16_BIG), ("ws_l16_16k_le", Media.L16_LITTLE)):
        stream = TelnyxStream()
        rows = (CAPTURES / f"{stem}.jsonl").read_text(encoding="utf-8").splitlines()
        audio = b""
        for row in map(json.loads, rows):
            message = row.get("msg")
            if message is None:
                continue
            if message["event"] == "start":
                message["start"]["custom_parameters"][MEDIA_PARAMETER] = media.value
            stream.receive_message(json.dumps(message), 0)
            for event in stream.events_received():
                if isinstance(event, StreamStarted):
                    assert event.received_format == event.sent_format == MEDIA_FORMATS[media]
                    assert event.parameters == {"run_id": "42"}
                if isinstance(event, AudioReceived):
                    audio += event.payload
        heard.append(audio)
        stream.send_audio(audio)
        on_the_wire = b"".join(sent_audio(stream))
        assert on_the_wire == (audio if media is Media.L16_LITTLE else swap_bytes(audio))
    assert heard[0] == heard[1] != b""


@pytest.mark.parametrize("order", list(permutations(range(1, 5))))
def test_audio_is_put_in_order(order: tuple[int, ...]) -> None:
    stream = opened()
    stream.receive_message(media_message(b"\x00", chunk="0"), 0)
    for chunk in order:
        stream.receive_message(media_message(bytes([chunk]), chunk=str(chunk)), 0)
    heard = [
        event.payload for event in stream.events_received() if isinstance(event, AudioReceived)
    ]
    assert b"".join(heard) == b"\x00\x01\x02\x03\x04"


def test_a_lost_message_holds_the_rest_up_for_the_window_only() -> None:
    stream = opened()
    stream.receive_message(media_message(b"\x01", chunk="1"), 0)
    stream.events_received()
    for chunk in range(3, 3 + REORDER_WINDOW):
        stream.receive_message(media_message(bytes([chunk]), chunk=str(chunk)), 0)
        assert stream.events_received() == ()
    last = 3 + REORDER_WINDOW
    stream.receive_message(media_message(bytes([last]), chunk=str(last)), 0)
    warning, *frames = stream.events_received()
    assert warning == ProtocolWarning(code="lost_media")
    assert [event.payload[0] for event in frames if isinstance(event, AudioReceived)] == list(
        range(3, last + 1)
    )
    stream.receive_message(media_message(b"\x02", chunk="2"), 0)
    assert one_event(stream) == ProtocolWarning(code="late_media")


def test_the_same_message_twice_is_heard_once() -> None:
    stream = opened()
    for chunk in ("1", "1", "3", "3", "2"):
        stream.receive_message(media_message(chunk.encode(), chunk=chunk), 0)
    events = stream.events_received()
    heard = [event.payload for event in events if isinstance(event, AudioReceived)]
    assert heard == [b"1", b"2", b"3"]
    assert [event.code for event in events if isinstance(event, ProtocolWarning)] == [
        "late_media",
        "late_media",
    ]


def test_a_count_that_begins_again_is_followed() -> None:
    stream = opened()
    for chunk in (500, 502, 1, 2):
        stream.receive_message(media_message(str(chunk).encode(), chunk=chunk), 0)
    events = stream.events_received()
    heard = [event.payload for event in events if isinstance(event, AudioReceived)]
    assert heard == [b"500", b"502", b"1", b"2"]
    assert ProtocolWarning(code="chunk_restart") in events


@pytest.mark.parametrize("end", ["stop", "eof"])
def test_held_audio_is_not_lost_at_the_end(end: str) -> None:
    stream = opened()
    for chunk in ("1", "4", "3"):
        stream.receive_message(media_message(chunk.encode(), chunk=chunk), 0)
    if end == "stop":
        stream.receive_message('{"event":"stop","stop":{}}', 0)
    else:
        stream.receive_eof()
    events = stream.events_received()
    heard = [event.payload for event in events if isinstance(event, AudioReceived)]
    assert heard == [b"1", b"3", b"4"]
    assert isinstance(events[-1], StreamStopped) is (end == "stop")


def test_audio_without_a_number_is_taken_as_it_comes() -> None:
    stream = opened()
    stream.receive_message(media_message(b"\x01"), 0)
    assert one_event(stream) == AudioReceived(b"\x01", None)


def test_a_remainder_waits_for_more_audio() -> None:
    stream = opened()
    stream.send_audio(b"\x01" * 100)
    assert stream.messages_to_send() == ()
    stream.send_audio(b"\x02" * 100)
    assert sent_audio(stream) == [b"\x01" * 100 + b"\x02" * 60]
    stream.send_mark("end")
    audio, mark = (json.loads(message) for message in stream.messages_to_send())
    padded = base64.b64decode(audio["media"]["payload"])
    assert padded == b"\x02" * 40 + b"\xff" * 120
    assert mark == {"event": "mark", "mark": {"name": "end"}}
    stream.send_mark("again")
    assert len(stream.messages_to_send()) == 1


def test_a_clear_drops_the_remainder() -> None:
    stream = opened()
    stream.send_audio(b"\x01" * 100)
    stream.send_clear()
    stream.send_mark("end")
    assert sent_audio(stream) == []


@given(sizes=st.lists(st.integers(0, 5000), max_size=12))
def test_any_sizes_make_whole_frames_and_lose_nothing(sizes: list[int]) -> None:
    stream = opened()
    audio = bytes(index % 251 for index in range(sum(sizes)))
    at = 0
    for size in sizes:
        stream.send_audio(audio[at : at + size])
        at += size
    stream.send_mark("end")
    messages = sent_audio(stream)
    frame, longest = FRAME_BYTES, FRAME_BYTES * SENT_MESSAGE_MS // FRAME_MS
    assert all(frame <= len(message) <= longest for message in messages)
    assert not any(len(message) % frame for message in messages)
    sent = b"".join(messages)
    assert sent.startswith(audio)
    assert set(sent[len(audio) :]) <= {0xFF}
    assert len(sent) - len(audio) < frame


@pytest.mark.parametrize(
    ("media_format", "expected"),
    [
        (PCMU, "PCMU/8000"),
        ({"encoding": "PCMA", "sample_rate": 8000, "channels": 1}, "PCMA/8000"),
        ({"encoding": "PCMA", "sample_rate": "8000"}, "PCMA/8000"),
        ({"encoding": "L16", "sample_rate": 16000, "channels": 1}, "L16/16000"),
        ({"encoding": "L16", "sample_rate": 8000}, "L16/8000"),
    ],
)
def test_what_is_announced_is_what_is_received(
    media_format: dict[str, object], expected: str
) -> None:
    stream = TelnyxStream()
    stream.receive_message(start_message(media_format=media_format), 0)
    started = one_event(stream)
    assert isinstance(started, StreamStarted)
    received = started.received_format
    assert f"{received.encoding}/{received.sample_rate_hz}" == expected
    assert started.sent_format == MEDIA_FORMATS[Media.PCMU]


@pytest.mark.parametrize("encoding", ["G722", "OPUS", "AMR-WB", "", None, 7])
def test_what_we_cannot_decode_is_refused(encoding: object) -> None:
    stream = TelnyxStream()
    with pytest.raises(RemoteProtocolError) as caught:
        stream.receive_message(
            start_message(media_format={"encoding": encoding, "sample_rate": 8000}), 0
        )
    assert caught.value.close_code == 1003
    assert stream.state is StreamState.CONNECTING


@pytest.mark.parametrize(
    "media_format",
    [
        {"encoding": "PCMU", "sample_rate": 16000},
        {"encoding": "PCMU", "sample_rate": 8000, "channels": 2},
        {"encoding": "L16", "sample_rate": 22050},
        "PCMU",
        [],
    ],
)
def test_odd_formats_are_refused(media_format: object) -> None:
    with pytest.raises(RemoteProtocolError, match="announces a format"):
        TelnyxStream().receive_message(start_message(media_format=media_format), 0)


def test_a_start_without_a_format_is_taken_for_what_was_asked_and_warned_of() -> None:
    stream = TelnyxStream()
    stream.receive_message(
        start_message(media_format=None, custom_parameters={MEDIA_PARAMETER: "PCMA"}), 0
    )
    warning, started = stream.events_received()
    assert warning == ProtocolWarning(code="no_format_announced")
    assert isinstance(started, StreamStarted)
    assert started.received_format == started.sent_format == MEDIA_FORMATS[Media.PCMA]


def test_both_directions_can_differ() -> None:
    stream = TelnyxStream()
    stream.receive_message(start_message(custom_parameters={MEDIA_PARAMETER: "PCMA"}), 0)
    started = one_event(stream)
    assert isinstance(started, StreamStarted)
    assert started.received_format == MEDIA_FORMATS[Media.PCMU]
    assert started.sent_format == MEDIA_FORMATS[Media.PCMA]
    stream.send_audio(b"\x01")
    stream.send_mark("a")
    assert sent_audio(stream) == [b"\x01" + b"\xd5" * 159]


def test_media_that_nobody_knows_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match=MEDIA_PARAMETER):
        TelnyxStream().receive_message(start_message(custom_parameters={MEDIA_PARAMETER: "mp3"}), 0)


def client_state(state: object) -> str:
    return base64.b64encode(json.dumps(state).encode()).decode()


@pytest.mark.parametrize(
    ("state", "custom", "parameters"),
    [
        (client_state({"a": "1", "b": "2"}), None, {"a": "1", "b": "2"}),
        (client_state({"a": "1"}), {"a": "3"}, {"a": "3"}),
        (client_state({"a": 1, "b": "2"}), None, {"b": "2"}),
        (client_state([1]), None, {}),
        ("not base64!", None, {}),
        (base64.b64encode(b"not json").decode(), None, {}),
        (7, None, {}),
        ("", {}, {}),
    ],
)
def test_parameters_come_in_two_ways(
    state: object, custom: object, parameters: dict[str, str]
) -> None:
    """``<Parameter>`` elements, and for commands that take none the client state."""
    stream = TelnyxStream()
    stream.receive_message(start_message(client_state=state, custom_parameters=custom), 0)
    started = one_event(stream)
    assert isinstance(started, StreamStarted)
    assert started.parameters == parameters


def test_parameters_that_are_no_text_are_left_out() -> None:
    stream = TelnyxStream()
    stream.receive_message(start_message(custom_parameters={"a": "1", "b": 2}), 0)
    warning, started = stream.events_received()
    assert warning == ProtocolWarning(code="malformed_parameter")
    assert isinstance(started, StreamStarted)
    assert started.parameters == {"a": "1"}


def test_fields_that_may_be_missing() -> None:
    stream = TelnyxStream()
    start = {"call_control_id": "v3:c1", "stream_id": "s1", "media_format": PCMU}
    stream.receive_message(json.dumps({"event": "start", "start": start}), 0)
    started = one_event(stream)
    assert isinstance(started, StreamStarted)
    assert (started.stream_id, started.account_id) == ("s1", "")
    assert (started.from_number, started.to_number) == (None, None)


@pytest.mark.parametrize("message", ["", "hello", "{", "[]", "7"])
def test_what_is_no_json_object_is_refused(message: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        opened().receive_message(message, 0)
    assert caught.value.close_code == 1007


@pytest.mark.parametrize(
    "message",
    [
        '{"event":"start"}',
        '{"event":"start","start":7}',
        '{"event":"start","start":{}}',
        '{"event":"start","stream_id":"s1","start":{"call_control_id":7}}',
        '{"event":"start","stream_id":7,"start":{"call_control_id":"v3:c1"}}',
    ],
)
def test_a_start_without_ids_is_refused(message: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        TelnyxStream().receive_message(message, 0)
    assert caught.value.close_code == 1002


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"\x00", "binary_message"),
        ('{"event":"video"}', "unknown_event"),
        ('{"event":7}', "unknown_event"),
        ('{"event":"media"}', "malformed_media"),
        ('{"event":"media","media":{"payload":7}}', "malformed_media"),
        ('{"event":"media","media":{"payload":"?"}}', "malformed_payload"),
        ('{"event":"media","media":{"payload":""}}', "empty_payload"),
        ('{"event":"media","media":{"track":"outbound","payload":"AA=="}}', "foreign_track"),
        ('{"event":"mark"}', "malformed_mark"),
        ('{"event":"mark","mark":{"name":7}}', "malformed_mark"),
        ('{"event":"dtmf"}', "malformed_dtmf"),
        ('{"event":"dtmf","dtmf":{"digit":"12"}}', "malformed_dtmf"),
        ('{"event":"error"}', "carrier_unknown_error"),
        ('{"event":"error","payload":{"code":"100003"}}', "carrier_malformed_frame"),
        ('{"event":"error","payload":{"code":5}}', "carrier_unknown_error"),
    ],
)
def test_what_does_no_harm_is_warned_of(message: bytes | str, code: str) -> None:
    stream = opened()
    stream.receive_message(message, 0)
    warning = one_event(stream)
    assert isinstance(warning, ProtocolWarning), render(warning)
    assert warning.code == code
    assert stream.state is StreamState.OPEN


@pytest.mark.parametrize("big_endian", [True, False])
def test_half_a_sample_is_no_audio(big_endian: bool) -> None:
    media = Media.L16_BIG if big_endian else Media.L16_LITTLE
    stream = opened(
        media_format={"encoding": "L16", "sample_rate": 16000},
        custom_parameters={MEDIA_PARAMETER: media.value},
    )
    stream.receive_message(media_message(b"\x01\x02\x03"), 0)
    warning = one_event(stream)
    assert isinstance(warning, ProtocolWarning)
    assert warning.code == "malformed_payload"


def test_before_the_start() -> None:
    stream = TelnyxStream()
    for message, code in (
        (media_message(b"\x00"), "media_before_start"),
        ('{"event":"mark","mark":{"name":"a"}}', "malformed_mark"),
        ('{"event":"dtmf","dtmf":{"digit":"1"}}', "malformed_dtmf"),
    ):
        stream.receive_message(message, 0)
        assert one_event(stream) == ProtocolWarning(code=code)
    stream.receive_message('{"event":"stop"}', 0)
    assert one_event(stream) == ProtocolWarning(code="stop_before_start")
    assert stream.state is StreamState.CLOSED
    stream.receive_message(start_message(), 0)
    assert stream.events_received() == ()


def test_a_second_start() -> None:
    stream = opened()
    stream.receive_message(start_message(), 0)
    assert one_event(stream) == ProtocolWarning(code="repeated_start")
    with pytest.raises(RemoteProtocolError, match="a second stream"):
        stream.receive_message(start_message().replace("s1", "s2"), 0)


def test_our_own_mistakes() -> None:
    stream = opened()
    with pytest.raises(LocalProtocolError, match="needs a name"):
        stream.send_mark("")
    with pytest.raises(UnsupportedByCarrier):
        stream.send_dtmf("1")
    stream.send_close("done")
    with pytest.raises(LocalProtocolError, match="closed"):
        stream.send_audio(b"\xff")
    assert stream.messages_to_send() == ()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
field_names = st.sampled_from(
    ["payload", "chunk", "track", "timestamp", "name", "digit", "media_format", "code", "encoding"]
)
messages = st.fixed_dictionaries(
    {"event": st.sampled_from(["media", "start", "mark", "dtmf", "stop", "error", "x"])},
    optional={
        **dict.fromkeys(
            ["media", "start", "mark", "dtmf", "payload"],
            json_values | st.dictionaries(field_names, json_values, max_size=4),
        ),
        "stream_id": json_values,
    },
)


@given(data=st.lists(st.text() | st.binary() | messages.map(json.dumps), max_size=6))
def test_any_messages_give_events_or_a_documented_error(data: list[bytes | str]) -> None:
    for stream in (TelnyxStream(), opened()):
        for message in data:
            with suppress(RemoteProtocolError):
                stream.receive_message(message, 0)
        stream.receive_eof()
        stream.events_received()
        assert stream.state is StreamState.CLOSED
