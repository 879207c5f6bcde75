"""Neutral media-stream events and the stream protocol that every carrier's ``wire.py`` implements.

Sans-IO (websockets ``docs/howto/sansio.rst``): the core turns messages into events and wishes into
messages, and knows no socket and no clock. The shell's loop, after **any** call of a verb::

    core.receive_message(data, now_ms)
    for event in core.events_received(): ...
    for message in core.messages_to_send(): socket.send(message)

Bytes mean a binary WebSocket message, text a text message, in both directions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from trunkline.audio import MediaFormat

__all__ = [
    "AudioCleared",
    "AudioReceived",
    "DtmfReceived",
    "MarkPlayed",
    "ProtocolWarning",
    "StreamEvent",
    "StreamProtocol",
    "StreamStarted",
    "StreamState",
    "StreamStopped",
]


class StreamState(IntEnum):
    """A stream's life."""

    CONNECTING = 0
    """The socket is open, ``start`` has not come."""

    OPEN = 1
    CLOSED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStarted:
    """The carrier's ``start``: the stream is up and audio may flow both ways."""

    stream_id: str
    carrier_call_id: str
    account_id: str
    received_format: MediaFormat
    """Carrier to us."""

    sent_format: MediaFormat
    """Us to carrier."""

    from_number: str | None = None
    to_number: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    """Custom parameters exactly as the carrier delivers them."""

    raw: Mapping[str, object] = field(default_factory=dict[str, object])
    """The whole start message, parsed."""


@dataclass(frozen=True, slots=True)
class AudioReceived:
    """Caller audio in ``received_format``.

    Positional and lean: one for each frame of each call.
    """

    payload: bytes
    timestamp_ms: int | None = None
    """Position in the carrier's media clock, where the carrier sends one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DtmfReceived:
    """One pressed key, one of ``0-9 * # A-D``."""

    digit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkPlayed:
    """A mark came back.

    Carriers echo marks after ``clear`` as well, so the name must carry a generation.
    """

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioCleared:
    """The carrier confirms a ``clear`` (only some do)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStopped:
    """The carrier's own word that the stream is over.

    A lost socket produces none.
    """

    reason: str = ""
    call_ended: bool = True
    """False where the carrier says that only the stream, not the call, has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolWarning:
    """Something odd that does not end the call; counted by ``code``, never logged with payload."""

    code: str
    detail: str = ""


StreamEvent = (
    StreamStarted
    | AudioReceived
    | DtmfReceived
    | MarkPlayed
    | AudioCleared
    | StreamStopped
    | ProtocolWarning
)


class StreamProtocol(Protocol):
    """One media stream; after any call drain ``events_received`` and ``messages_to_send``.

    ``send_*`` raise ``LocalProtocolError`` before ``StreamStarted`` and after the stream has
    closed. ``receive_message`` raises ``RemoteProtocolError`` for what cannot be tolerated, and
    gives a ``ProtocolWarning`` for what can.
    """

    @property
    def state(self) -> StreamState:
        """Where the stream stands."""
        ...

    def receive_message(self, data: bytes | memoryview | str, now_ms: int) -> None:
        """Take one whole WebSocket message.

        ``now_ms`` is the shell's monotonic clock.
        """
        ...

    def receive_eof(self) -> None:
        """The socket is gone, with or without a close frame."""
        ...

    def send_audio(self, payload: bytes) -> None:
        """Any length of audio in ``sent_format``; the core cuts it into what the carrier bears."""
        ...

    def send_mark(self, name: str) -> None:
        """Ask for ``MarkPlayed`` when everything sent so far has been played."""
        ...

    def send_clear(self) -> None:
        """Drop what the carrier has not played yet."""
        ...

    def send_dtmf(self, digits: str) -> None:
        """Press keys; raises ``UnsupportedByCarrier`` where the protocol has no message for it."""
        ...

    def send_close(self, reason: str = "") -> None:
        """What the carrier wants to hear before we close the socket; many want nothing."""
        ...

    def events_received(self) -> Sequence[StreamEvent]:
        """Events since the last call, in order."""
        ...

    def messages_to_send(self) -> Sequence[bytes | str]:
        """Messages since the last call, in order."""
        ...
