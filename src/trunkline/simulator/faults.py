"""What can go wrong on request: the faults that a simulated call may have."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["Fault", "Faults"]


class Fault(StrEnum):
    """One thing that carriers and networks do, and that a server has to bear."""

    DROP_SOCKET = "drop-socket"
    """The media socket is gone in mid-call: no close frame, no ``stop``. So ends the call."""
    NO_STOP = "no-stop"
    """At the end the socket closes without the carrier's word that the stream has ended."""
    NO_START = "no-start"
    """The socket opens, and the stream never starts."""
    STOP_READING = "stop-reading"
    """The carrier's side stops taking what is sent to it, with the socket open."""
    GARBAGE_FRAMES = "garbage-frames"
    """Binary, broken, unknown and undecodable messages among the good ones."""
    ODD_FRAMES = "odd-frames"
    """The caller's audio comes cut at odd places in place of whole frames."""
    DUPLICATE_WEBHOOK = "duplicate-webhook"
    """The first webhook comes twice at once, as a retry does; the second answer counts."""
    DUPLICATE_CALLBACKS = "duplicate-callbacks"
    """Every status callback comes twice."""
    REORDER_CALLBACKS = "reorder-callbacks"
    """Status callbacks overtake one another: each pair comes the wrong way round."""
    BAD_SIGNATURE = "bad-signature"
    """The webhooks are signed with another secret."""
    BAD_UPGRADE_SIGNATURE = "bad-upgrade-signature"
    """The upgrade of the media socket is signed with another secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """The faults of one call."""

    wanted: frozenset[Fault] = field(default_factory=frozenset[Fault])
    after_ms: int = 1000
    """When those that happen in mid-stream happen, in milliseconds after the stream's start."""

    def has(self, fault: Fault) -> bool:
        """Say whether ``fault`` was asked for."""
        return fault in self.wanted
