"""Exotel's end of an AgentStream, without its socket: messages out, strict reading in.

https://developer.exotel.com/docs/agentstream
"""

from __future__ import annotations

import binascii
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import TypeAlias
from urllib.parse import parse_qsl, urlsplit

import orjson

from trunkline.audio import Encoding, MediaFormat
from trunkline.simulator.connection import ClearSent, MarkSent, MediaSent, ServerMessage
from trunkline.simulator.contract import Violation

__all__ = ["FRAME_MS", "GARBAGE", "ExotelMedia", "custom_parameters", "format_of"]

FRAME_MS = 100
"""Caller audio in one message, in milliseconds."""

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

_PAYLOAD_UNIT_BYTES, _MOST_PAYLOAD_BYTES = 320, 102_400
_MOST_PARAMETERS, _MOST_PARAMETER_CHARS = 3, 256
_RATE_NAMES = ("sample-rate", "sample_rate")

_Json: TypeAlias = "dict[str, _Json] | list[_Json] | str | int | float | bool | None"


def format_of(url: str) -> MediaFormat:
    """Return the format that a media URL asks for; 8 kHz when it asks for nothing that exists."""
    asked = dict(parse_qsl(urlsplit(url).query))
    rate = next((asked[name] for name in _RATE_NAMES if name in asked), "8000")
    rate_hz = int(rate) if rate in ("8000", "16000", "24000") else 8000
    return MediaFormat(encoding=Encoding.L16, sample_rate_hz=rate_hz)


def custom_parameters(url: str) -> Mapping[str, str]:
    """Return what of a media URL's query reaches ``start``: three pairs of 256 characters."""
    query = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    pairs = [pair for pair in query if pair[0] not in _RATE_NAMES][:_MOST_PARAMETERS]
    found: dict[str, str] = {}
    for name, value in pairs:
        if sum(map(len, (*found, *found.values(), name, value))) <= _MOST_PARAMETER_CHARS:
            found[name] = value
    return found


class ExotelMedia:
    """One stream; see ``connection.MediaTalk``. Pure."""

    def __init__(
        self,
        *,
        account_id: str,
        call_id: str,
        stream_id: str,
        url: str,
        from_number: str,
        to_number: str,
    ) -> None:
        self.stream_id = stream_id
        self.violations: list[Violation] = []
        self.has_call_ended = True
        """What ``stop`` says: the call is over, or only the stream."""
        self._ids = {"call_sid": call_id, "account_sid": account_id}
        self._numbers = {"from": from_number, "to": to_number}
        self._format = format_of(url)
        self._parameters = custom_parameters(url)
        self._sequence = 0
        self._chunk = 0
        self._sent_bytes = 0

    def opening(self) -> Sequence[str]:
        """Return the messages before ``start``."""
        return ['{"event":"connected"}']

    def start(self) -> str:
        """Return ``start``."""
        start: dict[str, object] = {
            "stream_sid": self.stream_id,
            **self._ids,
            **self._numbers,
            "custom_parameters": dict(self._parameters),
            "media_format": {
                "encoding": "base64",
                "sample_rate": str(self._format.sample_rate_hz),
                "bit_rate": "128kbps",
            },
        }
        return self._message("start", start)

    def media(self, payload: bytes) -> str:
        """Return the caller's next audio; its timestamp counts to its end."""
        self._chunk += 1
        self._sent_bytes += len(payload)
        return self._message(
            "media",
            {
                "chunk": str(self._chunk),
                "timestamp": str(self._format.duration_ms(self._sent_bytes)),
                "payload": b64encode(payload).decode(),
            },
        )

    def skip(self, payload_bytes: int) -> None:
        """Count audio that was thrown away: its time has passed."""
        self._sent_bytes += payload_bytes

    def dtmf(self, digit: str) -> str:
        """Return the message for a key."""
        return self._message("dtmf", {"digit": digit, "duration": "100"})

    def mark(self, name: str) -> str:
        """Return the echo of a mark."""
        return self._message("mark", {"name": name})

    def cleared(self, marks: Sequence[str]) -> Sequence[str]:
        """Return nothing: whether dropped marks come back is not documented."""
        return ()

    def ending(self) -> Sequence[str]:
        """Return the messages before Exotel closes the socket."""
        reason = "callended" if self.has_call_ended else "stopped"
        return [self._message("stop", {**self._ids, "reason": reason})]

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
        if message.get("stream_sid") != self.stream_id:
            return self._refuse("wrong_stream", f"stream_sid of a {event!r} message is another")
        details = message.get(event) if isinstance(event, str) else None
        fields = details if isinstance(details, dict) else {}
        match event:
            case "media":
                return self._receive_media(fields.get("payload"))
            case "mark":
                name = fields.get("name")
                if isinstance(name, str) and name:
                    return MarkSent(name=name)
                return self._refuse("bad_message", "mark without a name")
            case "clear":
                return ClearSent()
            case _:
                return self._refuse("bad_message", f"unknown event {event!r}")

    def _receive_media(self, payload: _Json) -> MediaSent | None:
        if not isinstance(payload, str) or not payload:
            return self._refuse("bad_message", "media without payload")
        try:
            audio = binascii.a2b_base64(payload, strict_mode=True)
        except ValueError:
            return self._refuse("bad_message", "payload is not base64")
        if len(audio) % _PAYLOAD_UNIT_BYTES:
            self._refuse("payload_size", f"{len(audio)} bytes are no multiple of 320: a gap")
        if len(audio) > _MOST_PAYLOAD_BYTES:
            self._refuse("payload_size", f"{len(audio)} bytes in one message")
        return MediaSent(payload=audio)

    def _refuse(self, code: str, detail: str) -> None:
        self.violations.append(Violation(code=code, detail=detail))

    def _message(self, event: str, details: Mapping[str, object]) -> str:
        self._sequence += 1
        return orjson.dumps(
            {
                "event": event,
                "sequence_number": str(self._sequence),
                "stream_sid": self.stream_id,
                event: details,
            }
        ).decode()
