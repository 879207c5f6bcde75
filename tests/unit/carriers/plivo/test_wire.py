from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.support.transcript import render
from trunkline.audio import Encoding
from trunkline.carriers.plivo.wire import RULES, new_stream
from trunkline.dialects.play_audio import PlayAudioStream
from trunkline.telephony.media import (
    AudioReceived,
    ProtocolWarning,
    StreamEvent,
    StreamStarted,
    StreamState,
)

CAPTURES = Path(__file__).parents[3] / "captures" / "plivo"

LONGEST_PAYLOAD_CHARS = 16 * 1024


@pytest.mark.parametrize("capture", sorted(CAPTURES.glob("ws_*.jsonl")), ids=lambda path: path.stem)
def test_captures(capture: Path) -> None:
    """What Plivo wrote is understood without a warning; what we say is what was said there."""
    stream = new_stream()
    events: list[StreamEvent] = []
    captured_audio = b""
    for row in map(json.loads, capture.read_text(encoding="utf-8").splitlines()):
        if row["dir"] == "us_to_carrier":
            _say(stream, row["msg"])
            sent = [json.loads(message) for message in stream.messages_to_send()]
            assert sent == [row["msg"]]
        elif "msg" in row:
            if row["msg"]["event"] == "media":
                captured_audio += base64.b64decode(row["msg"]["media"]["payload"])
            stream.receive_message(json.dumps(row["msg"]), row["t_ms"])
        elif "close" in row:
            stream.receive_eof()
        events.extend(stream.events_received())
    assert not [render(event) for event in events if isinstance(event, ProtocolWarning)]
    (started,) = [event for event in events if isinstance(event, StreamStarted)]
    assert started.parameters == {"run": "42", "tok": "abc123"}
    assert started.received_format.encoding is Encoding.PCMU
    heard = b"".join(event.payload for event in events if isinstance(event, AudioReceived))
    assert heard == captured_audio != b""
    kinds = [type(event).__name__ for event in events if not isinstance(event, AudioReceived)]
    assert kinds == ["StreamStarted", "MarkPlayed", "DtmfReceived", "AudioCleared"]
    assert stream.state is StreamState.CLOSED


def _say(stream: PlayAudioStream, message: dict[str, object]) -> None:
    match message:
        case {"event": "playAudio", "media": {"payload": str(payload)}}:
            stream.send_audio(base64.b64decode(payload))
        case {"event": "checkpoint", "name": str(name)}:
            stream.send_mark(name)
        case {"event": "clearAudio"}:
            stream.send_clear()
        case {"event": "sendDTMF", "dtmf": str(digits)}:
            stream.send_dtmf(digits)
        case _:
            raise AssertionError(f"nothing of ours says {message}")


@pytest.mark.parametrize(
    ("encoding", "rate_hz"),
    [("audio/x-mulaw", 8000), ("audio/x-l16", 8000), ("audio/x-l16", 16000)],
)
def test_no_message_is_longer_than_plivo_advises(encoding: str, rate_hz: int) -> None:
    stream = new_stream()
    media_format = {"encoding": encoding, "sampleRate": rate_hz}
    start = {"callId": "C1", "streamId": "S1", "mediaFormat": media_format}
    stream.receive_message(json.dumps({"event": "start", "start": start}), 0)
    stream.send_audio(bytes(200_000))
    payloads = [json.loads(message)["media"]["payload"] for message in stream.messages_to_send()]
    assert max(map(len, payloads)) <= LONGEST_PAYLOAD_CHARS


def test_closing_needs_no_message() -> None:
    assert RULES.carrier == "plivo"
    stream = new_stream()
    stream.receive_message('{"event":"start","start":{"callId":"C1","streamId":"S1"}}', 0)
    stream.send_close("done")
    assert stream.messages_to_send() == ()
