from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.support.transcript import render
from trunkline.audio import Encoding, MediaFormat
from trunkline.carriers.vobiz.account import VobizAccount
from trunkline.carriers.vobiz.wire import new_stream, new_stream_with, stream_options
from trunkline.dialects.play_audio import PlayAudioStream
from trunkline.telephony.media import (
    AudioReceived,
    ProtocolWarning,
    StreamEvent,
    StreamStarted,
    StreamState,
)

CAPTURES = Path(__file__).parents[3] / "captures" / "vobiz"
STREAM_ID = "c4dfd815-a92a-4140-ab85-5ff28c004116"


def start_message(encoding: str = "audio/x-mulaw", rate_hz: int = 8000) -> str:
    media_format = {"encoding": encoding, "sampleRate": rate_hz}
    start = {"callId": "C1", "streamId": "S1", "mediaFormat": media_format}
    return json.dumps({"event": "start", "start": start, "extra_headers": "{}"})


def replay(capture: str) -> tuple[PlayAudioStream, list[StreamEvent]]:
    """What Vobiz wrote is understood without a warning; what we say is what was said there."""
    stream = new_stream()
    events: list[StreamEvent] = []
    lines = (CAPTURES / capture).read_text(encoding="utf-8").splitlines()
    # As they happened: one line stands after what followed it.
    for row in sorted(map(json.loads, lines), key=lambda row: row["t_ms"]):
        if row["dir"] == "us_to_carrier":
            said = say(stream, row["msg"])
            if said is not None:
                assert [json.loads(message) for message in stream.messages_to_send()] == [said]
        elif "msg" in row:
            stream.receive_message(json.dumps(row["msg"]), row["t_ms"])
        else:
            stream.receive_eof()
        events.extend(stream.events_received())
    assert not [render(event) for event in events if isinstance(event, ProtocolWarning)]
    return stream, events


def say(stream: PlayAudioStream, message: dict[str, object]) -> dict[str, object] | None:
    """Say the same; None where our core cannot: it sends in the format that it receives."""
    match message:
        case {"event": "playAudio", "media": {"contentType": "audio/x-l16"}}:
            return None
        case {"event": "playAudio", "media": {"payload": str(payload)}}:
            stream.send_audio(base64.b64decode(payload))
        case {"event": "checkpoint", "name": str(name)}:
            stream.send_mark(name)
        case {"event": "clearAudio"}:
            stream.send_clear()
        case {"event": "stop"}:
            stream.send_close()
        case _:
            raise AssertionError(f"nothing of ours says {message}")
    return message


def test_a_captured_call() -> None:
    stream, events = replay("ws_mulaw.jsonl")
    kinds = [type(event).__name__ for event in events]
    assert kinds == [
        "StreamStarted",
        "AudioReceived",
        "AudioReceived",
        "MarkPlayed",
        "AudioCleared",
    ]
    started = events[0]
    assert isinstance(started, StreamStarted)
    # Not the auth id: another number of the account's.
    assert (started.stream_id, started.account_id) == (STREAM_ID, "500025")
    assert started.parameters == {}
    assert stream.state is StreamState.CLOSED


def test_a_captured_end_of_ours() -> None:
    stream, events = replay("ws_l16_out_mulaw_in.jsonl")
    assert [type(event).__name__ for event in events] == ["StreamStarted", "AudioReceived"]
    assert stream.state is StreamState.CLOSED


def test_media_may_come_before_the_start() -> None:
    stream = new_stream()
    media = {"track": "inbound", "payload": base64.b64encode(b"\x01").decode()}
    for _ in range(51):
        stream.receive_message(json.dumps({"event": "media", "media": media}), 0)
    stream.receive_message(start_message(), 20)
    events = stream.events_received()
    assert events[0] == ProtocolWarning(code="media_before_start")
    assert isinstance(events[1], StreamStarted)
    assert list(events[2:]) == [AudioReceived(b"\x01")] * 50


@pytest.mark.parametrize(
    ("encoding", "rate_hz", "message_bytes"),
    [("audio/x-mulaw", 8000, 480), ("audio/x-l16", 8000, 960), ("audio/x-l16", 16000, 1920)],
)
def test_messages_are_as_long_as_advised(encoding: str, rate_hz: int, message_bytes: int) -> None:
    stream = new_stream()
    stream.receive_message(start_message(encoding, rate_hz), 0)
    stream.send_audio(bytes(2 * message_bytes))
    payloads = [json.loads(message)["media"]["payload"] for message in stream.messages_to_send()]
    assert [len(base64.b64decode(payload)) for payload in payloads] == [message_bytes] * 2


@pytest.mark.parametrize("received", [False, True])
@pytest.mark.parametrize("sent", [False, True])
def test_byte_order_is_the_accounts(received: bool, sent: bool) -> None:
    account = VobizAccount(received_big_endian=received, sent_big_endian=sent)
    stream = new_stream_with(stream_options(account))
    stream.receive_message(start_message("audio/x-l16", 16000), 0)
    (started,) = stream.events_received()
    assert isinstance(started, StreamStarted)
    assert started.sent_format == MediaFormat(encoding=Encoding.L16, sample_rate_hz=16000)
    payload = base64.b64encode(b"\x01\x02").decode()
    stream.receive_message(json.dumps({"event": "media", "media": {"payload": payload}}), 0)
    assert stream.events_received() == [AudioReceived(b"\x02\x01" if received else b"\x01\x02")]
    stream.send_audio(b"\x01\x02")
    (message,) = stream.messages_to_send()
    heard = base64.b64decode(json.loads(message)["media"]["payload"])
    assert heard == (b"\x02\x01" if sent else b"\x01\x02")


def test_options_hold_only_what_differs() -> None:
    assert stream_options(VobizAccount()) == {}
    assert stream_options(VobizAccount(sent_big_endian=True)) == {"sent_big_endian": "true"}
