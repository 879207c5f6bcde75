"""The carrier's end of a ``playAudio`` stream, without its socket: strict reading in."""

from __future__ import annotations

import binascii
from base64 import b64encode
from collections.abc import Sequence
from typing import TypeAlias

import orjson

from trunkline.audio import Encoding, MediaFormat
from trunkline.simulator.connection import (
    ClearSent,
    KeysSent,
    MarkSent,
    MediaSent,
    ServerMessage,
    StopSent,
)
from trunkline.simulator.contract import Violation
from trunkline.simulator.play_audio.peculiarities import Peculiarities

__all__ = ["GARBAGE", "MEDIA_FORMAT", "PlayAudioMedia"]

MEDIA_FORMAT = MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=8000)
"""The one that is simulated, both ways."""

GARBAGE: tuple[str | bytes, ...] = (
    b"\x00\x01\x02\xff",
    "not json",
    '{"event":"media","media":{"payload":"***"}}',
    '{"event":"media"}',
    '{"event":"playedStream"}',
    '{"event":"dtmf","dtmf":{"digit":"xyzzy"}}',
    '{"event":"surprise","surprise":{}}',
    '["media"]',
)
"""Messages that make no sense, for ``Fault.GARBAGE_FRAMES``."""

_EPOCH_MS = 1_791_281_742_000  # where the media clock starts, any day will do

_Json: TypeAlias = "dict[str, _Json] | list[_Json] | str | int | float | bool | None"


class PlayAudioMedia:
    """One stream; see ``connection.MediaTalk``. Pure."""

    def __init__(
        self, rules: Peculiarities, *, account_id: str, call_id: str, stream_id: str
    ) -> None:
        self.stream_id = stream_id
        self.violations: list[Violation] = []
        self._rules = rules
        self._account_id = account_id
        self._call_id = call_id
        self._sequence = 0
        self._chunk = 0
        self._sent_bytes = 0

    def opening(self) -> Sequence[str]:
        """Return nothing: the first message is ``start``."""
        return ()

    def start(self) -> str:
        """Return ``start``; its ids are inside, not at the top."""
        self._sequence = 1
        start = {
            "callId": self._call_id,
            "streamId": self.stream_id,
            "accountId": self._account_id,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000},
        }
        message = {"event": "start", "sequenceNumber": 1, "start": start, "extra_headers": "{}"}
        return orjson.dumps(message).decode()

    def media(self, payload: bytes) -> str:
        """Return the caller's next audio; its timestamp is milliseconds since 1970."""
        self._chunk += 1
        timestamp_ms = _EPOCH_MS + MEDIA_FORMAT.duration_ms(self._sent_bytes)
        self._sent_bytes += len(payload)
        return self._message(
            "media",
            media={
                "track": "inbound",
                "timestamp": str(timestamp_ms),
                "chunk": self._chunk,
                "payload": b64encode(payload).decode(),
            },
        )

    def skip(self, payload_bytes: int) -> None:
        """Count audio that was thrown away: its time has passed."""
        self._sent_bytes += payload_bytes

    def dtmf(self, digit: str) -> str | None:
        """Return the message for a key, where there is one."""
        if not self._rules.has_dtmf_events:
            return None
        return self._message("dtmf", dtmf={"track": "inbound", "digit": digit, "timestamp": "0"})

    def mark(self, name: str) -> str:
        """Return the word that a checkpoint has been reached."""
        return self._message("playedStream", name=name)

    def cleared(self, marks: Sequence[str]) -> Sequence[str]:
        """Return ``clearedAudio``; the checkpoints that were dropped stay unanswered."""
        return [self._message("clearedAudio")]

    def ending(self) -> Sequence[str]:
        """Return nothing: the socket just closes."""
        return ()

    def receive(self, data: str | bytes) -> ServerMessage | None:
        """Read one message of the server; None, and a violation, for what is ignored."""
        if isinstance(data, bytes):
            return self._refuse("bad_message", f"binary message of {len(data)} bytes")
        try:
            message: _Json = orjson.loads(data)
        except orjson.JSONDecodeError:
            return self._refuse("bad_message", "not JSON")
        if not isinstance(message, dict):
            return self._refuse("bad_message", "not a JSON object")
        event = message.get("event")
        if event == "playAudio":
            return self._receive_audio(message)
        if event == "sendDTMF" and self._rules.takes_dtmf:
            digits = message.get("dtmf")
            if isinstance(digits, str) and digits:
                return KeysSent(digits=digits)
            return self._refuse("bad_message", "sendDTMF without keys")
        if message.get("streamId") != self.stream_id:
            return self._refuse("wrong_stream", f"streamId of a {event!r} message is another")
        return self._receive_command(event, message)

    def _receive_command(self, event: _Json, message: dict[str, _Json]) -> ServerMessage | None:
        name = message.get("name")
        match event:
            case "checkpoint" if isinstance(name, str) and name:
                return MarkSent(name=name)
            case "clearAudio":
                return ClearSent()
            case "stop" if self._rules.takes_stop:
                return StopSent()
            case _:
                return self._refuse("bad_message", f"unknown event {event!r}")

    def _receive_audio(self, message: dict[str, _Json]) -> MediaSent | None:
        if self._rules.audio_needs_stream_id and message.get("streamId") != self.stream_id:
            return self._refuse("wrong_stream", "streamId of a 'playAudio' message is another")
        media = message.get("media")
        if not isinstance(media, dict):
            return self._refuse("bad_message", "playAudio without media")
        if (media.get("contentType"), media.get("sampleRate")) != ("audio/x-mulaw", 8000):
            return self._refuse("invalid_content_type", "not what the stream announced")
        payload = media.get("payload")
        if not isinstance(payload, str) or not payload:
            return self._refuse("bad_message", "playAudio without payload")
        longest = self._rules.longest_payload_chars
        if longest is not None and len(payload) > longest:
            self._refuse("long_message", f"{len(payload)} characters of base64 in one message")
        try:
            audio = binascii.a2b_base64(payload, strict_mode=True)
        except ValueError:
            return self._refuse("bad_message", "payload is not base64")
        if audio.startswith(b"RIFF"):
            self._refuse("wav-header", "payload begins with a WAV header")
        return MediaSent(payload=audio)

    def _refuse(self, code: str, detail: str) -> None:
        self.violations.append(Violation(code=code, detail=detail))

    def _message(self, event: str, **more: object) -> str:
        self._sequence += 1
        head = {"event": event, "sequenceNumber": self._sequence, "streamId": self.stream_id}
        return orjson.dumps({**head, **more}).decode()
