"""The carrier's end of a Media Stream, without its socket: messages out, strict reading in.

https://www.twilio.com/docs/voice/media-streams/websocket-messages
"""

from __future__ import annotations

import binascii
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import orjson

from trunkline.audio import Encoding, MediaFormat
from trunkline.simulator.connection import ClearSent, MarkSent, MediaSent, ServerMessage
from trunkline.simulator.contract import Violation

__all__ = [
    "GARBAGE",
    "MEDIA_FORMAT",
    "TwilioMedia",
]

MEDIA_FORMAT = MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=8000)
"""The only one there is, both ways."""

GARBAGE: tuple[str | bytes, ...] = (
    b"\x00\x01\x02\xff",
    "not json",
    '{"event":"media","media":{"payload":"***"}}',
    '{"event":"media"}',
    '{"event":"mark","mark":{}}',
    '{"event":"dtmf","dtmf":{"digit":"xyzzy"}}',
    '{"event":"surprise","surprise":{}}',
    '["media"]',
)
"""Messages that make no sense, for ``Fault.GARBAGE_FRAMES``."""

_BAD_MESSAGE, _WRONG_STREAM = "31950", "31951"

_Json: TypeAlias = "dict[str, _Json] | list[_Json] | str | int | float | bool | None"


class TwilioMedia:
    """One stream. Pure: it makes and reads messages, and keeps the numbers that Twilio counts."""

    def __init__(
        self, *, account_id: str, call_id: str, stream_id: str, parameters: Mapping[str, str]
    ) -> None:
        self.stream_id = stream_id
        self.violations: list[Violation] = []
        self._account_id = account_id
        self._call_id = call_id
        self._parameters = dict(parameters)
        self._sequence = 0
        self._chunk = 0
        self._sent_bytes = 0

    def connected(self) -> str:
        """Return the first message, before ``start``."""
        return '{"event":"connected","protocol":"Call","version":"1.0.0"}'

    def opening(self) -> Sequence[str]:
        """Return the messages before ``start``."""
        return [self.connected()]

    def start(self) -> str:
        """Return ``start``."""
        return self._message(
            "start",
            {
                "accountSid": self._account_id,
                "streamSid": self.stream_id,
                "callSid": self._call_id,
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": dict(self._parameters),
            },
        )

    def media(self, payload: bytes) -> str:
        """Return the caller's next audio; its timestamp is the length of what was sent before."""
        self._chunk += 1
        timestamp_ms = MEDIA_FORMAT.duration_ms(self._sent_bytes)
        self._sent_bytes += len(payload)
        return self._message(
            "media",
            {
                "track": "inbound",
                "chunk": str(self._chunk),
                "timestamp": str(timestamp_ms),
                "payload": b64encode(payload).decode(),
            },
        )

    def skip(self, payload_bytes: int) -> None:
        """Count audio that was thrown away: its time has passed."""
        self._sent_bytes += payload_bytes

    def dtmf(self, digit: str) -> str:
        """Return the message for a key."""
        return self._message("dtmf", {"track": "inbound_track", "digit": digit})

    def mark(self, name: str) -> str:
        """Return the echo of a mark."""
        return self._message("mark", {"name": name})

    def cleared(self, marks: Sequence[str]) -> Sequence[str]:
        """Return the answer to a clear: every mark that it dropped comes back all the same."""
        return [self.mark(name) for name in marks]

    def ending(self) -> Sequence[str]:
        """Return the messages before Twilio closes the socket."""
        return [self.stop()]

    def stop(self) -> str:
        """Return ``stop``."""
        return self._message("stop", {"accountSid": self._account_id, "callSid": self._call_id})

    def receive(self, data: str | bytes) -> ServerMessage | None:
        """Read one message of the server; None, and a violation, for what Twilio ignores."""
        if isinstance(data, bytes):
            return self._refuse(_BAD_MESSAGE, f"binary message of {len(data)} bytes")
        try:
            message: _Json = orjson.loads(data)
        except orjson.JSONDecodeError:
            return self._refuse(_BAD_MESSAGE, "not JSON")
        if not isinstance(message, dict):
            return self._refuse(_BAD_MESSAGE, "not a JSON object")
        event = message.get("event")
        if message.get("streamSid") != self.stream_id:
            return self._refuse(
                _WRONG_STREAM, f"streamSid of a {event!r} message is not this stream's"
            )
        match event:
            case "media":
                return self._receive_media(message.get("media"))
            case "mark":
                return self._receive_mark(message.get("mark"))
            case "clear":
                return ClearSent()
            case _:
                return self._refuse(_BAD_MESSAGE, f"unknown event {event!r}")

    def _receive_media(self, media: _Json) -> MediaSent | None:
        payload = media.get("payload") if isinstance(media, dict) else None
        if not isinstance(payload, str) or not payload:
            return self._refuse(_BAD_MESSAGE, "media without payload")
        try:
            audio = binascii.a2b_base64(payload, strict_mode=True)
        except ValueError:
            return self._refuse(_BAD_MESSAGE, "payload is not base64")
        if audio.startswith(b"RIFF"):
            # No error at Twilio: the caller hears the header as noise. Nobody means that.
            self._refuse("wav-header", "payload begins with a WAV header")
        return MediaSent(payload=audio)

    def _receive_mark(self, mark: _Json) -> MarkSent | None:
        name = mark.get("name") if isinstance(mark, dict) else None
        if not isinstance(name, str) or not name:
            return self._refuse(_BAD_MESSAGE, "mark without a name")
        return MarkSent(name=name)

    def _refuse(self, code: str, detail: str) -> None:
        self.violations.append(Violation(code=code, detail=detail))

    def _message(self, event: str, details: Mapping[str, object]) -> str:
        self._sequence += 1
        return orjson.dumps(
            {
                "event": event,
                "sequenceNumber": str(self._sequence),
                "streamSid": self.stream_id,
                event: details,
            }
        ).decode()
