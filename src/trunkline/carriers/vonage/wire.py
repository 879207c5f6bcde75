"""Vonage's media socket: binary messages of 20 ms L16 audio, JSON text messages for the rest.

https://developer.vonage.com/en/voice/voice-api/concepts/websockets
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import orjson

from trunkline.audio import Encoding, Framer, MediaFormat
from trunkline.carriers.vonage.account import SAMPLE_RATES_HZ
from trunkline.carriers.vonage.webhook import normalise_uuid
from trunkline.errors import LocalProtocolError, RemoteProtocolError, UnsupportedByCarrier
from trunkline.telephony.media import (
    AudioCleared,
    AudioReceived,
    DtmfReceived,
    MarkPlayed,
    ProtocolWarning,
    StreamEvent,
    StreamStarted,
    StreamState,
    StreamStopped,
)

__all__ = [
    "EARLY_BYTES",
    "MESSAGE_MS",
    "RESERVED_HEADERS",
    "TAIL_WAIT_MESSAGES",
    "VonageStream",
]

MESSAGE_MS = 20
"""Audio in one message, exactly, in milliseconds. Other sizes are heard as glitches."""

EARLY_BYTES = 250 * 960
"""Caller audio kept from before ``websocket:connected``, in bytes: 5 s at 24 kHz. It has been seen
to come first."""

TAIL_WAIT_MESSAGES = 3
"""Messages of caller audio, of 20 ms each, until an incomplete message of ours counts as the end of
speech and is filled up with silence."""

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

_CONNECTING, _OPEN, _CLOSED = StreamState.CONNECTING, StreamState.OPEN, StreamState.CLOSED

_CLEAR = '{"action":"clear"}'
_DTMF_DIGITS = frozenset("0123456789*#ABCD")

_CONTENT_TYPE = "content-type"
RESERVED_HEADERS = frozenset({"event", _CONTENT_TYPE, "call_uuid", "stream_id"})
"""Names in ``websocket:connected`` that are no parameters."""

_CONNECTED = "websocket:connected"
# Not documented. Vonage just closes the socket; third-party code waits for these, too.
_GOODBYES = frozenset({"websocket:disconnected", "websocket:closed", "websocket:hangup"})

# RFC 6455 §7.4.1
_UNSUPPORTED_DATA, _INVALID_PAYLOAD, _PROTOCOL_ERROR = 1003, 1007, 1002


class VonageStream:
    """One media socket.

    Vonage names neither call nor stream: ``websocket:connected`` has nothing but the format and the
    headers of our answer document. A header ``call_uuid`` or the parameter ``vonage_call_sid``
    names the call, a header ``stream_id`` the stream, else it is called as its call is; all may be
    empty.

    Tolerated with a ``ProtocolWarning``: unknown events, fields of the wrong kind, odd numbers of
    bytes, audio before ``connected`` (kept, and heard after it), a repeated ``connected``. Refused
    with ``RemoteProtocolError``: text that is no JSON object, a format that is not L16 at 8, 16 or
    24 kHz, a ``connected`` of a second stream.
    """

    __slots__ = (
        "_early",
        "_early_bytes",
        "_events",
        "_framer",
        "_heard_since_sent",
        "_messages",
        "_silence_byte",
        "_state",
        "_stream_id",
        "_waiting_marks",
    )

    def __init__(self) -> None:
        self._state = _CONNECTING
        self._events: list[StreamEvent] = []
        self._messages: list[bytes | str] = []
        self._stream_id = ""
        self._early: list[bytes] = []
        self._early_bytes = 0
        self._framer = Framer(1)
        self._silence_byte = 0
        self._heard_since_sent = 0
        # Marks behind audio that still waits for the rest of its message.
        self._waiting_marks: list[str] = []

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
            self._receive_audio(bytes(data))
            return
        message = _parse_object(data)
        event = message.get("event")
        if event == "websocket:notify":
            self._receive_notify(message.get("payload"))
        elif event == "websocket:dtmf" or (event is None and "dtmf" in message):
            self._receive_dtmf(message)
        elif event == "websocket:cleared":
            self._receive_cleared()
        elif event == _CONNECTED:
            self._receive_connected(message)
        elif isinstance(event, str) and event in _GOODBYES:
            self._receive_goodbye(event)
        else:
            self._warn("unknown_event")

    def receive_eof(self) -> None:
        """Note that the socket is gone, which is how every call ends here."""
        self._state = _CLOSED

    def send_audio(self, payload: bytes) -> None:
        """Queue L16 audio of any length, in messages of exactly 20 ms.

        What is left over waits for more; when none comes it is filled up with silence, at the beat
        of the caller's audio.

        Raises:
            LocalProtocolError: The stream is not open.
        """
        self._require_open("audio")
        self._heard_since_sent = 0
        frames = self._framer.push(payload)
        if frames and self._waiting_marks:
            self._messages.append(frames.pop(0))
            self._release_marks()
        self._messages += frames

    def send_mark(self, name: str) -> None:
        """Ask for an echo once everything sent before has been played.

        After a ``clear`` there may be no echo (not documented).

        Raises:
            LocalProtocolError: The stream is not open, or ``name`` is empty.
        """
        self._require_open("a mark")
        if not name:
            raise LocalProtocolError("a mark needs a name")
        self._waiting_marks.append(name)
        if not self._framer.held_bytes:
            self._release_marks()

    def send_clear(self) -> None:
        """Drop all audio that has not been played.

        Raises:
            LocalProtocolError: The stream is not open.
        """
        self._require_open("clear")
        self._framer.clear()
        self._waiting_marks.clear()
        self._messages.append(_CLEAR)

    def send_dtmf(self, digits: str) -> None:
        """The socket has no message for it; the REST API presses keys.

        Raises:
            LocalProtocolError: The stream is not open.
            UnsupportedByCarrier: Otherwise.
        """
        self._require_open("digits")
        raise UnsupportedByCarrier("vonage", "DTMF messages on its media stream")

    def send_close(self, reason: str = "") -> None:
        """End the stream without a message: Vonage reports the closed socket as ``disconnected``.

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

    def _receive_audio(self, payload: bytes) -> None:
        if not payload or len(payload) % 2:
            self._warn("malformed_payload", f"{len(payload)} bytes")
        elif self._state is _OPEN:
            self._events.append(AudioReceived(payload))
            self._beat()
        elif self._early_bytes + len(payload) > EARLY_BYTES:
            self._warn("early_audio_dropped", f"{len(payload)} bytes")
        else:
            self._early.append(payload)
            self._early_bytes += len(payload)
            self._warn("media_before_start")

    def _beat(self) -> None:
        """Fill up what waits for more speech once none has come for a while."""
        if not self._framer.held_bytes:
            return
        self._heard_since_sent += 1
        if self._heard_since_sent >= TAIL_WAIT_MESSAGES:
            self._messages.append(self._framer.flush(pad=self._silence_byte))
            self._release_marks()

    def _release_marks(self) -> None:
        for name in self._waiting_marks:
            quoted = orjson.dumps(name).decode()
            self._messages.append(f'{{"action":"notify","payload":{{"mark":{quoted}}}}}')
        self._waiting_marks.clear()

    def _receive_connected(self, message: dict[str, Json]) -> None:
        call_id = _call_id(message)
        stream_id = _text(message.get("stream_id")) or call_id
        if self._state is _OPEN:
            if stream_id != self._stream_id:
                raise RemoteProtocolError(
                    "a second stream was started on one socket", close_code=_PROTOCOL_ERROR
                )
            self._warn("repeated_start")
            return
        media_format = _parse_format(message.get(_CONTENT_TYPE))
        self._state = _OPEN
        self._stream_id = stream_id
        self._framer = Framer(media_format.n_bytes(MESSAGE_MS))
        self._silence_byte = media_format.silence_byte
        self._events.append(
            StreamStarted(
                stream_id=stream_id,
                carrier_call_id=call_id,
                account_id="",
                received_format=media_format,
                sent_format=media_format,
                parameters=self._parameters(message),
                raw=dict(message),
            )
        )
        self._events += [AudioReceived(payload) for payload in self._early]
        self._early.clear()

    def _parameters(self, message: dict[str, Json]) -> Mapping[str, str]:
        """The headers of our answer document, which Vonage writes beside its own fields."""
        given = {name: value for name, value in message.items() if name not in RESERVED_HEADERS}
        kept = {name: value for name, value in given.items() if isinstance(value, str)}
        if len(kept) != len(given):
            self._warn("malformed_parameter")
        return kept

    def _receive_notify(self, payload: Json) -> None:
        name = payload.get("mark") if isinstance(payload, dict) else None
        if self._state is _OPEN and isinstance(name, str):
            self._events.append(MarkPlayed(name=name))
        else:
            self._warn("malformed_mark")

    def _receive_dtmf(self, message: dict[str, Json]) -> None:
        nested = message.get("dtmf")
        digit = nested.get("digit") if isinstance(nested, dict) else message.get("digit")
        if isinstance(digit, int) and not isinstance(digit, bool):
            digit = str(digit)
        if self._state is _OPEN and isinstance(digit, str) and digit.upper() in _DTMF_DIGITS:
            self._events.append(DtmfReceived(digit=digit.upper()))
        else:
            self._warn("malformed_dtmf")

    def _receive_cleared(self) -> None:
        if self._state is _OPEN:
            self._events.append(AudioCleared())
        else:
            self._warn("cleared_before_start")

    def _receive_goodbye(self, event: str) -> None:
        if self._state is _OPEN:
            self._events.append(StreamStopped(reason=event))
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


def _parse_format(content_type: Json) -> MediaFormat:
    """``audio/l16;rate=16000`` as a format. A wrong guess would be heard as noise."""
    kind, _, parameters = _text(content_type).replace(" ", "").lower().partition(";")
    rates = {f"rate={rate_hz}": rate_hz for rate_hz in SAMPLE_RATES_HZ}
    found = [rates[part] for part in parameters.split(";") if part in rates]
    if kind != "audio/l16" or len(found) != 1:
        raise RemoteProtocolError(
            "connected announces a format other than L16 at 8, 16 or 24 kHz",
            close_code=_UNSUPPORTED_DATA,
        )
    return MediaFormat(encoding=Encoding.L16, sample_rate_hz=found[0])


def _call_id(message: dict[str, Json]) -> str:
    return normalise_uuid(_text(message.get("call_uuid")) or _text(message.get("vonage_call_sid")))


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""
