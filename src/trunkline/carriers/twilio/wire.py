"""Twilio Media Streams, bidirectional: JSON text messages, µ-law at 8 kHz both ways.

https://www.twilio.com/docs/voice/media-streams/websocket-messages
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from typing import TypeAlias

import orjson

from trunkline.audio import Encoding, MediaFormat
from trunkline.errors import LocalProtocolError, RemoteProtocolError, UnsupportedByCarrier
from trunkline.telephony.media import (
    AudioReceived,
    DtmfReceived,
    MarkPlayed,
    ProtocolWarning,
    StreamEvent,
    StreamStarted,
    StreamState,
    StreamStopped,
)

__all__ = ["MEDIA_FORMAT", "SENT_MESSAGE_BYTES", "TwilioStream"]

MEDIA_FORMAT = MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=8000)
"""The only format that Media Streams knows, in both directions."""

SENT_MESSAGE_BYTES = 1600
"""Most audio in one message, in bytes of payload: 200 ms. Twilio takes any size and plays messages
in order; small ones keep a ``clear`` from waiting behind a long write, and the socket from
buffering one big one."""

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

_CONNECTING, _OPEN, _CLOSED = StreamState.CONNECTING, StreamState.OPEN, StreamState.CLOSED

_DTMF_DIGITS = frozenset("0123456789*#ABCD")

# RFC 6455 §7.4.1
_UNSUPPORTED_DATA, _INVALID_PAYLOAD, _PROTOCOL_ERROR = 1003, 1007, 1002


class TwilioStream:
    """One Media Streams socket.

    Tolerated with a ``ProtocolWarning``: binary messages, unknown events, media before ``start`` or
    of another track, fields of the wrong kind, bad base64, a repeated ``start``. Refused with
    ``RemoteProtocolError``: what is not a JSON object, a ``start`` without its ids or in another
    format, a ``start`` of a second stream. Sequence and chunk numbers are not read: TCP keeps the
    order, and what Twilio itself left out shows as a step in ``timestamp_ms``.
    """

    __slots__ = ("_events", "_media_prefix", "_messages", "_state", "_stream_id", "_stream_id_json")

    def __init__(self) -> None:
        self._state = _CONNECTING
        self._events: list[StreamEvent] = []
        self._messages: list[bytes | str] = []
        self._stream_id = ""
        self._stream_id_json = ""
        self._media_prefix = ""

    @property
    def state(self) -> StreamState:
        """Where the stream stands."""
        return self._state

    def receive_message(self, data: bytes | memoryview | str, now_ms: int) -> None:
        """Take one WebSocket message; once the stream is closed, drop it: messages cross.

        Raises:
            RemoteProtocolError: See the class.
        """
        if self._state is _CLOSED:
            return
        if not isinstance(data, str):
            self._warn("binary_message", f"{len(data)} bytes")
            return
        message = _parse_object(data)
        event = message.get("event")
        # Fifty a second and call, so it is looked for first.
        if event == "media":
            self._receive_media(message.get("media"))
        elif event == "start":
            self._receive_start(message)
        elif event == "mark":
            self._receive_mark(message.get("mark"))
        elif event == "dtmf":
            self._receive_dtmf(message.get("dtmf"))
        elif event == "stop":
            self._receive_stop()
        elif event != "connected":
            self._warn("unknown_event")

    def receive_eof(self) -> None:
        """Note that the socket is gone. There may have been no ``stop``."""
        self._state = _CLOSED

    def send_audio(self, payload: bytes) -> None:
        """Queue µ-law audio of any length. Twilio buffers what comes faster than real time.

        Raises:
            LocalProtocolError: The stream is not open.
        """
        self._require_open("audio")
        for start in range(0, len(payload), SENT_MESSAGE_BYTES):
            chunk = binascii.b2a_base64(payload[start : start + SENT_MESSAGE_BYTES], newline=False)
            self._messages.append(f'{self._media_prefix}{chunk.decode("ascii")}"}}}}')

    def send_mark(self, name: str) -> None:
        """Ask for an echo once everything sent before has been played.

        Twilio also echoes marks that a ``clear`` dropped, and says nothing of the difference: the
        name must carry a generation.

        Raises:
            LocalProtocolError: The stream is not open, or ``name`` is empty (Twilio ignores such
            marks, error 31950).
        """
        self._require_open("a mark")
        if not name:
            raise LocalProtocolError("a mark needs a name")
        quoted = orjson.dumps(name).decode()
        self._messages.append(
            f'{{"event":"mark","streamSid":{self._stream_id_json},"mark":{{"name":{quoted}}}}}'
        )

    def send_clear(self) -> None:
        """Drop all audio that has not been played.

        Raises:
            LocalProtocolError: The stream is not open.
        """
        self._require_open("clear")
        self._messages.append(f'{{"event":"clear","streamSid":{self._stream_id_json}}}')

    def send_dtmf(self, digits: str) -> None:
        """Media Streams has no message for it; tones must be sent as audio.

        Raises:
            LocalProtocolError: The stream is not open.
            UnsupportedByCarrier: Otherwise.
        """
        self._require_open("digits")
        raise UnsupportedByCarrier("twilio", "DTMF messages on its media stream")

    def send_close(self, reason: str = "") -> None:
        """End the stream without a message: Twilio goes on with the markup at the socket's end.

        Raises:
            LocalProtocolError: The stream is not open.
        """
        self._require_open("a close")
        self._state = _CLOSED

    def events_received(self) -> Sequence[StreamEvent]:
        """Events since the last call, in order."""
        events = self._events
        if not events:
            return ()
        self._events = []
        return events

    def messages_to_send(self) -> Sequence[bytes | str]:
        """Messages since the last call, in order."""
        messages = self._messages
        if not messages:
            return ()
        self._messages = []
        return messages

    def _receive_media(self, media: Json) -> None:
        if self._state is not _OPEN:
            self._warn("media_before_start")
            return
        if not isinstance(media, dict):
            self._warn("malformed_media")
            return
        # Only one-way streams carry the other track; taken for the caller's, the bot would hear
        # itself.
        if media.get("track", "inbound") != "inbound":
            self._warn("foreign_track")
            return
        payload = media.get("payload")
        if not isinstance(payload, str):
            self._warn("malformed_media")
            return
        try:
            audio = binascii.a2b_base64(payload, strict_mode=True)
        except ValueError:
            self._warn("malformed_payload", f"{len(payload)} characters")
            return
        if audio:
            self._events.append(AudioReceived(audio, _whole_number(media.get("timestamp"))))
        else:
            self._warn("empty_payload")

    def _receive_start(self, message: dict[str, Json]) -> None:
        start = message.get("start")
        if not isinstance(start, dict):
            raise RemoteProtocolError("start has no details", close_code=_PROTOCOL_ERROR)
        stream_id = _text(message.get("streamSid")) or _text(start.get("streamSid"))
        if self._state is _OPEN:
            if stream_id != self._stream_id:
                raise RemoteProtocolError(
                    "a second stream was started on one socket", close_code=_PROTOCOL_ERROR
                )
            self._warn("repeated_start")
            return
        call_id, account_id = _text(start.get("callSid")), _text(start.get("accountSid"))
        if not (stream_id and call_id and account_id):
            raise RemoteProtocolError("start lacks an id", close_code=_PROTOCOL_ERROR)
        _check_format(start.get("mediaFormat"))
        self._state = _OPEN
        self._stream_id = stream_id
        self._stream_id_json = orjson.dumps(stream_id).decode()
        self._media_prefix = (
            f'{{"event":"media","streamSid":{self._stream_id_json},"media":{{"payload":"'
        )
        self._events.append(
            StreamStarted(
                stream_id=stream_id,
                carrier_call_id=call_id,
                account_id=account_id,
                received_format=MEDIA_FORMAT,
                sent_format=MEDIA_FORMAT,
                parameters=self._parameters(start.get("customParameters")),
                raw=dict(message),
            )
        )

    def _parameters(self, given: Json) -> dict[str, str]:
        """The ``<Parameter>`` elements; ``{}`` when there are none, and every value is text."""
        if not isinstance(given, dict):
            return {}
        kept = {name: value for name, value in given.items() if isinstance(value, str)}
        if len(kept) != len(given):
            self._warn("malformed_parameter")
        return kept

    def _receive_mark(self, mark: Json) -> None:
        name = mark.get("name") if isinstance(mark, dict) else None
        if self._state is _OPEN and isinstance(name, str):
            self._events.append(MarkPlayed(name=name))
        else:
            self._warn("malformed_mark")

    def _receive_dtmf(self, dtmf: Json) -> None:
        digit = dtmf.get("digit") if isinstance(dtmf, dict) else None
        if self._state is _OPEN and isinstance(digit, str) and digit.upper() in _DTMF_DIGITS:
            self._events.append(DtmfReceived(digit=digit.upper()))
        else:
            self._warn("malformed_dtmf")

    def _receive_stop(self) -> None:
        """An ended call and a redirected one ``stop`` alike; who has redirected knows better."""
        if self._state is _OPEN:
            self._events.append(StreamStopped())
        else:
            self._warn("stop_before_start")
        self._state = _CLOSED

    def _require_open(self, what: str) -> None:
        if self._state is not _OPEN:
            raise LocalProtocolError(
                f"{what} cannot be sent while the stream is {self._state.name.lower()}"
            )

    def _warn(self, code: str, detail: str = "") -> None:
        self._events.append(ProtocolWarning(code=code, detail=detail))


def _parse_object(data: str) -> dict[str, Json]:
    try:
        message: Json = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise RemoteProtocolError("a message is not JSON", close_code=_INVALID_PAYLOAD) from None
    if not isinstance(message, dict):
        raise RemoteProtocolError("a message is not a JSON object", close_code=_INVALID_PAYLOAD)
    return message


def _check_format(given: Json) -> None:
    """Refuse a format that we would play as noise. When none is named there is only the one."""
    if given is None:
        return
    if not isinstance(given, dict) or (
        given.get("encoding"),
        _whole_number(given.get("sampleRate")),
        _whole_number(given.get("channels")),
    ) != ("audio/x-mulaw", 8000, 1):
        raise RemoteProtocolError(
            "start announces a format other than mu-law at 8 kHz", close_code=_UNSUPPORTED_DATA
        )


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _whole_number(value: Json) -> int | None:
    """Twilio documents numbers as strings, stand-ins send integers; None for anything else."""
    if isinstance(value, str):
        return int(value) if len(value) < 19 and value.isascii() and value.isdigit() else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
