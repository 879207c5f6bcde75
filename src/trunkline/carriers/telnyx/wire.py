"""Telnyx media streaming over WebSockets, bidirectional in ``rtp`` mode: JSON text messages.

https://developers.telnyx.com/docs/voice/programmable-voice/media-streaming
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TypeAlias, cast

import orjson

from trunkline.audio import Encoding, MediaFormat, swap_bytes
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

__all__ = [
    "FRAME_MS",
    "MEDIA_FORMATS",
    "MEDIA_PARAMETER",
    "REORDER_WINDOW",
    "SENT_MESSAGE_MS",
    "Media",
    "TelnyxStream",
]


class Media(StrEnum):
    """What the stream was asked to carry, in both directions.

    Telnyx tells a stream's start what it sends, and never what it takes: that is what was asked
    for.
    """

    PCMU = "PCMU"
    PCMA = "PCMA"
    L16_BIG = "L16-big"
    """16 kHz in network byte order, as RFC 3551 §4.5.11 has it."""
    L16_LITTLE = "L16-little"


MEDIA_FORMATS: Mapping[Media, MediaFormat] = {
    Media.PCMU: MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=8000),
    Media.PCMA: MediaFormat(encoding=Encoding.PCMA, sample_rate_hz=8000),
    Media.L16_BIG: MediaFormat(encoding=Encoding.L16, sample_rate_hz=16000),
    Media.L16_LITTLE: MediaFormat(encoding=Encoding.L16, sample_rate_hz=16000),
}

MEDIA_PARAMETER = "trunkline_media"
"""Stream parameter by which our markup tells this end what was asked for; absent: PCMU. It is taken
out of what the bot sees."""

FRAME_MS = 20
"""Telnyx sends so much in a message, and takes no less (what is shorter is undefined)."""

SENT_MESSAGE_MS = 200
"""Most audio in one message; Telnyx takes 30 s. Small ones keep a ``clear`` from waiting behind a
long write, and larger ones than 20 ms leave the pace to Telnyx."""

REORDER_WINDOW = 4
"""Messages of caller audio held back at most for one that is missing: 80 ms."""

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

_CONNECTING, _OPEN, _CLOSED = StreamState.CONNECTING, StreamState.OPEN, StreamState.CLOSED

_DTMF_DIGITS = frozenset("0123456789*#ABCD")
_CALLERS_TRACK = ("inbound", "inbound_track")
_L16_RATES_HZ = (8000, 16000, 24000, 48000)

# Errors that Telnyx reports about what it was sent.
_ERRORS = {
    100002: "carrier_unknown_error",
    100003: "carrier_malformed_frame",
    100004: "carrier_invalid_media",
    100005: "carrier_rate_limit_reached",
}

# A chunk so far behind is a new count, not a late message.
_RESTART_CHUNKS = 50

# RFC 6455 §7.4.1
_UNSUPPORTED_DATA, _INVALID_PAYLOAD, _PROTOCOL_ERROR = 1003, 1007, 1002

_MEDIA_PREFIX = '{"event":"media","media":{"payload":"'


class _ChunkOrder:
    """Puts caller audio in order: Telnyx numbers its messages and does not keep their order."""

    __slots__ = ("_expected", "_held")

    def __init__(self) -> None:
        self._expected: int | None = None
        self._held: dict[int, AudioReceived] = {}

    def take(self, chunk: int, frame: AudioReceived) -> tuple[Sequence[AudioReceived], str]:
        """Return the frames whose turn it is, and the code of a warning or an empty text."""
        expected = self._expected
        if expected is None or (chunk == expected and not self._held):
            self._expected = chunk + 1
            return (frame,), ""
        if chunk < expected:
            if expected - chunk < _RESTART_CHUNKS:
                return (), "late_media"
            ready = [*self.release(), frame]
            self._expected = chunk + 1
            return ready, "chunk_restart"
        if chunk in self._held:
            return (), "late_media"
        self._held[chunk] = frame
        if chunk == expected:
            return self._next_run(expected), ""
        if len(self._held) <= REORDER_WINDOW:
            return (), ""
        return self._next_run(min(self._held)), "lost_media"

    def _next_run(self, first: int) -> Sequence[AudioReceived]:
        """Take out the frames from ``first`` on that follow each other."""
        ready: list[AudioReceived] = []
        while first in self._held:
            ready.append(self._held.pop(first))
            first += 1
        self._expected = first
        return ready

    def release(self) -> Sequence[AudioReceived]:
        """Take out all that is held back, in order: nothing will fill the gap any more."""
        held, self._held = self._held, {}
        return [held[chunk] for chunk in sorted(held)]


class TelnyxStream:
    """One media streaming socket.

    Tolerated with a ``ProtocolWarning``: binary messages, unknown events, errors that Telnyx
    reports, media before ``start`` or of another track, late or doubled, fields of the wrong kind,
    bad base64, a repeated ``start``. Refused with ``RemoteProtocolError``: what is not a JSON
    object, a ``start`` without its ids or in a format that we do not decode (G722, OPUS, AMR-WB),
    a ``start`` of a second stream.
    """

    __slots__ = (
        "_events", "_is_received_swapped", "_is_sent_swapped", "_messages", "_order", "_received",
        "_sent", "_state", "_stream_id", "_unsent",
    )  # fmt: skip

    def __init__(self) -> None:
        self._state = _CONNECTING
        self._events: list[StreamEvent] = []
        self._messages: list[bytes | str] = []
        self._order = _ChunkOrder()
        self._stream_id = ""
        self._received = self._sent = MEDIA_FORMATS[Media.PCMU]
        self._is_received_swapped = self._is_sent_swapped = False
        self._unsent = b""

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
        elif event == "error":
            self._receive_error(message.get("payload"))
        elif event != "connected":
            self._warn("unknown_event")

    def receive_eof(self) -> None:
        """Note that the socket is gone. There may have been no ``stop``, nor a ``start``."""
        self._events.extend(self._order.release())
        self._state = _CLOSED

    def send_audio(self, payload: bytes) -> None:
        """Queue audio of any length. Telnyx buffers what comes faster than real time.

        Whole frames go out; a remainder waits for the audio or the mark that follows it.

        Raises:
            LocalProtocolError: The stream is not open.
        """
        self._require_open("audio")
        audio = self._unsent + payload if self._unsent else payload
        whole = len(audio) - len(audio) % self._sent.n_bytes(FRAME_MS)
        self._unsent = audio[whole:]
        step = self._sent.n_bytes(SENT_MESSAGE_MS)
        for start in range(0, whole, step):
            self._queue(audio[start : min(start + step, whole)])

    def send_mark(self, name: str) -> None:
        """Ask for an echo once everything sent before has been played.

        Telnyx also echoes marks that a ``clear`` dropped, and says nothing of the difference: the
        name must carry a generation. A remainder of audio is made whole with silence.

        Raises:
            LocalProtocolError: The stream is not open, or ``name`` is empty.
        """
        self._require_open("a mark")
        if not name:
            raise LocalProtocolError("a mark needs a name")
        if self._unsent:
            missing = self._sent.n_bytes(FRAME_MS) - len(self._unsent)
            self._queue(self._unsent + bytes([self._sent.silence_byte]) * missing)
            self._unsent = b""
        self._messages.append(f'{{"event":"mark","mark":{{"name":{orjson.dumps(name).decode()}}}}}')

    def send_clear(self) -> None:
        """Drop all audio that has not been played.

        Raises:
            LocalProtocolError: The stream is not open.
        """
        self._require_open("clear")
        self._unsent = b""
        self._messages.append('{"event":"clear"}')

    def send_dtmf(self, digits: str) -> None:
        """The stream has no message for it; keys are pressed by REST (``rest.py``).

        Raises:
            LocalProtocolError: The stream is not open.
            UnsupportedByCarrier: Otherwise.
        """
        self._require_open("digits")
        raise UnsupportedByCarrier("telnyx", "DTMF messages on its media stream")

    def send_close(self, reason: str = "") -> None:
        """End the stream without a message: TeXML goes on at the socket's end.

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

    def _queue(self, audio: bytes) -> None:
        wire = swap_bytes(audio) if self._is_sent_swapped else audio
        payload = binascii.b2a_base64(wire, newline=False).decode("ascii")
        self._messages.append(f'{_MEDIA_PREFIX}{payload}"}}}}')

    def _receive_media(self, media: Json) -> None:
        if self._state is not _OPEN:
            self._warn("media_before_start")
            return
        payload = media.get("payload") if isinstance(media, dict) else None
        if not isinstance(media, dict) or not isinstance(payload, str):
            self._warn("malformed_media")
            return
        # Taken for the caller's, the other track would let the bot hear itself.
        if media.get("track", "inbound") not in _CALLERS_TRACK:
            self._warn("foreign_track")
            return
        audio = self._decode(payload)
        if audio is None:
            return
        frame = AudioReceived(audio, _whole_number(media.get("timestamp")))
        chunk = _whole_number(media.get("chunk"))
        if chunk is None:
            self._events.append(frame)
            return
        ready, warning = self._order.take(chunk, frame)
        if warning:
            self._warn(warning)
        self._events.extend(ready)

    def _decode(self, payload: str) -> bytes | None:
        """The audio of a message, in our byte order; None, and a warning, when there is none."""
        try:
            audio = binascii.a2b_base64(payload, strict_mode=True)
            if self._is_received_swapped:
                audio = swap_bytes(audio)
        except ValueError:
            self._warn("malformed_payload", f"{len(payload)} characters")
            return None
        if not audio:
            self._warn("empty_payload")
            return None
        if len(audio) % self._received.bytes_per_sample:
            self._warn("malformed_payload", f"{len(audio)} bytes")
            return None
        return audio

    def _receive_start(self, message: dict[str, Json]) -> None:
        start = message.get("start")
        if not isinstance(start, dict):
            raise RemoteProtocolError("start has no details", close_code=_PROTOCOL_ERROR)
        stream_id = _text(message.get("stream_id")) or _text(start.get("stream_id"))
        if self._state is _OPEN:
            if stream_id != self._stream_id:
                raise RemoteProtocolError(
                    "a second stream was started on one socket", close_code=_PROTOCOL_ERROR
                )
            self._warn("repeated_start")
            return
        call_id = _text(start.get("call_control_id"))
        if not (stream_id and call_id):
            raise RemoteProtocolError("start lacks an id", close_code=_PROTOCOL_ERROR)
        parameters = self._parameters(start)
        self._choose_media(parameters.pop(MEDIA_PARAMETER, None), start.get("media_format"))
        self._state = _OPEN
        self._stream_id = stream_id
        self._events.append(
            StreamStarted(
                stream_id=stream_id,
                carrier_call_id=call_id,
                account_id=_text(start.get("user_id")),
                received_format=self._received,
                sent_format=self._sent,
                from_number=_text(start.get("from")) or None,
                to_number=_text(start.get("to")) or None,
                parameters=parameters,
                raw=dict(message),
            )
        )

    def _choose_media(self, asked: str | None, announced: Json) -> None:
        """Send what was asked for, and receive what is announced: they can differ in one call."""
        media = Media.PCMU
        if asked is not None:
            try:
                media = Media(asked)
            except ValueError:
                raise RemoteProtocolError(
                    f"the parameter {MEDIA_PARAMETER} is none of ours", close_code=_UNSUPPORTED_DATA
                ) from None
        self._sent = MEDIA_FORMATS[media]
        self._is_sent_swapped = media is Media.L16_BIG
        if announced is None:
            self._warn("no_format_announced")
            self._received = self._sent
        else:
            self._received = _announced_format(announced)
        # Which order L16 has is disputed; what was not asked for comes in the network's.
        is_l16 = self._received.encoding is Encoding.L16
        self._is_received_swapped = is_l16 and media is not Media.L16_LITTLE

    def _parameters(self, start: Mapping[str, Json]) -> dict[str, str]:
        """``<Parameter>`` elements, over what a command of ours put into the client state."""
        found = _client_state(start.get("client_state"))
        given = start.get("custom_parameters")
        if isinstance(given, dict):
            kept = {name: value for name, value in given.items() if isinstance(value, str)}
            if len(kept) != len(given):
                self._warn("malformed_parameter")
            found |= kept
        return found

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

    def _receive_error(self, payload: Json) -> None:
        code = _whole_number(payload.get("code")) if isinstance(payload, dict) else None
        self._warn(_ERRORS.get(code or 0, "carrier_unknown_error"), str(code or ""))

    def _receive_stop(self) -> None:
        """An ended call and an ended stream ``stop`` alike."""
        if self._state is _OPEN:
            self._events.extend(self._order.release())
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


def _announced_format(given: Json) -> MediaFormat:
    """The format of what Telnyx sends; refused when we would play it as noise."""
    if isinstance(given, dict):
        encoding = _text(given.get("encoding")).upper()
        rate_hz = _whole_number(given.get("sample_rate")) or 8000
        is_g711 = encoding in (Encoding.PCMU, Encoding.PCMA) and rate_hz == 8000
        is_l16 = encoding == Encoding.L16 and rate_hz in _L16_RATES_HZ
        if (is_g711 or is_l16) and _whole_number(given.get("channels", 1)) == 1:
            return MediaFormat(encoding=Encoding(encoding), sample_rate_hz=rate_hz)
    raise RemoteProtocolError(
        "start announces a format other than PCMU, PCMA and L16", close_code=_UNSUPPORTED_DATA
    )


def _client_state(given: Json) -> dict[str, str]:
    """Text values of a Base64 JSON object; anything else is another's state, and not ours."""
    if not isinstance(given, str) or not given:
        return {}
    try:
        state: object = orjson.loads(binascii.a2b_base64(given, strict_mode=True))
    except ValueError:
        return {}
    if not isinstance(state, dict):
        return {}
    fields = cast("dict[str, object]", state)
    return {name: value for name, value in fields.items() if isinstance(value, str)}


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _whole_number(value: Json) -> int | None:
    """Telnyx writes some numbers as strings, others as integers; None for anything else."""
    if isinstance(value, str):
        return int(value) if len(value) < 19 and value.isascii() and value.isdigit() else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
