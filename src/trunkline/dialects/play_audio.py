"""The JSON stream of ``start``, ``playAudio``, ``checkpoint`` and ``clearAudio``.

Two carriers speak it. What they do alike is here; where they differ is a field of
``PlayAudioRules`` (docs/carriers/plivo.md, docs/carriers/vobiz.md).
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import orjson

from trunkline.audio import Encoding, MediaFormat, swap_bytes
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

__all__ = ["PCMU_8K", "PlayAudioRules", "PlayAudioStream", "parse_extra_headers"]

PCMU_8K = MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=8000)
"""What our markup asks for."""

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

_CONNECTING, _OPEN, _CLOSED = StreamState.CONNECTING, StreamState.OPEN, StreamState.CLOSED

_FORMATS: Mapping[tuple[str, int], MediaFormat] = {
    ("audio/x-mulaw", 8000): PCMU_8K,
    ("audio/x-l16", 8000): MediaFormat(encoding=Encoding.L16, sample_rate_hz=8000),
    ("audio/x-l16", 16000): MediaFormat(encoding=Encoding.L16, sample_rate_hz=16000),
    ("audio/x-l16", 24000): MediaFormat(encoding=Encoding.L16, sample_rate_hz=24000),
}
_CONTENT_TYPES = {Encoding.PCMU: "audio/x-mulaw", Encoding.L16: "audio/x-l16"}

_DTMF_DIGITS = frozenset("0123456789*#ABCD")

# RFC 6455 §7.4.1
_UNSUPPORTED_DATA, _INVALID_PAYLOAD, _PROTOCOL_ERROR = 1003, 1007, 1002


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayAudioRules:
    """Where the carriers that speak this differ."""

    carrier: str
    """Name, for errors."""
    message_ms: int
    """Longest audio in one message, in milliseconds."""
    audio_names_stream: bool
    """``playAudio`` carries the ``streamId``."""
    sends_dtmf: bool
    """There is a message that presses keys."""
    closes_with_stop: bool
    """A ``stop`` of ours ends the stream, and the call goes on with the next element."""
    held_until_cleared_ms: int = 0
    """After ``clearAudio`` new audio waits so long at most for ``clearedAudio``: the carrier would
    clear it as well. 0: nothing waits."""
    early_frames: int = 0
    """Frames kept that come before ``start``; what is above that is dropped."""
    received_big_endian: bool = False
    """Byte order of L16, carrier to us."""
    sent_big_endian: bool = False
    """Byte order of L16, us to carrier."""


class PlayAudioStream:
    """One media socket.

    Tolerated with a ``ProtocolWarning``: binary messages, unknown events, media of another track
    or, above what is kept, before ``start``, fields of the wrong kind, bad base64, a repeated
    ``start``. Refused with ``RemoteProtocolError``: what is not a JSON object, a ``start`` without
    its ids or in a format that we do not have, a ``start`` of a second stream. Sequence numbers are
    not read: TCP keeps the order.
    """

    def __init__(self, rules: PlayAudioRules) -> None:
        self._rules = rules
        self._state = _CONNECTING
        self._events: list[StreamEvent] = []
        self._messages: list[bytes | str] = []
        self._early: list[Json] = []
        self._held: list[str] = []
        self._cleared_at_ms: int | None = None
        self._now_ms = 0
        self._stream_id = ""
        self._stream_id_json = '""'
        self._format = PCMU_8K
        self._audio_prefix = ""
        self._receivers: Mapping[str, Callable[[dict[str, Json]], None]] = {
            "start": self._receive_start,
            "playedstream": self._receive_played,
            # One support article of Plivo's calls it so.
            "played": self._receive_played,
            "clearedaudio": self._receive_cleared,
            "dtmf": self._receive_dtmf,
            "stop": self._receive_stop,
            "playfailed": self._receive_failure,
            "error": self._receive_failure,
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
        self._now_ms = now_ms
        if self._cleared_at_ms is not None:
            self._release_overdue()
        if not isinstance(data, str):
            self._warn("binary_message", f"{len(data)} bytes")
            return
        message = _parse_object(data)
        event = message.get("event")
        # Fifty a second and call, so it is looked for first.
        if event == "media":
            self._receive_media(message.get("media"))
            return
        # The pages disagree about letters' case, too.
        receive = self._receivers.get(event.lower()) if isinstance(event, str) else None
        if receive is None:
            self._warn("unknown_event")
        else:
            receive(message)

    def receive_eof(self) -> None:
        """Note that the socket is gone; it is how these carriers end a stream."""
        self._state = _CLOSED

    def send_audio(self, payload: bytes) -> None:
        """Queue audio of any length, cut into messages of ``message_ms`` at most.

        Raises:
            LocalProtocolError: The stream is not open.
        """
        self._require_open("audio")
        if self._rules.sent_big_endian and self._format.encoding is Encoding.L16:
            payload = swap_bytes(payload)
        step = self._format.n_bytes(self._rules.message_ms)
        for start in range(0, len(payload), step):
            chunk = binascii.b2a_base64(payload[start : start + step], newline=False)
            self._queue(f'{self._audio_prefix}{chunk.decode("ascii")}"}}}}')

    def send_mark(self, name: str) -> None:
        """Ask for word of ``name`` once everything sent before has been played.

        A ``clear`` voids it without a word.

        Raises:
            LocalProtocolError: The stream is not open, or ``name`` is empty.
        """
        self._require_open("a mark")
        if not name:
            raise LocalProtocolError("a mark needs a name")
        quoted = orjson.dumps(name).decode()
        self._queue(f'{{"event":"checkpoint","streamId":{self._stream_id_json},"name":{quoted}}}')

    def send_clear(self) -> None:
        """Drop all audio that has not been played, what is still held here included.

        Raises:
            LocalProtocolError: The stream is not open.
        """
        self._require_open("clear")
        self._held.clear()
        self._messages.append(f'{{"event":"clearAudio","streamId":{self._stream_id_json}}}')
        if self._rules.held_until_cleared_ms:
            self._cleared_at_ms = self._now_ms

    def send_dtmf(self, digits: str) -> None:
        """Press keys.

        Raises:
            LocalProtocolError: The stream is not open, or there is no key.
            UnsupportedByCarrier: There is no such message.
        """
        self._require_open("digits")
        if not self._rules.sends_dtmf:
            raise UnsupportedByCarrier(self._rules.carrier, "DTMF messages on its media stream")
        if not digits:
            raise LocalProtocolError("there is no key to press")
        self._messages.append(f'{{"event":"sendDTMF","dtmf":{orjson.dumps(digits).decode()}}}')

    def send_close(self, reason: str = "") -> None:
        """End the stream; what is held is let go first, for the caller to decide about.

        Raises:
            LocalProtocolError: The stream is not open.
        """
        self._require_open("a close")
        self._release()
        if self._rules.closes_with_stop:
            self._messages.append(f'{{"event":"stop","streamId":{self._stream_id_json}}}')
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

    def _queue(self, message: str) -> None:
        """Send after a ``clear`` in flight has been confirmed, in order."""
        if self._cleared_at_ms is None:
            self._messages.append(message)
        else:
            self._held.append(message)

    def _release_overdue(self) -> None:
        waited_ms = self._now_ms - (self._cleared_at_ms or 0)
        if waited_ms >= self._rules.held_until_cleared_ms:
            self._warn("clear_unconfirmed")
            self._release()

    def _release(self) -> None:
        self._cleared_at_ms = None
        self._messages.extend(self._held)
        self._held.clear()

    def _receive_media(self, media: Json) -> None:
        if self._state is _CONNECTING:
            if len(self._early) < self._rules.early_frames:
                self._early.append(media)
            else:
                self._warn("media_before_start")
            return
        payload = media.get("payload") if isinstance(media, dict) else None
        if not isinstance(media, dict) or not isinstance(payload, str):
            self._warn("malformed_media")
            return
        # Only one-way streams carry the other track; taken for the caller's, the bot would hear
        # itself.
        if media.get("track", "inbound") != "inbound":
            self._warn("foreign_track")
            return
        try:
            audio = binascii.a2b_base64(payload, strict_mode=True)
        except ValueError:
            self._warn("malformed_payload", f"{len(payload)} characters")
            return
        if not audio:
            self._warn("empty_payload")
            return
        if self._rules.received_big_endian and self._format.encoding is Encoding.L16:
            if len(audio) % 2:
                self._warn("malformed_payload", f"{len(audio)} bytes of 16-bit samples")
                return
            audio = swap_bytes(audio)
        self._events.append(AudioReceived(audio, _whole_number(media.get("timestamp"))))

    def _receive_start(self, message: dict[str, Json]) -> None:
        start = message.get("start")
        if not isinstance(start, dict):
            raise RemoteProtocolError("start has no details", close_code=_PROTOCOL_ERROR)
        stream_id = _text(start.get("streamId")) or _text(message.get("streamId"))
        if self._state is _OPEN:
            if stream_id != self._stream_id:
                raise RemoteProtocolError(
                    "a second stream was started on one socket", close_code=_PROTOCOL_ERROR
                )
            self._warn("repeated_start")
            return
        call_id = _text(start.get("callId"))
        if not (stream_id and call_id):
            raise RemoteProtocolError("start lacks an id", close_code=_PROTOCOL_ERROR)
        self._format = _media_format(start.get("mediaFormat"))
        self._open(stream_id)
        self._events.append(
            StreamStarted(
                stream_id=stream_id,
                carrier_call_id=call_id,
                account_id=_text(start.get("accountId")),
                received_format=self._format,
                sent_format=self._format,
                parameters=self._parameters(message.get("extra_headers")),
                raw=dict(message),
            )
        )
        early, self._early = self._early, []
        for media in early:
            self._receive_media(media)

    def _open(self, stream_id: str) -> None:
        self._state = _OPEN
        self._stream_id = stream_id
        self._stream_id_json = orjson.dumps(stream_id).decode()
        named = f'"streamId":{self._stream_id_json},' if self._rules.audio_names_stream else ""
        self._audio_prefix = (
            f'{{"event":"playAudio",{named}"media":'
            f'{{"contentType":"{_CONTENT_TYPES[self._format.encoding]}",'
            f'"sampleRate":{self._format.sample_rate_hz},"payload":"'
        )

    def _parameters(self, given: Json) -> Mapping[str, str]:
        if isinstance(given, str):
            return parse_extra_headers(given)
        if given is not None:
            self._warn("malformed_parameter")
        return {}

    def _receive_played(self, message: dict[str, Json]) -> None:
        name = message.get("name")
        if self._state is _OPEN and isinstance(name, str):
            self._events.append(MarkPlayed(name=name))
        else:
            self._warn("malformed_mark")

    def _receive_cleared(self, message: dict[str, Json]) -> None:
        if self._state is not _OPEN:
            self._warn("cleared_before_start")
            return
        self._events.append(AudioCleared())
        self._release()

    def _receive_dtmf(self, message: dict[str, Json]) -> None:
        dtmf = message.get("dtmf")
        digit = _text(dtmf.get("digit")).upper() if isinstance(dtmf, dict) else ""
        if self._state is _OPEN and digit in _DTMF_DIGITS:
            self._events.append(DtmfReceived(digit=digit))
        else:
            self._warn("malformed_dtmf")

    def _receive_failure(self, message: dict[str, Json]) -> None:
        """The carrier could not play what we sent. Its reason may be any text."""
        self._warn("play_failed")

    def _receive_stop(self, message: dict[str, Json]) -> None:
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


def parse_extra_headers(text: str) -> Mapping[str, str]:
    """Read the custom headers of a stream: ``a=1;b=2``, ``a=1,b=2`` or a JSON object.

    All three are seen, with and without braces. What has no name is left out; anybody may have
    written it, so nothing here proves anything.
    """
    try:
        found: Json = orjson.loads(text)
    except orjson.JSONDecodeError:
        inner = text.strip().removeprefix("{").removesuffix("}")
        pairs = (pair.partition("=") for pair in inner.split(";" if ";" in inner else ","))
        return {
            name.strip(): value.strip() for name, equals, value in pairs if equals and name.strip()
        }
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _parse_object(data: str) -> dict[str, Json]:
    try:
        message: Json = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise RemoteProtocolError("a message is not JSON", close_code=_INVALID_PAYLOAD) from None
    if not isinstance(message, dict):
        raise RemoteProtocolError("a message is not a JSON object", close_code=_INVALID_PAYLOAD)
    return message


def _media_format(given: Json) -> MediaFormat:
    """Refuse a format that we would play as noise. None named: the one that our markup asks for."""
    if given is None:
        return PCMU_8K
    if isinstance(given, dict):
        # The XML's form, ``audio/x-mulaw;rate=8000``, may be repeated here.
        encoding = _text(given.get("encoding")).partition(";")[0].strip().lower()
        found = _FORMATS.get((encoding, _whole_number(given.get("sampleRate")) or 0))
        if found is not None:
            return found
    raise RemoteProtocolError(
        "start announces a format other than mu-law or 16-bit linear audio",
        close_code=_UNSUPPORTED_DATA,
    )


def _text(value: Json) -> str:
    """Ids and digits are text in some pages and whole numbers in others."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else ""


def _whole_number(value: Json) -> int | None:
    """Numbers are integers in current pages, text in older ones; None for anything else."""
    if isinstance(value, str):
        return int(value) if len(value) < 19 and value.isascii() and value.isdigit() else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
