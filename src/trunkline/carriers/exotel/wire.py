"""Exotel AgentStream (Voicebot applet, Connect Voice AI): JSON text messages, linear audio.

https://developer.exotel.com/docs/agentstream
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import orjson

from trunkline.audio import Encoding, MediaFormat
from trunkline.carriers.exotel.account import NUMBER_REGION, SAMPLE_RATES_HZ, ExotelAccount
from trunkline.errors import LocalProtocolError, RemoteProtocolError, UnsupportedByCarrier
from trunkline.telephony.carrier import CarrierAccount
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
from trunkline.telephony.numbers import to_e164

__all__ = [
    "MESSAGE_MS",
    "PAYLOAD_UNIT_BYTES",
    "ExotelStream",
    "message_bytes",
    "new_stream",
    "stream_options",
]

PAYLOAD_UNIT_BYTES = 320
"""A payload is a multiple of so many bytes; of any other length Exotel makes a gap of 20 ms."""

MESSAGE_MS = 100
"""Audio in one message, in milliseconds. Exotel's pages name 3200 bytes as the least and call that
100 ms, which it is at 16 kHz; its own samples send 1600 at 8 kHz (2026-10)."""

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

_CONNECTING, _OPEN, _CLOSED = StreamState.CONNECTING, StreamState.OPEN, StreamState.CLOSED

_BYTES_PER_SAMPLE = 2
_DTMF_DIGITS = frozenset("0123456789*#ABCD")
# ``raw``, ``base64`` and ``audio/x-raw`` all mean 16-bit linear; one of these would be noise.
_OTHER_ENCODINGS = ("mulaw", "ulaw", "alaw", "pcmu", "pcma", "opus", "g711", "g722", "mp3")

# RFC 6455 §7.4.1
_UNSUPPORTED_DATA, _PROTOCOL_ERROR = 1003, 1002


def message_bytes(sample_rate_hz: int, message_ms: int = MESSAGE_MS) -> int:
    """Bytes of audio in one message of ours: the whole units in ``message_ms``, at least one."""
    wanted = sample_rate_hz * message_ms // 1000 * _BYTES_PER_SAMPLE
    return max(PAYLOAD_UNIT_BYTES, wanted - wanted % PAYLOAD_UNIT_BYTES)


class ExotelStream:
    """One AgentStream socket.

    Less than a message of audio waits for more; a mark brings it out, filled up with silence to a
    whole unit, and so does the next caller audio when nothing has been added meanwhile.

    Tolerated with a ``ProtocolWarning``: binary messages, text that is no JSON object, unknown
    events, media before ``start``, fields of the wrong kind, bad base64, half samples, a repeated
    ``start``. Refused with ``RemoteProtocolError``: a ``start`` without its ids or in a format that
    is not linear, a ``start`` of a second stream. Sequence and chunk numbers are not read: TCP
    keeps the order. Exotel's own samples also spell names in camel case, and ``Event`` and
    ``Payload`` with a capital; both are read.

    Args:
        message_ms: Audio in one message of ours, in milliseconds.
    """

    def __init__(self, *, message_ms: int = MESSAGE_MS) -> None:
        self._message_ms = message_ms
        self._message_bytes = message_bytes(SAMPLE_RATES_HZ[0], message_ms)
        self._state = _CONNECTING
        self._events: list[StreamEvent] = []
        self._messages: list[bytes | str] = []
        self._stream_id = ""
        self._ids_json = ""
        self._bytes_per_ms = SAMPLE_RATES_HZ[0] // 1000 * _BYTES_PER_SAMPLE
        self._held = bytearray()
        self._is_growing = False
        self._sent_messages = 0
        self._sent_bytes = 0
        self._receivers: Mapping[str, Callable[[dict[str, Json]], None]] = {
            "start": self._receive_start,
            "mark": self._receive_mark,
            "dtmf": self._receive_dtmf,
            "stop": self._receive_stop,
            # Some of the vendor's code knows this word; no document does.
            "closed": self._receive_stop,
        }

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
        if message is None:
            self._warn("malformed_message", f"{len(data)} characters")
            return
        event = _pick(message, "event", "Event")
        if event == "media":
            self._receive_media(message.get("media"))
        elif isinstance(event, str) and event in self._receivers:
            self._receivers[event](message)
        elif event != "connected":
            self._warn("unknown_event")

    def receive_eof(self) -> None:
        """Note that the socket is gone. There may have been no ``stop``."""
        self._state = _CLOSED

    def send_audio(self, payload: bytes) -> None:
        """Queue linear audio of any length; whole messages leave, the rest waits.

        Exotel buffers, and hangs up on bursts: who calls paces (``Features.lead_ms``).

        Raises:
            LocalProtocolError: The stream is not open.
        """
        self._require_open("audio")
        self._held += payload
        self._is_growing = True
        whole = len(self._held) - len(self._held) % self._message_bytes
        for start in range(0, whole, self._message_bytes):
            self._send_media(self._held[start : start + self._message_bytes])
        del self._held[:whole]

    def send_mark(self, name: str) -> None:
        """Ask for an echo once everything sent before has been played.

        Whether marks come back after ``clear`` is not documented: the name must carry a generation.

        Raises:
            LocalProtocolError: The stream is not open, or ``name`` is empty.
        """
        self._require_open("a mark")
        if not name:
            raise LocalProtocolError("a mark needs a name")
        if self._held:
            self._held += bytes(-len(self._held) % PAYLOAD_UNIT_BYTES)
            self._send_held()
        quoted = orjson.dumps(name).decode()
        self._messages.append(f'{{"event":"mark",{self._ids_json},"mark":{{"name":{quoted}}}}}')

    def send_clear(self) -> None:
        """Drop all audio that has not been played.

        Raises:
            LocalProtocolError: The stream is not open.
        """
        self._require_open("clear")
        self._held.clear()
        self._messages.append(f'{{"event":"clear",{self._ids_json}}}')

    def send_dtmf(self, digits: str) -> None:
        """AgentStream documents no message for it; tones must be sent as audio.

        Raises:
            LocalProtocolError: The stream is not open.
            UnsupportedByCarrier: Otherwise.
        """
        self._require_open("digits")
        raise UnsupportedByCarrier("exotel", "DTMF messages on its media stream")

    def send_close(self, reason: str = "") -> None:
        """End the stream without a message: closing the socket is how a call is given back.

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

    def _send_held(self) -> None:
        """Send the whole units of what waits."""
        whole = len(self._held) - len(self._held) % PAYLOAD_UNIT_BYTES
        if whole:
            self._send_media(self._held[:whole])
            del self._held[:whole]

    def _send_media(self, audio: bytearray) -> None:
        # One sample of Exotel's says that streams without these numbers may end early, and that
        # they are strings (2026-10).
        self._sent_messages += 1
        number = self._sent_messages
        timestamp_ms = self._sent_bytes // self._bytes_per_ms
        self._sent_bytes += len(audio)
        payload = binascii.b2a_base64(audio, newline=False).decode("ascii")
        self._messages.append(
            f'{{"event":"media",{self._ids_json},"media":{{"chunk":"{number}",'
            f'"timestamp":"{timestamp_ms}","sequenceNumber":"{number}","payload":"{payload}"}}}}'
        )

    def _receive_media(self, media: Json) -> None:
        if self._state is not _OPEN:
            self._warn("media_before_start")
            return
        if not self._is_growing:
            self._send_held()
        self._is_growing = False
        payload = _pick(media, "payload", "Payload") if isinstance(media, dict) else None
        if not isinstance(media, dict) or not isinstance(payload, str):
            self._warn("malformed_media")
            return
        try:
            audio = binascii.a2b_base64(payload, strict_mode=True)
        except ValueError:
            self._warn("malformed_payload", f"{len(payload)} characters")
            return
        if not audio:
            self._warn("empty_payload")
        elif len(audio) % _BYTES_PER_SAMPLE:
            # Half a sample would shift all that follows into noise.
            self._warn("malformed_payload", f"{len(audio)} bytes")
        else:
            self._events.append(AudioReceived(audio, _whole_number(media.get("timestamp"))))

    def _receive_start(self, message: dict[str, Json]) -> None:
        start = message.get("start")
        if not isinstance(start, dict):
            raise RemoteProtocolError("start has no details", close_code=_PROTOCOL_ERROR)
        stream_id = _id(start, message, "stream_sid", "streamSid")
        if self._state is _OPEN:
            if stream_id != self._stream_id:
                raise RemoteProtocolError(
                    "a second stream was started on one socket", close_code=_PROTOCOL_ERROR
                )
            self._warn("repeated_start")
            return
        call_id = _id(start, message, "call_sid", "callSid")
        if not (stream_id and call_id):
            raise RemoteProtocolError("start lacks an id", close_code=_PROTOCOL_ERROR)
        media_format = _read_format(_pick(start, "media_format", "mediaFormat"))
        self._open(stream_id, media_format)
        self._events.append(
            StreamStarted(
                stream_id=stream_id,
                carrier_call_id=call_id,
                account_id=_id(start, message, "account_sid", "accountSid"),
                received_format=media_format,
                sent_format=media_format,
                from_number=_number(start.get("from")),
                to_number=_number(start.get("to")),
                parameters=self._parameters(_pick(start, "custom_parameters", "customParameters")),
                raw=dict(message),
            )
        )

    def _open(self, stream_id: str, media_format: MediaFormat) -> None:
        self._state = _OPEN
        self._stream_id = stream_id
        quoted = orjson.dumps(stream_id).decode()
        # The first is documented; samples for Connect Voice AI send the second.
        self._ids_json = f'"stream_sid":{quoted},"streamSid":{quoted}'
        self._bytes_per_ms = media_format.bytes_per_ms
        self._message_bytes = message_bytes(media_format.sample_rate_hz, self._message_ms)

    def _parameters(self, given: Json) -> dict[str, str]:
        """The query of our URL; ``{}`` when there is none, and every value is text."""
        if not isinstance(given, dict):
            return {}
        kept = {name: value for name, value in given.items() if isinstance(value, str)}
        if len(kept) != len(given):
            self._warn("malformed_parameter")
        return kept

    def _receive_mark(self, message: dict[str, Json]) -> None:
        mark = message.get("mark")
        name = mark.get("name") if isinstance(mark, dict) else None
        if self._state is _OPEN and isinstance(name, str):
            self._events.append(MarkPlayed(name=name))
        else:
            self._warn("malformed_mark")

    def _receive_dtmf(self, message: dict[str, Json]) -> None:
        dtmf = message.get("dtmf")
        digit = dtmf.get("digit") if isinstance(dtmf, dict) else None
        if self._state is _OPEN and isinstance(digit, str) and digit.upper() in _DTMF_DIGITS:
            self._events.append(DtmfReceived(digit=digit.upper()))
        else:
            self._warn("malformed_dtmf")

    def _receive_stop(self, message: dict[str, Json]) -> None:
        """``stopped``: only the stream has ended and the flow goes on; ``callended``: the call."""
        stop = message.get("stop")
        reason = stop.get("reason") if isinstance(stop, dict) else None
        if self._state is _OPEN:
            word = reason if isinstance(reason, str) else ""
            self._events.append(StreamStopped(reason=word, call_ended=word != "stopped"))
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


_MESSAGE_MS_OPTION = "message_ms"


def stream_options(account: CarrierAccount) -> Mapping[str, str]:
    """What ``new_stream`` needs to know of an account."""
    return {_MESSAGE_MS_OPTION: str(ExotelAccount.require(account).message_ms)}


def new_stream(options: Mapping[str, str]) -> ExotelStream:
    """Make a stream as ``stream_options`` says."""
    message_ms = _whole_number(options.get(_MESSAGE_MS_OPTION, ""))
    return ExotelStream(message_ms=message_ms or MESSAGE_MS)


def _parse_object(data: str) -> dict[str, Json] | None:
    try:
        message: Json = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return message if isinstance(message, dict) else None


def _pick(fields: dict[str, Json], name: str, other_name: str) -> Json:
    value = fields.get(name)
    return fields.get(other_name) if value is None else value


def _id(start: dict[str, Json], message: dict[str, Json], name: str, other_name: str) -> str:
    """An id, which stands in the details, or beside them."""
    for fields in (start, message):
        value = _pick(fields, name, other_name)
        if isinstance(value, str) and value:
            return value
    return ""


def _number(value: Json) -> str | None:
    return to_e164(value, region=NUMBER_REGION) if isinstance(value, str) and value else None


def _read_format(given: Json) -> MediaFormat:
    """What ``media_format`` says of the sample rate; 8 kHz when it says nothing.

    Raises:
        RemoteProtocolError: We would play it as noise, or at the wrong pitch.
    """
    rate_hz: int | None = SAMPLE_RATES_HZ[0]
    if given is not None:
        fields = given if isinstance(given, dict) else {}
        encoding = fields.get("encoding", "")
        if not isinstance(encoding, str) or any(
            word in encoding.lower() for word in _OTHER_ENCODINGS
        ):
            raise RemoteProtocolError(
                "start announces an encoding other than linear", close_code=_UNSUPPORTED_DATA
            )
        rate = _pick(fields, "sample_rate", "sampleRate")
        rate_hz = SAMPLE_RATES_HZ[0] if rate is None else _whole_number(rate)
    if rate_hz not in SAMPLE_RATES_HZ:
        raise RemoteProtocolError(
            "start announces a sample rate other than 8, 16 and 24 kHz",
            close_code=_UNSUPPORTED_DATA,
        )
    return MediaFormat(encoding=Encoding.L16, sample_rate_hz=rate_hz)


def _whole_number(value: Json) -> int | None:
    """One official page writes numbers as strings, another as numbers; None for anything else."""
    if isinstance(value, str):
        return int(value) if len(value) < 19 and value.isascii() and value.isdigit() else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
