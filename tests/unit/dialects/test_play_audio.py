from __future__ import annotations

import base64
import json
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.transcript import Transcript, render
from trunkline.audio import swap_bytes
from trunkline.dialects.play_audio import (
    PCMU_8K,
    PlayAudioRules,
    PlayAudioStream,
    parse_extra_headers,
)
from trunkline.errors import LocalProtocolError, RemoteProtocolError
from trunkline.telephony.media import (
    AudioReceived,
    ProtocolWarning,
    StreamStarted,
    StreamState,
    StreamStopped,
)

PLAIN = PlayAudioRules(
    carrier="plain",
    message_ms=200,
    audio_names_stream=False,
    sends_dtmf=True,
    closes_with_stop=False,
)
STRICT = PlayAudioRules(
    carrier="strict",
    message_ms=60,
    audio_names_stream=True,
    sends_dtmf=False,
    closes_with_stop=True,
    held_until_cleared_ms=1000,
    early_frames=2,
)

START = (
    '> {"event":"start","sequenceNumber":1,"start":{"callId":"C1","streamId":"S1",'
    '"accountId":"MA1","tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw",'
    '"sampleRate":8000}},"extra_headers":""}'
)
STARTED = (
    "* StreamStarted stream_id='S1' carrier_call_id='C1' account_id='MA1'"
    " received_format=PCMU/8000/1 sent_format=PCMU/8000/1"
)


def start_message(**changes: object) -> str:
    start: dict[str, object] = {"callId": "C1", "streamId": "S1", "accountId": "MA1"}
    start.update(changes)
    return json.dumps({"event": "start", "start": start})


def opened(rules: PlayAudioRules = PLAIN, **changes: object) -> PlayAudioStream:
    stream = PlayAudioStream(rules)
    stream.receive_message(start_message(**changes), 0)
    stream.events_received()
    assert stream.state is StreamState.OPEN
    return stream


def media_message(payload: bytes) -> str:
    return json.dumps({"event": "media", "media": {"payload": base64.b64encode(payload).decode()}})


def one_event(stream: PlayAudioStream) -> object:
    (event,) = stream.events_received()
    return event


def test_a_whole_call() -> None:
    stream = PlayAudioStream(PLAIN)
    assert stream.state is StreamState.CONNECTING
    Transcript(stream).play(
        f"""
        {START}
        {STARTED}
        > {{"event":"media","sequenceNumber":2,"streamId":"S1","media":{{"track":"inbound","timestamp":"1705312200000","chunk":1,"payload":"AAEC"}}}}
        * AudioReceived payload=AAEC timestamp_ms=1705312200000
        ! send_audio "AQID"
        < {{"event":"playAudio","media":{{"contentType":"audio/x-mulaw","sampleRate":8000,"payload":"AQID"}}}}
        ! send_mark "g1-1"
        < {{"event":"checkpoint","streamId":"S1","name":"g1-1"}}
        > {{"event":"dtmf","streamId":"S1","dtmf":{{"track":"inbound","digit":"5","timestamp":"1"}}}}
        * DtmfReceived digit='5'
        > {{"event":"playedStream","sequenceNumber":3,"streamId":"S1","name":"g1-1"}}
        * MarkPlayed name='g1-1'
        ! send_clear
        < {{"event":"clearAudio","streamId":"S1"}}
        # Nothing waits for the confirmation where the rules do not say so.
        ! send_audio "AQ=="
        < {{"event":"playAudio","media":{{"contentType":"audio/x-mulaw","sampleRate":8000,"payload":"AQ=="}}}}
        > {{"event":"clearedAudio","sequenceNumber":4,"streamId":"S1"}}
        * AudioCleared
        ! send_dtmf "1w#"
        < {{"event":"sendDTMF","dtmf":"1w#"}}
        > EOF
        """  # noqa: E501 - wire messages, as they are
    )
    assert stream.state is StreamState.CLOSED


def test_what_the_strict_carrier_wants() -> None:
    """Media may come first; new audio waits for ``clearedAudio``; our end is a ``stop``."""
    Transcript(PlayAudioStream(STRICT)).play(
        f"""
        > {{"event":"media","media":{{"payload":"AAEC"}}}}
        > {{"event":"media","media":{{"payload":"AwQF"}}}}
        > {{"event":"media","media":{{"payload":"BgcI"}}}}
        * ProtocolWarning code='media_before_start'
        {START}
        {STARTED}
        * AudioReceived payload=AAEC
        * AudioReceived payload=AwQF
        ! send_audio "AQID"
        < {{"event":"playAudio","streamId":"S1","media":{{"contentType":"audio/x-mulaw","sampleRate":8000,"payload":"AQID"}}}}
        ! send_clear
        < {{"event":"clearAudio","streamId":"S1"}}
        ! send_audio "BBBB"
        ! send_mark "g2-1"
        > {{"event":"clearedAudio"}}
        * AudioCleared
        < {{"event":"playAudio","streamId":"S1","media":{{"contentType":"audio/x-mulaw","sampleRate":8000,"payload":"BBBB"}}}}
        < {{"event":"checkpoint","streamId":"S1","name":"g2-1"}}
        ! send_dtmf "1"
        x UnsupportedByCarrier strict does not support DTMF messages on its media stream
        ! send_close "done"
        < {{"event":"stop","streamId":"S1"}}
        """  # noqa: E501 - wire messages, as they are
    )


def test_a_clear_drops_what_is_held() -> None:
    stream = opened(STRICT)
    stream.send_clear()
    stream.send_audio(b"\x01")
    stream.send_clear()
    stream.send_audio(b"\x02")
    stream.messages_to_send()
    stream.receive_message('{"event":"clearedAudio"}', 100)
    (message,) = stream.messages_to_send()
    assert json.loads(message)["media"]["payload"] == "Ag=="


def test_a_clear_that_nobody_confirms_holds_audio_for_a_second() -> None:
    stream = opened(STRICT)
    stream.receive_message(media_message(b"\xff"), 5000)
    stream.send_clear()
    stream.send_audio(b"\x01")
    stream.events_received()
    assert len(stream.messages_to_send()) == 1
    stream.receive_message(media_message(b"\xff"), 5999)
    assert stream.messages_to_send() == ()
    stream.events_received()
    stream.receive_message(media_message(b"\xff"), 6000)
    assert stream.events_received()[0] == ProtocolWarning(code="clear_unconfirmed")
    assert len(stream.messages_to_send()) == 1
    stream.send_audio(b"\x02")
    assert len(stream.messages_to_send()) == 1


def test_the_end_lets_go_what_is_held() -> None:
    stream = opened(STRICT)
    stream.send_clear()
    stream.send_audio(b"\x01")
    stream.send_close()
    events = [json.loads(message)["event"] for message in stream.messages_to_send()]
    assert events == ["clearAudio", "playAudio", "stop"]


@pytest.mark.parametrize(
    ("encoding", "rate_hz", "message_bytes"),
    [
        ("audio/x-mulaw", 8000, 1600),
        ("audio/x-mulaw;rate=8000", "8000", 1600),
        ("AUDIO/X-L16", 8000, 3200),
        ("audio/x-l16", 16000, 6400),
        ("audio/x-l16", 24000, 9600),
    ],
)
def test_formats(encoding: str, rate_hz: object, message_bytes: int) -> None:
    stream = opened(mediaFormat={"encoding": encoding, "sampleRate": rate_hz})
    audio = bytes(index % 251 for index in range(4 * message_bytes + 2))

    stream.send_audio(audio)

    messages = [json.loads(message)["media"] for message in stream.messages_to_send()]
    parts = [base64.b64decode(media["payload"]) for media in messages]
    assert b"".join(parts) == audio
    assert [len(part) for part in parts] == [message_bytes] * 4 + [2]
    # The short form, without a rate.
    assert {media["contentType"] for media in messages} == {encoding.partition(";")[0].lower()}
    assert {media["sampleRate"] for media in messages} == {int(str(rate_hz))}


def test_byte_order_is_a_rule_for_each_direction() -> None:
    l16 = {"mediaFormat": {"encoding": "audio/x-l16", "sampleRate": 16000}}
    audio = b"\x01\x02\x03\x04"
    for received in (False, True):
        for sent in (False, True):
            stream = opened(
                replace(PLAIN, received_big_endian=received, sent_big_endian=sent), **l16
            )
            stream.receive_message(media_message(audio), 0)
            assert one_event(stream) == AudioReceived(swap_bytes(audio) if received else audio)
            stream.send_audio(audio)
            (message,) = stream.messages_to_send()
            payload = base64.b64decode(json.loads(message)["media"]["payload"])
            assert payload == (swap_bytes(audio) if sent else audio)


def test_byte_order_is_nothing_to_mu_law() -> None:
    stream = opened(replace(PLAIN, received_big_endian=True, sent_big_endian=True))
    stream.receive_message(media_message(b"\x01\x02\x03"), 0)
    assert one_event(stream) == AudioReceived(b"\x01\x02\x03")
    stream.send_audio(b"\x01\x02")
    assert '"AQI="' in str(stream.messages_to_send()[0])


def test_half_a_sample_is_no_audio() -> None:
    stream = opened(
        replace(PLAIN, received_big_endian=True),
        mediaFormat={"encoding": "audio/x-l16", "sampleRate": 8000},
    )
    stream.receive_message(media_message(b"\x01\x02\x03"), 0)
    assert one_event(stream) == ProtocolWarning(
        code="malformed_payload", detail="3 bytes of 16-bit samples"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("{}", {}),
        ("run=42;tok=abc123", {"run": "42", "tok": "abc123"}),
        ("run=42,tok=abc123", {"run": "42", "tok": "abc123"}),
        ("{run=42,tok=abc123}", {"run": "42", "tok": "abc123"}),
        ('{"a":"1","b":2}', {"a": "1"}),
        ("a=b=c; d = e ;=x;y", {"a": "b=c", "d": "e"}),
        ("a=1,2;b=3", {"a": "1,2", "b": "3"}),
        ("[1]", {}),
        ("7", {}),
        ("hello", {}),
    ],
)
def test_extra_headers(text: str, expected: dict[str, str]) -> None:
    assert parse_extra_headers(text) == expected


def test_extra_headers_become_parameters() -> None:
    stream = PlayAudioStream(PLAIN)
    message = json.loads(start_message())
    stream.receive_message(json.dumps({**message, "extra_headers": "run=42"}), 0)
    started = one_event(stream)
    assert isinstance(started, StreamStarted)
    assert started.parameters == {"run": "42"}
    assert started.raw["event"] == "start"


def test_extra_headers_of_another_kind_are_none() -> None:
    stream = PlayAudioStream(PLAIN)
    message = json.loads(start_message())
    stream.receive_message(json.dumps({**message, "extra_headers": {"run": "42"}}), 0)
    warning, started = stream.events_received()
    assert warning == ProtocolWarning(code="malformed_parameter")
    assert isinstance(started, StreamStarted)
    assert started.parameters == {}


def test_ids_may_be_numbers_and_stand_outside() -> None:
    stream = PlayAudioStream(PLAIN)
    start = {"callId": 5, "accountId": 500025}
    stream.receive_message(json.dumps({"event": "START", "streamId": 'S"2', "start": start}), 0)
    started = one_event(stream)
    assert isinstance(started, StreamStarted)
    assert (started.stream_id, started.carrier_call_id) == ('S"2', "5")
    assert (started.account_id, started.received_format) == ("500025", PCMU_8K)
    stream.send_mark('a"b')
    (message,) = stream.messages_to_send()
    assert json.loads(message) == {"event": "checkpoint", "streamId": 'S"2', "name": 'a"b'}


@pytest.mark.parametrize(
    ("message", "close_code"),
    [
        ("", 1007),
        ("hello", 1007),
        ("\ud800", 1007),
        ("[" * 5000, 1007),
        ("[]", 1007),
        ("null", 1007),
        ('{"event":"start"}', 1002),
        ('{"event":"start","start":[]}', 1002),
        (start_message(callId=None), 1002),
        (start_message(callId=True), 1002),
        (start_message(streamId=""), 1002),
        (start_message(mediaFormat="audio/x-mulaw"), 1003),
        (start_message(mediaFormat={}), 1003),
        (start_message(mediaFormat={"encoding": "audio/x-mulaw", "sampleRate": 16000}), 1003),
        (start_message(mediaFormat={"encoding": "audio/opus", "sampleRate": 8000}), 1003),
    ],
)
def test_what_cannot_be_tolerated(message: str, close_code: int) -> None:
    stream = PlayAudioStream(PLAIN)
    with pytest.raises(RemoteProtocolError) as caught:
        stream.receive_message(message, 0)
    assert caught.value.close_code == close_code
    assert stream.state is StreamState.CONNECTING
    assert stream.events_received() == ()


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('{"event":"media","media":{"payload":"/w=="}}', "media_before_start"),
        ('{"event":"stop"}', "stop_before_start"),
        ('{"event":"playedStream","name":"a"}', "malformed_mark"),
        ('{"event":"dtmf","dtmf":{"digit":"1"}}', "malformed_dtmf"),
        ('{"event":"clearedAudio"}', "cleared_before_start"),
        ('{"event":"connected"}', "unknown_event"),
        ('{"event":["media"]}', "unknown_event"),
        ("{}", "unknown_event"),
    ],
)
def test_before_the_start(message: str, code: str) -> None:
    stream = PlayAudioStream(PLAIN)
    stream.receive_message(message, 0)
    assert one_event(stream) == ProtocolWarning(code=code)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('{"event":"media"}', "malformed_media"),
        ('{"event":"media","media":[]}', "malformed_media"),
        ('{"event":"media","media":{"payload":7}}', "malformed_media"),
        ('{"event":"media","media":{"payload":""}}', "empty_payload"),
        ('{"event":"media","media":{"payload":"/w==","track":"outbound"}}', "foreign_track"),
        ('{"event":"playedStream"}', "malformed_mark"),
        ('{"event":"playedStream","name":1}', "malformed_mark"),
        ('{"event":"dtmf"}', "malformed_dtmf"),
        ('{"event":"dtmf","dtmf":{"digit":"12"}}', "malformed_dtmf"),
        ('{"event":"dtmf","dtmf":{"digit":""}}', "malformed_dtmf"),
        ('{"event":"dtmf","dtmf":{"digit":"x"}}', "malformed_dtmf"),
        ('{"event":"playFailed","reason":"x"}', "play_failed"),
        ('{"event":"error","reason":7}', "play_failed"),
        ('{"event":"surprise"}', "unknown_event"),
    ],
)
def test_what_is_tolerated_on_an_open_stream(message: str, code: str) -> None:
    stream = opened()
    stream.receive_message(message, 0)
    assert one_event(stream) == ProtocolWarning(code=code)
    assert stream.state is StreamState.OPEN


@pytest.mark.parametrize("payload", ["!", "/w=", "/w==/w==", "AAE", "AA\n==", "ü", "===="])
def test_bad_base64_costs_one_frame(payload: str) -> None:
    stream = opened()
    stream.receive_message(json.dumps({"event": "media", "media": {"payload": payload}}), 0)
    event = one_event(stream)
    assert isinstance(event, ProtocolWarning)
    assert (event.code, event.detail) == ("malformed_payload", f"{len(payload)} characters")


@pytest.mark.parametrize("data", [b'{"event":"stop"}', memoryview(b"\x00\x01")])
def test_binary_messages_are_none_of_theirs(data: bytes | memoryview) -> None:
    stream = opened()
    stream.receive_message(data, 0)
    assert one_event(stream) == ProtocolWarning(code="binary_message", detail=f"{len(data)} bytes")


@pytest.mark.parametrize(
    ("timestamp", "expected_ms"),
    [
        ("1705312200000", 1705312200000),
        (5, 5),
        (-5, None),
        ("-5", None),
        ("5.0", None),
        ("²", None),
        ("9" * 19, None),
        (True, None),
        (None, None),
    ],
)
def test_timestamps(timestamp: object, expected_ms: int | None) -> None:
    stream = opened()
    media = {"payload": "/w==", "timestamp": timestamp}
    stream.receive_message(json.dumps({"event": "media", "media": media}), 0)
    assert one_event(stream) == AudioReceived(b"\xff", expected_ms)


@pytest.mark.parametrize("event", ["playedStream", "played", "PlayedStream"])
def test_words_that_pages_write_in_several_ways(event: str) -> None:
    Transcript(opened()).play(
        f"""
        > {{"event":"{event}","name":"a"}}
        * MarkPlayed name='a'
        """
    )


@pytest.mark.parametrize("digit", "0123456789*#ABCDabcd")
def test_every_key(digit: str) -> None:
    Transcript(opened()).play(
        f"""
        > {{"event":"dtmf","dtmf":{{"digit":"{digit}"}}}}
        * DtmfReceived digit='{digit.upper()}'
        """
    )


def test_a_key_may_be_a_number() -> None:
    Transcript(opened()).play('> {"event":"dtmf","dtmf":{"digit":0}}\n* DtmfReceived digit=\'0\'')


def test_a_repeated_start_is_tolerated_another_stream_is_not() -> None:
    Transcript(PlayAudioStream(PLAIN)).play(
        f"""
        {START}
        {STARTED}
        {START}
        * ProtocolWarning code='repeated_start'
        {START.replace("S1", "S2")}
        x RemoteProtocolError 1002 a second stream was started on one socket
        ! send_clear
        < {{"event":"clearAudio","streamId":"S1"}}
        """
    )


def test_a_stop_ends_the_stream_and_what_follows_is_dropped() -> None:
    stream = opened()
    before, messages = stream.events_received(), stream.messages_to_send()
    stream.receive_message('{"event":"stop"}', 0)
    assert one_event(stream) == StreamStopped()
    stream.receive_message("not even JSON", 0)
    assert stream.events_received() == ()
    assert (before, messages) == ((), ())


def test_what_is_our_bug() -> None:
    with pytest.raises(LocalProtocolError):
        opened().send_mark("")
    with pytest.raises(LocalProtocolError):
        opened().send_dtmf("")


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
    for stream in (PlayAudioStream(PLAIN), stopped, lost, closed):
        with pytest.raises(LocalProtocolError):
            getattr(stream, verb)(*VERBS[verb])
        assert stream.messages_to_send() == ()


# Text that reaches deep: the names and values of real messages, in all places.
WORDS = st.sampled_from(
    [
        *("event", "start", "media", "playedStream", "clearedAudio", "dtmf", "stop", "error"),
        *("payload", "name", "digit", "streamId", "callId", "accountId", "mediaFormat", "track"),
        *("timestamp", "encoding", "sampleRate", "extra_headers", "S1", "C1", "inbound", "/w=="),
        *("1", "", "8000", "16000", "audio/x-mulaw", "audio/x-l16", "a=1;b=2"),
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
        optional={"start": JSON, "media": JSON, "name": JSON, "dtmf": JSON, "extra_headers": JSON},
    ).map(json.dumps)
)


@given(
    rules=st.sampled_from([PLAIN, STRICT, replace(STRICT, received_big_endian=True)]),
    started=st.booleans(),
    messages=st.lists(MESSAGES, max_size=5),
)
def test_any_message_gives_events_or_the_documented_error(
    rules: PlayAudioRules, started: bool, messages: list[str | bytes]
) -> None:
    stream = opened(rules) if started else PlayAudioStream(rules)
    for message in messages:
        with suppress(RemoteProtocolError):
            stream.receive_message(message, 0)
        for event in stream.events_received():
            assert render(event)
        assert stream.messages_to_send() == ()


@given(text=st.text())
def test_any_text_gives_extra_headers(text: str) -> None:
    for name, value in parse_extra_headers(text).items():
        assert isinstance(name, str)
        assert isinstance(value, str)


@given(audio=st.binary(max_size=5000))
def test_audio_survives_the_way_there_and_back(audio: bytes) -> None:
    ours, theirs = opened(), opened()
    ours.send_audio(audio)
    for message in ours.messages_to_send():
        assert isinstance(message, str)
        theirs.receive_message(message.replace("playAudio", "media"), 0)
    received = [event for event in theirs.events_received() if isinstance(event, AudioReceived)]
    assert b"".join(event.payload for event in received) == audio
