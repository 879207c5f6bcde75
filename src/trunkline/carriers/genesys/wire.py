"""Genesys AudioHook 2, as Audio Connector speaks it: JSON control messages, binary µ-law.

https://developer.genesys.cloud/devapps/audiohook
https://github.com/purecloudlabs/audiohook-reference-implementation
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import TypeAlias

import orjson

from trunkline.audio import Encoding, MediaFormat
from trunkline.errors import LocalProtocolError, RemoteProtocolError, UnsupportedByCarrier
from trunkline.telephony.media import (
    AudioReceived,
    DtmfReceived,
    ProtocolWarning,
    StreamEvent,
    StreamStarted,
    StreamState,
    StreamStopped,
)

__all__ = [
    "FEWEST_MESSAGE_BYTES",
    "MEDIA_FORMAT",
    "MESSAGES_BURST",
    "MESSAGES_PER_S",
    "GenesysStream",
]

MEDIA_FORMAT = MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=8000)
"""The only format that Audio Connector offers; the byte order of its L16 is not documented."""

MESSAGES_PER_S, MESSAGES_BURST = 5, 25
"""Binary messages that an organisation's limits allow: on average, and at once."""

FEWEST_MESSAGE_BYTES = MEDIA_FORMAT.n_bytes(200)
"""Audio in one message, in bytes: 200 ms is just what the average allows."""

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

_CONNECTING, _OPEN, _CLOSED = StreamState.CONNECTING, StreamState.OPEN, StreamState.CLOSED

_VERSION = "2"
_NIL_ID = "00000000-0000-0000-0000-000000000000"
_LONGEST_TEXT_CHARS = 65_535
_LONGEST_ID_CHARS = 64
_FRUGAL_MESSAGE_BYTES = 2 * FEWEST_MESSAGE_BYTES
_MOST_MESSAGE_BYTES = 10 * FEWEST_MESSAGE_BYTES
_BURST_KEPT = 5  # of what may be sent at once, for clocks that do not agree
_FRUGAL_BELOW = 10
_LONGEST_SILENCE_MS = 30_000  # for which a "try again later" is believed

_DTMF_DIGITS = frozenset("0123456789*#ABCD")
_DURATION = re.compile(r"PT(?P<seconds>[0-9]{0,9})(?:\.(?P<fraction>[0-9]{1,9}))?S")
_FAILURES = frozenset({"error", "bot_failed", "carrier_failed", "socket_lost"})

# RFC 6455 §7.4.1
_PROTOCOL_ERROR, _UNSUPPORTED_DATA, _INVALID_PAYLOAD, _TOO_BIG = 1002, 1003, 1007, 1009


class _Phase(Enum):
    """Our side of the session; ``StreamState`` is what the rest of Trunkline sees of it."""

    PREPARING = auto()
    PROBED = auto()
    """A connection test, opened like a session: there is nobody to talk to."""
    ACTIVE = auto()
    PAUSED = auto()
    LEAVING = auto()
    """We have said ``disconnect``; Genesys says ``close``."""
    CLOSED = auto()


_STATES = {
    _Phase.PREPARING: _CONNECTING,
    _Phase.PROBED: _CONNECTING,
    _Phase.ACTIVE: _OPEN,
    _Phase.PAUSED: _OPEN,
    _Phase.LEAVING: _CLOSED,
    _Phase.CLOSED: _CLOSED,
}


class GenesysStream:
    """One AudioHook session, which is one socket.

    Audio waits for a whole message, and for the rate that Genesys allows; the next message of the
    caller's brings out what is left of an utterance. Genesys closes the socket, never we: after
    ``send_close`` it must be read on until ``StreamStopped``.

    Tolerated with a ``ProtocolWarning``: unknown types, audio before ``open`` or during a pause,
    fields of the wrong kind, a repeated ``open``, and what Genesys itself reports as lost or wrong.
    Refused with ``RemoteProtocolError``: what is not a JSON object of this version, a sequence
    number that is not the next, another session's id, an ``open`` without ids or without audio that
    we know.
    """

    def __init__(self) -> None:
        self._phase = _Phase.PREPARING
        self._events: list[StreamEvent] = []
        self._messages: list[bytes | str] = []
        self._session_id = ""
        self._client_seq = 0
        self._seq = 0
        self._received_ms = 0
        self._held = bytearray()
        self._is_growing = False
        self._can_be_cleared = True
        self._budget = _MessageBudget(MESSAGES_PER_S, MESSAGES_BURST - _BURST_KEPT)
        self._silent_until_ms: int | None = None
        self._receivers: Mapping[str, Callable[[dict[str, Json], int], None]] = {
            "open": self._receive_open,
            "ping": self._receive_ping,
            "close": self._receive_close,
            "dtmf": self._receive_dtmf,
            "paused": self._receive_paused,
            "resumed": self._receive_resumed,
            "discarded": self._receive_discarded,
            "update": self._receive_update,
            "error": self._receive_error,
            # They bracket what plays, without saying which audio it was.
            "playback_started": self._receive_nothing,
            "playback_completed": self._receive_nothing,
        }

    @property
    def state(self) -> StreamState:
        """Where the stream stands."""
        return _STATES[self._phase]

    def receive_message(self, data: bytes | memoryview | str, now_ms: int) -> None:
        """Take one WebSocket message; once the session is closed, drop it: messages cross.

        Raises:
            RemoteProtocolError: See the class.
        """
        if self._phase is _Phase.CLOSED:
            return
        self._budget.advance(now_ms)
        if self._silent_until_ms is not None and now_ms >= self._silent_until_ms:
            self._silent_until_ms = None
        if isinstance(data, str):
            self._receive_text(data, now_ms)
        else:
            self._receive_audio(bytes(data))
        if self._phase is _Phase.ACTIVE:
            self._pump(is_tail=not self._is_growing)
            self._is_growing = False

    def receive_eof(self) -> None:
        """Note that the socket is gone. There may have been no ``close``."""
        self._phase = _Phase.CLOSED

    def send_audio(self, payload: bytes) -> None:
        """Queue µ-law audio of any length; during a pause it waits.

        Raises:
            LocalProtocolError: The stream is not open.
        """
        self._require_open("audio")
        self._held += payload
        self._is_growing = True
        if self._phase is _Phase.ACTIVE:
            self._pump(is_tail=False)

    def send_mark(self, name: str) -> None:
        """AudioHook has no marks.

        Raises:
            LocalProtocolError: The stream is not open.
            UnsupportedByCarrier: Otherwise.
        """
        self._require_open("a mark")
        raise UnsupportedByCarrier("genesys", "marks")

    def send_clear(self) -> None:
        """Drop what has not been played: ``barge_in``, once for what has been sent since the last.

        Raises:
            LocalProtocolError: The stream is not open.
        """
        self._require_open("clear")
        self._held.clear()
        if self._can_be_cleared:
            self._can_be_cleared = False
            self._send("event", {"entities": [{"type": "barge_in", "data": {}}]})

    def send_dtmf(self, digits: str) -> None:
        """AudioHook has no message for it; tones must be sent as audio.

        Raises:
            LocalProtocolError: The stream is not open.
            UnsupportedByCarrier: Otherwise.
        """
        self._require_open("digits")
        raise UnsupportedByCarrier("genesys", "DTMF messages on its media stream")

    def send_close(self, reason: str = "") -> None:
        """Give the call back to the flow: ``disconnect``, upon which Genesys says ``close``.

        The flow takes its failure path if ``reason`` is one of an end that nobody wanted.

        Raises:
            LocalProtocolError: The stream is not open.
        """
        self._require_open("a close")
        while self._held and self._phase is _Phase.ACTIVE and self._silent_until_ms is None:
            self._send_held(_MOST_MESSAGE_BYTES)
        self._held.clear()
        parameters: dict[str, Json] = {"reason": "error" if reason in _FAILURES else "completed"}
        if reason:
            parameters["info"] = reason
        self._send("disconnect", parameters)
        self._phase = _Phase.LEAVING

    def events_received(self) -> Sequence[StreamEvent]:
        """Events since the last call, in order."""
        events = self._events
        if not events:
            return ()
        self._events = []
        return events

    def messages_to_send(self) -> Sequence[bytes | str]:
        """Messages since the last call, in order. They are numbered: none may be left out."""
        messages = self._messages
        if not messages:
            return ()
        self._messages = []
        return messages

    # to Genesys

    def _send(self, kind: str, parameters: dict[str, Json]) -> None:
        self._seq += 1
        message: dict[str, Json] = {
            "version": _VERSION,
            "id": self._session_id,
            "type": kind,
            "seq": self._seq,
            "clientseq": self._client_seq,
            # Always there, even when empty: a client that misses it loses count.
            "parameters": parameters,
        }
        self._messages.append(orjson.dumps(message).decode())

    def _pump(self, *, is_tail: bool) -> None:
        """Send whole messages while the rate allows; at a tail, what is left as well."""
        while self._held and self._silent_until_ms is None:
            # What comes at once, and not as it is spoken, travels in few large messages.
            fewest = (
                _FRUGAL_MESSAGE_BYTES if self._budget.left < _FRUGAL_BELOW else FEWEST_MESSAGE_BYTES
            )
            if len(self._held) < fewest and not is_tail:
                return
            if not self._budget.take():
                return
            is_burst = len(self._held) > 2 * _FRUGAL_MESSAGE_BYTES
            self._send_held(_MOST_MESSAGE_BYTES if is_burst else fewest)

    def _send_held(self, n_bytes: int) -> None:
        self._messages.append(bytes(self._held[:n_bytes]))
        self._can_be_cleared = True
        del self._held[:n_bytes]

    # from Genesys

    def _receive_audio(self, audio: bytes) -> None:
        if self._phase is _Phase.LEAVING:
            return
        if self._phase is not _Phase.ACTIVE:
            self._warn("media_in_pause" if self._phase is _Phase.PAUSED else "media_before_start")
        elif not audio:
            self._warn("empty_payload")
        else:
            self._events.append(AudioReceived(audio, self._received_ms))
            self._received_ms += MEDIA_FORMAT.duration_ms(len(audio))

    def _receive_text(self, data: str, now_ms: int) -> None:
        message = _parse_object(data)
        kind = message.get("type")
        if message.get("version") != _VERSION or not isinstance(kind, str):
            raise RemoteProtocolError("a message is not of AudioHook 2", close_code=_PROTOCOL_ERROR)
        session_id = message.get("id")
        if not isinstance(session_id, str) or not 0 < len(session_id) <= _LONGEST_ID_CHARS:
            raise RemoteProtocolError("a message has no id", close_code=_PROTOCOL_ERROR)
        if self._session_id and session_id != self._session_id:
            raise RemoteProtocolError("another session's message", close_code=_PROTOCOL_ERROR)
        self._count(message)
        self._session_id = session_id
        receive = self._receivers.get(kind)
        if receive is None:
            self._warn("unknown_event")
        else:
            receive(message, now_ms)

    def _count(self, message: dict[str, Json]) -> None:
        """Check both numbers; Genesys' own implementations end a session over them, too."""
        seq, server_seq = message.get("seq"), message.get("serverseq", 0)
        if isinstance(seq, bool) or seq != self._client_seq + 1:
            raise RemoteProtocolError(
                "a message is not the next in sequence", close_code=_PROTOCOL_ERROR
            )
        if not isinstance(server_seq, int) or not 0 <= server_seq <= self._seq:
            raise RemoteProtocolError(
                "a message confirms what was not sent", close_code=_PROTOCOL_ERROR
            )
        self._client_seq += 1

    def _receive_open(self, message: dict[str, Json], now_ms: int) -> None:
        if self._phase is not _Phase.PREPARING:
            self._warn("repeated_start")
            return
        parameters = _object(message, "parameters")
        participant = _object(parameters, "participant")
        organization_id = _text(parameters, "organizationId")
        conversation_id = _text(parameters, "conversationId")
        if not (organization_id and conversation_id):
            raise RemoteProtocolError("open lacks an id", close_code=_PROTOCOL_ERROR)
        media = _choose_media(parameters.get("media"))
        # At once: Genesys waits 5 s, and what the bot needs may take longer.
        self._send("opened", {"startPaused": False, "media": [media]})
        if conversation_id == _NIL_ID and participant.get("id") == _NIL_ID:
            self._phase = _Phase.PROBED
            self._warn("connection_probe")
            return
        self._phase = _Phase.ACTIVE
        self._events.append(
            StreamStarted(
                stream_id=self._session_id,
                carrier_call_id=conversation_id,
                account_id=organization_id,
                received_format=MEDIA_FORMAT,
                sent_format=MEDIA_FORMAT,
                from_number=_number(participant, "ani"),
                to_number=_number(participant, "dnis"),
                parameters=self._variables(parameters.get("inputVariables")),
                raw=dict(message),
            )
        )

    def _variables(self, given: Json) -> dict[str, str]:
        """The action's inputs; ``{}`` when there are none, and every value is text."""
        if not isinstance(given, dict):
            return {}
        kept = {name: value for name, value in given.items() if isinstance(value, str)}
        if len(kept) != len(given):
            self._warn("malformed_parameter")
        return kept

    def _receive_ping(self, message: dict[str, Json], now_ms: int) -> None:
        self._send("pong", {})

    def _receive_close(self, message: dict[str, Json], now_ms: int) -> None:
        """Confirm, whatever has been said before. Only ``end`` means that the call is over."""
        reason = _text(_object(message, "parameters"), "reason")
        was_probe = self._phase is _Phase.PROBED
        self._held.clear()
        self._send("closed", {})
        self._phase = _Phase.CLOSED
        self._events.append(
            StreamStopped(reason="probe" if was_probe else reason, call_ended=reason == "end")
        )

    def _receive_dtmf(self, message: dict[str, Json], now_ms: int) -> None:
        digit = _text(_object(message, "parameters"), "digit").upper()
        if self._phase is _Phase.LEAVING:
            return
        if self.state is _OPEN and digit in _DTMF_DIGITS:
            self._events.append(DtmfReceived(digit=digit))
        else:
            self._warn("malformed_dtmf")

    def _receive_paused(self, message: dict[str, Json], now_ms: int) -> None:
        """Hold, or a pause that must not be recorded: both directions stop."""
        if self._phase is _Phase.ACTIVE:
            self._phase = _Phase.PAUSED
        self._warn("paused")

    def _receive_resumed(self, message: dict[str, Json], now_ms: int) -> None:
        if self._phase is _Phase.PAUSED:
            self._phase = _Phase.ACTIVE
        self._skip(message)

    def _receive_discarded(self, message: dict[str, Json], now_ms: int) -> None:
        """Genesys threw audio of the caller's away; it shows as a step in ``timestamp_ms``."""
        self._skip(message)
        self._warn("audio_discarded")

    def _skip(self, message: dict[str, Json]) -> None:
        lost_ms = _duration_ms(_object(message, "parameters").get("discarded"))
        self._received_ms += lost_ms or 0

    def _receive_update(self, message: dict[str, Json], now_ms: int) -> None:
        """The language was changed; bots do not follow it."""
        if self._phase is not _Phase.PREPARING:
            self._send("updated", {})

    def _receive_error(self, message: dict[str, Json], now_ms: int) -> None:
        """Genesys complains; with ``retryAfter`` it wants silence for a while (429)."""
        parameters = _object(message, "parameters")
        code = parameters.get("code")
        self._warn("carrier_error", str(code) if isinstance(code, int) else "")
        wait_ms = _duration_ms(parameters.get("retryAfter"))
        if wait_ms:
            self._silent_until_ms = now_ms + min(wait_ms, _LONGEST_SILENCE_MS)

    def _receive_nothing(self, message: dict[str, Json], now_ms: int) -> None:
        return

    def _require_open(self, what: str) -> None:
        if self.state is not _OPEN:
            raise LocalProtocolError(
                f"{what} cannot be sent while the stream is {self.state.name.lower()}"
            )

    def _warn(self, code: str, detail: str = "") -> None:
        self._events.append(ProtocolWarning(code=code, detail=detail))


class _MessageBudget:
    """How many messages may be sent now: a bucket that fills again with time.

    Args:
        per_s: How fast, in messages a second.
        burst: How many at most.
    """

    __slots__ = ("_burst", "_now_ms", "_per_s", "left")

    def __init__(self, per_s: int, burst: int) -> None:
        self._per_s = per_s
        self._burst = burst
        self._now_ms: int | None = None
        self.left = float(burst)

    def advance(self, now_ms: int) -> None:
        """Let time pass."""
        if self._now_ms is not None:
            gained = max(now_ms - self._now_ms, 0) * self._per_s / 1000
            self.left = min(self.left + gained, self._burst)
        self._now_ms = now_ms

    def take(self) -> bool:
        """Use one, if there is one."""
        if self.left < 1:
            return False
        self.left -= 1
        return True


def _parse_object(data: str) -> dict[str, Json]:
    if len(data) > _LONGEST_TEXT_CHARS:
        raise RemoteProtocolError("a message is too long", close_code=_TOO_BIG)
    try:
        message: Json = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise RemoteProtocolError("a message is not JSON", close_code=_INVALID_PAYLOAD) from None
    if not isinstance(message, dict):
        raise RemoteProtocolError("a message is not a JSON object", close_code=_INVALID_PAYLOAD)
    return message


def _choose_media(offered: Json) -> dict[str, Json]:
    """The first offer of the caller alone in µ-law, unchanged, as the answer must have it.

    Raises:
        RemoteProtocolError: There is none.
    """
    for media in offered if isinstance(offered, list) else ():
        if isinstance(media, dict) and (
            media.get("type"),
            media.get("format"),
            media.get("rate"),
            media.get("channels"),
        ) == ("audio", "PCMU", 8000, ["external"]):
            return media
    raise RemoteProtocolError(
        "open offers no audio of the caller in mu-law at 8 kHz", close_code=_UNSUPPORTED_DATA
    )


def _object(fields: dict[str, Json], name: str) -> dict[str, Json]:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def _text(fields: dict[str, Json], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _number(participant: dict[str, Json], name: str) -> str | None:
    """``tel:+4420…`` is a number; a ``sip:`` address stays one."""
    return _text(participant, name).removeprefix("tel:") or None


def _duration_ms(value: Json) -> int | None:
    """ISO 8601 of the form ``PT1.5S``, in milliseconds; None for anything else."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    fraction = (match["fraction"] or "")[:3].ljust(3, "0")
    return int(match["seconds"] or 0) * 1000 + int(fraction)
