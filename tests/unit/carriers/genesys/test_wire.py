from __future__ import annotations

import json
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.transcript import Transcript, render
from trunkline.audio import Encoding
from trunkline.carriers.genesys.wire import (
    FEWEST_MESSAGE_BYTES,
    MEDIA_FORMAT,
    MESSAGES_BURST,
    MESSAGES_PER_S,
    GenesysStream,
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

CAPTURES = Path(__file__).parents[3] / "captures" / "genesys"

NIL = "00000000-0000-0000-0000-000000000000"
MEDIA = {"type": "audio", "format": "PCMU", "channels": ["external"], "rate": 8000}
OPEN: dict[str, Any] = {
    "organizationId": "o1",
    "conversationId": "c1",
    "participant": {"id": "p1", "ani": "tel:+447700900000", "aniName": "A", "dnis": "sip:desk@h"},
    "media": [MEDIA],
    "inputVariables": {"tenant": "acme"},
}
OPENED = (
    '< {"version":"2","id":"s1","type":"opened","seq":1,"clientseq":1,"parameters":'
    '{"startPaused":false,"media":[{"type":"audio","format":"PCMU","channels":["external"],'
    '"rate":8000}]}}'
)
STARTED = (
    "* StreamStarted stream_id='s1' carrier_call_id='c1' account_id='o1'"
    " received_format=PCMU/8000/1 sent_format=PCMU/8000/1"
    " from_number='+447700900000' to_number='sip:desk@h' parameters={'tenant': 'acme'}"
)


class Genesys:
    """Numbers messages as the client does."""

    def __init__(self) -> None:
        self.seq = 0
        self.server_seq = 0

    def say(self, kind: str, **parameters: object) -> str:
        self.seq += 1
        return json.dumps(
            {
                "version": "2",
                "id": "s1",
                "type": kind,
                "seq": self.seq,
                "serverseq": self.server_seq,
                "position": "PT0S",
                "parameters": parameters,
            }
        )

    def open(self, **changes: object) -> str:
        return self.say("open", **{**OPEN, **changes})


@pytest.fixture
def genesys() -> Genesys:
    return Genesys()


@pytest.fixture
def opened(genesys: Genesys) -> GenesysStream:
    return open_stream(genesys)


def open_stream(genesys: Genesys) -> GenesysStream:
    stream = GenesysStream()
    stream.receive_message(genesys.open(), 0)
    stream.events_received()
    stream.messages_to_send()
    return stream


def sent_types(stream: GenesysStream) -> list[str]:
    return [
        "binary" if isinstance(message, bytes) else json.loads(message)["type"]
        for message in stream.messages_to_send()
    ]


def audio_sent(stream: GenesysStream) -> list[bytes]:
    return [message for message in stream.messages_to_send() if isinstance(message, bytes)]


def codes(stream: GenesysStream) -> list[str]:
    return [event.code for event in stream.events_received() if isinstance(event, ProtocolWarning)]


def test_a_whole_call(genesys: Genesys) -> None:
    stream = GenesysStream()
    assert stream.state is StreamState.CONNECTING
    Transcript(stream).play(
        f"""
        > {genesys.open()}
        {STARTED}
        {OPENED}
        > hex:7fff
        * AudioReceived payload=f/8= timestamp_ms=0
        > {genesys.say("ping", rtt="PT0.03S")}
        < {{"version":"2","id":"s1","type":"pong","seq":2,"clientseq":2,"parameters":{{}}}}
        > {genesys.say("playback_started")}
        > {genesys.say("dtmf", digit="#")}
        * DtmfReceived digit='#'
        ! send_clear
        < {{"version":"2","id":"s1","type":"event","seq":3,"clientseq":4,"parameters":{{"entities":[{{"type":"barge_in","data":{{}}}}]}}}}
        > {genesys.say("playback_completed")}
        > {genesys.say("update", language="de-DE")}
        < {{"version":"2","id":"s1","type":"updated","seq":4,"clientseq":6,"parameters":{{}}}}
        ! send_close "completed"
        < {{"version":"2","id":"s1","type":"disconnect","seq":5,"clientseq":6,"parameters":{{"reason":"completed","info":"completed"}}}}
        > hex:ff
        > {genesys.say("ping")}
        < {{"version":"2","id":"s1","type":"pong","seq":6,"clientseq":7,"parameters":{{}}}}
        > {genesys.say("close", reason="disconnect")}
        * StreamStopped reason='disconnect' call_ended=False
        < {{"version":"2","id":"s1","type":"closed","seq":7,"clientseq":8,"parameters":{{}}}}
        > EOF
        """  # noqa: E501 - wire messages, as they are
    )
    assert stream.state is StreamState.CLOSED


@pytest.mark.parametrize(
    "capture",
    [path for path in sorted(CAPTURES.glob("ws_*.jsonl")) if path.stem != "ws_unauthorized"],
    ids=lambda path: path.stem,
)
def test_captures(capture: Path) -> None:
    """What Genesys writes is understood, and we answer what is answered there."""
    stream = GenesysStream()
    sent: deque[bytes | str] = deque()
    heard = b""
    left_out = 0
    for row in map(json.loads, capture.read_text(encoding="utf-8").splitlines()):
        if row["dir"] == "carrier_to_us" and "close" not in row:
            if "msg" in row:
                row["msg"]["serverseq"] -= left_out
            captured = _captured(row)
            stream.receive_message(captured, row["t_ms"])
            if isinstance(captured, bytes):
                heard += captured
            sent += stream.messages_to_send()
        elif row["dir"] == "us_to_carrier":
            if not _say(stream, row):
                left_out += 1
                continue
            sent += stream.messages_to_send()
            _compare(sent.popleft(), row, capture.stem)
    assert not sent, "we said more than is said there"
    assert stream.state is StreamState.CLOSED
    events = stream.events_received()
    assert b"".join(e.payload for e in events if isinstance(e, AudioReceived)) == heard
    assert isinstance(events[-1], StreamStopped)
    warned = {event.code for event in events if isinstance(event, ProtocolWarning)}
    expected = {
        "ws_connection_probe": {"connection_probe"},
        "ws_errors": {"carrier_error"},
    }
    assert warned == expected.get(capture.stem, set()), [render(event) for event in events]
    is_call = capture.stem != "ws_connection_probe"
    assert sum(isinstance(event, StreamStarted) for event in events) == is_call


def _captured(row: dict[str, Any]) -> bytes | str:
    if "binary" in row:
        return bytes.fromhex(row["binary"]["fill_hex"]) * row["binary"]["len"]
    return json.dumps(row["msg"])


def _say(stream: GenesysStream, row: dict[str, Any]) -> bool:
    """Do what makes us say this; False for what we never say."""
    if "binary" in row:
        stream.send_audio(_captured(row))  # type: ignore[arg-type] - it is bytes
        return True
    match row["msg"]:
        case {"type": "event", "parameters": {"entities": [{"type": "barge_in"}]}}:
            stream.send_clear()
        case {"type": "event"}:
            # A report for statistics; its number is taken by the next message.
            return False
        case {"type": "disconnect"}:
            stream.send_close()
    return True


def _compare(ours: bytes | str, row: dict[str, Any], capture: str) -> None:
    if isinstance(ours, bytes):
        assert ours == _captured(row)
        return
    message, captured = json.loads(ours), row["msg"]
    for name in ("version", "id", "type", "clientseq"):
        assert message[name] == captured[name]
    parameters = captured["parameters"]
    if message["type"] == "opened":
        # Of several offers we take the caller alone, where the capture takes both sides.
        assert message["parameters"]["media"] == [MEDIA]
        assert parameters["media"] == [MEDIA] or capture == "ws_monitor_stereo"
    elif message["type"] == "disconnect":
        assert message["parameters"]["reason"] == parameters["reason"]
    else:
        assert message["parameters"] == parameters


def test_what_our_refusal_at_the_upgrade_saves() -> None:
    """The other way to refuse: Genesys may close a session that it has never opened."""
    stream = GenesysStream()
    stream.receive_message(Genesys().say("close", reason="disconnect"), 0)
    assert stream.events_received() == [StreamStopped(reason="disconnect", call_ended=False)]
    assert sent_types(stream) == ["closed"]


def test_the_format_is_the_only_one() -> None:
    assert (MEDIA_FORMAT.encoding, MEDIA_FORMAT.sample_rate_hz) == (Encoding.PCMU, 8000)
    assert FEWEST_MESSAGE_BYTES == 1600


def test_a_probe_is_answered_and_starts_nothing(genesys: Genesys) -> None:
    stream = GenesysStream()
    stream.receive_message(genesys.open(conversationId=NIL, participant={"id": NIL}), 0)
    assert stream.state is StreamState.CONNECTING
    assert codes(stream) == ["connection_probe"]
    assert sent_types(stream) == ["opened"]
    with pytest.raises(LocalProtocolError):
        stream.send_audio(b"\xff")
    stream.receive_message(b"\xff" * 1600, 10)
    assert codes(stream) == ["media_before_start"]
    stream.receive_message(genesys.say("ping"), 10)
    stream.receive_message(genesys.say("close", reason="end"), 20)
    assert sent_types(stream) == ["pong", "closed"]
    assert stream.events_received() == [StreamStopped(reason="probe", call_ended=True)]


def test_a_call_whose_caller_is_unknown_is_no_probe(genesys: Genesys) -> None:
    stream = GenesysStream()
    participant = {"id": NIL, "ani": "", "dnis": ""}
    stream.receive_message(genesys.open(participant=participant), 0)
    (started,) = stream.events_received()
    assert isinstance(started, StreamStarted)
    assert (started.from_number, started.to_number) == (None, None)


def test_the_first_fitting_offer_is_taken_unchanged(genesys: Genesys) -> None:
    stream = GenesysStream()
    offers = [
        {**MEDIA, "format": "L16"},
        {**MEDIA, "channels": ["external", "internal"]},
        {**MEDIA, "note": "ü"},
        MEDIA,
    ]
    stream.receive_message(genesys.open(media=offers), 0)
    (message,) = stream.messages_to_send()
    assert json.loads(message)["parameters"]["media"] == [offers[2]]


@pytest.mark.parametrize("offers", [None, [], {}, [None], [{**MEDIA, "rate": 16000}], ["PCMU"]])
def test_no_offer_that_we_know(genesys: Genesys, offers: object) -> None:
    stream = GenesysStream()
    with pytest.raises(RemoteProtocolError) as caught:
        stream.receive_message(genesys.open(media=offers), 0)
    assert caught.value.close_code == 1003
    assert stream.messages_to_send() == ()


def test_variables_that_are_no_text_are_left_out_with_a_warning(genesys: Genesys) -> None:
    stream = GenesysStream()
    stream.receive_message(genesys.open(inputVariables={"a": "1", "b": 2}), 0)
    warning, started = stream.events_received()
    assert warning == ProtocolWarning(code="malformed_parameter")
    assert isinstance(started, StreamStarted)
    assert started.parameters == {"a": "1"}


@pytest.mark.parametrize("given", [None, [], "x"])
def test_no_variables(genesys: Genesys, given: object) -> None:
    stream = GenesysStream()
    stream.receive_message(genesys.open(inputVariables=given), 0)
    (started,) = stream.events_received()
    assert isinstance(started, StreamStarted)
    assert started.parameters == {}


def message(**changes: object) -> str:
    fields: dict[str, object] = {
        "version": "2",
        "id": "s1",
        "type": "open",
        "seq": 1,
        "serverseq": 0,
        "parameters": OPEN,
    }
    return json.dumps({**fields, **changes})


@pytest.mark.parametrize(
    ("text", "close_code"),
    [
        ("", 1007),
        ("hello", 1007),
        ("[]", 1007),
        ("\ud800", 1007),
        ("[" * 5000, 1007),
        ('"' + "x" * 65_535 + '"', 1009),
        (message(version="1"), 1002),
        (message(version=2), 1002),
        (message(type=5), 1002),
        (message(id=None), 1002),
        (message(id=""), 1002),
        (message(id="x" * 65), 1002),
        (message(seq=2), 1002),
        (message(seq=0), 1002),
        (message(seq=True), 1002),
        (message(seq="1"), 1002),
        (message(seq=None), 1002),
        (message(serverseq=1), 1002),
        (message(serverseq=-1), 1002),
        (message(serverseq="0"), 1002),
        (message(parameters={}), 1002),
        (message(parameters=[]), 1002),
        (message(parameters={**OPEN, "conversationId": 5}), 1002),
        (message(parameters={**OPEN, "organizationId": ""}), 1002),
    ],
)
def test_what_cannot_be_tolerated(text: str, close_code: int) -> None:
    stream = GenesysStream()
    with pytest.raises(RemoteProtocolError) as caught:
        stream.receive_message(text, 0)
    assert caught.value.close_code == close_code
    assert stream.state is StreamState.CONNECTING
    assert stream.events_received() == ()


def test_numbers_go_on_without_a_gap(genesys: Genesys, opened: GenesysStream) -> None:
    repeated = genesys.say("ping")
    opened.receive_message(repeated, 0)
    with pytest.raises(RemoteProtocolError):
        opened.receive_message(repeated, 0)
    genesys.seq += 1
    with pytest.raises(RemoteProtocolError):
        opened.receive_message(genesys.say("ping"), 0)


def test_what_we_sent_may_be_confirmed_and_no_more(genesys: Genesys, opened: GenesysStream) -> None:
    genesys.server_seq = 1
    opened.receive_message(genesys.say("ping"), 0)
    genesys.server_seq = 3
    with pytest.raises(RemoteProtocolError):
        opened.receive_message(genesys.say("ping"), 0)


def test_another_session_on_the_same_socket(genesys: Genesys, opened: GenesysStream) -> None:
    foreign = genesys.say("ping").replace('"s1"', '"s2"')
    with pytest.raises(RemoteProtocolError):
        opened.receive_message(foreign, 0)


def test_a_second_open_is_ignored(genesys: Genesys, opened: GenesysStream) -> None:
    opened.receive_message(genesys.open(conversationId="c2"), 0)
    assert opened.events_received() == [ProtocolWarning(code="repeated_start")]
    assert opened.messages_to_send() == ()


@pytest.mark.parametrize(
    ("kind", "parameters", "code"),
    [
        ("dtmf", {"digit": "12"}, "malformed_dtmf"),
        ("dtmf", {"digit": 5}, "malformed_dtmf"),
        ("dtmf", {}, "malformed_dtmf"),
        ("transcript", {}, "unknown_event"),
        ("discarded", {"start": "PT1S", "discarded": "PT0.5S"}, "audio_discarded"),
        ("error", {"code": 500, "message": "x"}, "carrier_error"),
        ("error", {"code": [], "retryAfter": 5}, "carrier_error"),
        ("paused", {}, "paused"),
    ],
)
def test_oddities_are_warned_of(
    genesys: Genesys, opened: GenesysStream, kind: str, parameters: dict[str, object], code: str
) -> None:
    opened.receive_message(genesys.say(kind, **parameters), 0)
    assert codes(opened) == [code]
    assert opened.state is StreamState.OPEN
    opened.receive_message(genesys.say("ping"), 0)  # it was counted
    assert sent_types(opened) == ["pong"]


@pytest.mark.parametrize("kind", ["dtmf", "paused", "resumed", "update", "ping"])
def test_before_the_open(genesys: Genesys, kind: str) -> None:
    stream = GenesysStream()
    stream.receive_message(genesys.say(kind, digit="1"), 0)
    assert stream.state is StreamState.CONNECTING
    assert not any(isinstance(event, DtmfReceived) for event in stream.events_received())
    assert sent_types(stream) == (["pong"] if kind == "ping" else [])


def test_lost_audio_shows_as_a_step(genesys: Genesys, opened: GenesysStream) -> None:
    opened.receive_message(b"\xff" * 1600, 0)
    opened.receive_message(genesys.say("discarded", start="PT0.2S", discarded="PT.35S"), 0)
    opened.receive_message(b"\xff" * 1600, 0)
    opened.receive_message(genesys.say("resumed", start="PT0.7S", discarded="PT12.3456S"), 0)
    opened.receive_message(b"\xff" * 8, 0)
    opened.receive_message(genesys.say("discarded", discarded="a while"), 0)
    opened.receive_message(b"\xff" * 8, 0)
    heard = [event for event in opened.events_received() if isinstance(event, AudioReceived)]
    steps = [0, 550, 550 + 200 + 12_345, 550 + 200 + 12_345 + 1]
    assert [event.timestamp_ms for event in heard] == steps


def test_audio_goes_in_messages_of_a_fifth_of_a_second(opened: GenesysStream) -> None:
    for _ in range(25):
        opened.send_audio(bytes(160))
    assert [len(payload) for payload in audio_sent(opened)] == [1600, 1600]
    opened.receive_message(b"\xff" * 1600, 200)
    assert audio_sent(opened) == []  # it was growing
    opened.receive_message(b"\xff" * 1600, 400)
    assert [len(payload) for payload in audio_sent(opened)] == [800]


def test_a_burst_goes_in_few_messages(opened: GenesysStream) -> None:
    audio = bytes(index % 251 for index in range(80_000))  # ten seconds
    opened.send_audio(audio)
    messages = audio_sent(opened)
    assert b"".join(messages) == audio
    assert len(messages) <= 10
    assert max(map(len, messages)) <= 64_000


def is_allowed(sent_at_ms: list[int]) -> bool:
    """Whether a bucket of Genesys' size never ran dry."""
    left, before_ms = float(MESSAGES_BURST), 0
    for at_ms in sent_at_ms:
        left = min(left + (at_ms - before_ms) * MESSAGES_PER_S / 1000, MESSAGES_BURST) - 1
        before_ms = at_ms
        if left < 0:
            return False
    return True


@pytest.mark.parametrize("chunk_ms", [20, 40, 200, 170])
def test_a_long_speech_keeps_to_the_rate(opened: GenesysStream, chunk_ms: int) -> None:
    """Two minutes in real time, caller audio every 200 ms, as a gateway would send it."""
    sent_at_ms: list[int] = []
    n_bytes = 0
    for now_ms in range(0, 120_000, 10):
        if now_ms % 200 == 0:
            opened.receive_message(b"\xff" * 1600, now_ms)
        if now_ms % chunk_ms == 0:
            opened.send_audio(bytes(8 * chunk_ms))
        for payload in audio_sent(opened):
            sent_at_ms.append(now_ms)
            n_bytes += len(payload)
    assert is_allowed(sent_at_ms)
    assert n_bytes >= 8 * 119_000


def test_many_short_words_keep_to_the_rate(opened: GenesysStream) -> None:
    """Each word is a message of its own, and still nothing is lost."""
    sent_at_ms: list[int] = []
    said = heard = 0
    for now_ms in range(0, 60_000, 20):
        if now_ms % 40 == 0:
            opened.receive_message(b"\xff" * 320, now_ms)
        if now_ms % 120 == 0 and now_ms < 50_000:
            opened.send_audio(bytes(160))
            said += 160
        for payload in audio_sent(opened):
            sent_at_ms.append(now_ms)
            heard += len(payload)
    assert is_allowed(sent_at_ms)
    assert heard == said


def test_a_request_for_silence_is_honoured(genesys: Genesys, opened: GenesysStream) -> None:
    opened.receive_message(genesys.say("error", code=429, retryAfter="PT3S"), 1000)
    opened.send_audio(bytes(3200))
    opened.receive_message(b"\xff" * 1600, 3900)
    assert audio_sent(opened) == []
    opened.receive_message(b"\xff" * 1600, 4000)
    assert sum(map(len, audio_sent(opened))) == 3200


def test_a_request_for_endless_silence_is_not(genesys: Genesys, opened: GenesysStream) -> None:
    opened.receive_message(genesys.say("error", code=429, retryAfter="PT99999S"), 0)
    opened.send_audio(bytes(1600))
    opened.receive_message(b"\xff" * 1600, 30_000)
    assert sum(map(len, audio_sent(opened))) == 1600


def test_a_pause_holds_audio_back(genesys: Genesys, opened: GenesysStream) -> None:
    opened.receive_message(genesys.say("paused"), 0)
    opened.send_audio(bytes(3200))
    opened.receive_message(b"\xff" * 1600, 200)
    assert audio_sent(opened) == []
    assert codes(opened) == ["paused", "media_in_pause"]
    opened.receive_message(genesys.say("resumed", start="PT1S", discarded="PT1S"), 1200)
    assert sum(map(len, audio_sent(opened))) == 3200


def test_a_clear_is_said_once_for_what_was_sent(opened: GenesysStream) -> None:
    opened.send_audio(bytes(2000))
    opened.send_clear()
    opened.send_clear()
    assert sent_types(opened) == ["binary", "event"]
    opened.send_audio(bytes(1600))
    opened.send_clear()
    assert sent_types(opened) == ["binary", "event"]
    opened.receive_message(b"\xff" * 1600, 200)
    opened.receive_message(b"\xff" * 1600, 400)
    assert audio_sent(opened) == []  # what waited was dropped, too


def test_the_rest_is_said_before_we_leave(opened: GenesysStream) -> None:
    opened.send_audio(bytes(2000))
    opened.send_close()
    assert sent_types(opened) == ["binary", "binary", "disconnect"]
    assert opened.state is StreamState.CLOSED
    with pytest.raises(LocalProtocolError):
        opened.send_close()


def test_a_pause_is_not_broken_to_leave(genesys: Genesys, opened: GenesysStream) -> None:
    opened.receive_message(genesys.say("paused"), 0)
    opened.send_audio(bytes(2000))
    opened.send_close()
    assert sent_types(opened) == ["disconnect"]


@pytest.mark.parametrize(
    ("reason", "word"),
    [("", "completed"), ("completed", "completed"), ("bot_failed", "error"), ("error", "error")],
)
def test_the_flow_hears_whether_something_failed(
    opened: GenesysStream, reason: str, word: str
) -> None:
    opened.send_close(reason)
    (text,) = opened.messages_to_send()
    parameters = json.loads(text)["parameters"]
    assert parameters == {"reason": word, **({"info": reason} if reason else {})}


def test_while_leaving_only_the_end_counts(genesys: Genesys, opened: GenesysStream) -> None:
    opened.send_close()
    opened.messages_to_send()
    opened.receive_message(b"\xff" * 1600, 0)
    opened.receive_message(genesys.say("dtmf", digit="1"), 0)
    assert opened.events_received() == ()
    opened.receive_message(genesys.say("close", reason="end"), 0)
    assert opened.events_received() == [StreamStopped(reason="end", call_ended=True)]


@pytest.mark.parametrize(
    ("reason", "call_ended"),
    [("end", True), ("disconnect", False), ("error", False), ("reconnect", False), (5, False)],
)
def test_ends(genesys: Genesys, opened: GenesysStream, reason: object, call_ended: bool) -> None:
    opened.send_audio(bytes(100))
    opened.receive_message(genesys.say("close", reason=reason), 0)
    word = reason if isinstance(reason, str) else ""
    assert opened.events_received() == [StreamStopped(reason=word, call_ended=call_ended)]
    # After close no audio may be sent, not even what waits.
    assert sent_types(opened) == ["closed"]
    opened.receive_message(b"\xff", 0)
    assert opened.events_received() == ()


def test_what_the_protocol_lacks(opened: GenesysStream) -> None:
    with pytest.raises(UnsupportedByCarrier):
        opened.send_mark("g1-1")
    with pytest.raises(UnsupportedByCarrier):
        opened.send_dtmf("1")


def test_a_lost_socket_is_no_stop(opened: GenesysStream) -> None:
    opened.receive_eof()
    assert opened.events_received() == ()
    assert opened.state is StreamState.CLOSED


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=20),
            st.text(max_size=20),
            st.tuples(
                st.sampled_from(
                    ["open", "ping", "close", "dtmf", "paused", "resumed", "discarded", "error"]
                ),
                st.dictionaries(
                    st.sampled_from(
                        ["digit", "reason", "code", "retryAfter", "discarded", "media", "language"]
                    ),
                    st.none()
                    | st.integers()
                    | st.sampled_from(["PT1S", "PTS", "end", "1"])
                    | st.lists(st.none(), max_size=1),
                ),
            ),
        ),
        max_size=8,
    )
)
def test_whatever_comes_gives_events_or_a_close_code(
    steps: list[bytes | str | tuple[str, dict[str, object]]],
) -> None:
    genesys = Genesys()
    for stream in (GenesysStream(), open_stream(genesys)):
        for number, step in enumerate(steps):
            data = genesys.say(step[0], **step[1]) if isinstance(step, tuple) else step
            with suppress(RemoteProtocolError):
                stream.receive_message(data, 20 * number)
            if stream.state is StreamState.OPEN:
                stream.send_audio(bytes(500))
        numbers = [
            json.loads(told)["seq"] for told in stream.messages_to_send() if isinstance(told, str)
        ]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
        stream.receive_eof()
        assert stream.state is StreamState.CLOSED


@given(st.lists(st.binary(max_size=3000), max_size=8))
def test_audio_is_cut_without_loss(chunks: list[bytes]) -> None:
    stream = open_stream(Genesys())
    for chunk in chunks:
        stream.send_audio(chunk)
    for now_ms in (0, 200, 400):
        stream.receive_message(b"\xff" * 1600, now_ms)
    assert b"".join(audio_sent(stream)) == b"".join(chunks)
