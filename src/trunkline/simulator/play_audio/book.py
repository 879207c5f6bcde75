"""The carrier's own record of calls: what its REST API shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["CallEntry", "DialForm", "LegControl"]

_OPEN = frozenset({"queued", "ringing", "in-progress"})


class LegControl(Protocol):
    """What the REST API can do to a live call."""

    def end(self) -> None:
        """Hang up."""
        ...

    def transfer(self, url: str, method: str) -> None:
        """Go on with another document, at once."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DialForm:
    """What the server asked for when it created a call."""

    answer_url: str
    answer_method: str
    ring_url: str | None
    hangup_url: str | None
    ring_timeout_s: float
    time_limit_s: float | None
    amd_url: str | None
    """None: machines are not looked for."""


@dataclass(slots=True, kw_only=True)
class CallEntry:
    """One call. It changes as the call goes on."""

    uuid: str
    direction: str
    """``inbound`` or ``outbound``."""
    from_number: str
    """Digits, as webhooks have them."""
    to_number: str
    created_at: datetime
    status: str = "queued"
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    cause: tuple[str, str] = ("", "")
    """Code and name, once it is over."""
    pressed: list[str] = field(default_factory=list[str])
    """Keys that the server has pressed by REST."""
    leg: LegControl | None = field(default=None, repr=False)

    @property
    def is_open(self) -> bool:
        """Whether the call is not over."""
        return self.status in _OPEN

    @property
    def duration_s(self) -> int:
        """Whole seconds from answer to end, 0 for a call that was never answered."""
        if self.answered_at is None:
            return 0
        return round(((self.ended_at or datetime.now(UTC)) - self.answered_at).total_seconds())

    def live(self) -> dict[str, object]:
        """Return the call as it is while it is up."""
        return {
            "api_id": "18f3bbb0-3ef1-11e7-a68e-02d2f90c026e",
            "call_status": self.status,
            "call_uuid": self.uuid,
            "caller_name": "",
            "direction": self.direction,
            "from": self.from_number,
            "to": self.to_number,
            "request_uuid": self.uuid,
            "session_start": _local(self.created_at),
        }

    def record(self) -> dict[str, object]:
        """Return the call detail record that is written after the end."""
        return {
            "api_id": "18f3bbb0-3ef1-11e7-a68e-02d2f90c026e",
            "call_uuid": self.uuid,
            "call_direction": self.direction,
            "from_number": self.from_number,
            "to_number": self.to_number,
            "call_duration": self.duration_s,
            "bill_duration": -(-self.duration_s // 60) * 60,
            "initiation_time": _local(self.created_at),
            "answer_time": _local(self.answered_at),
            "end_time": _local(self.ended_at),
            "hangup_cause_code": int(self.cause[0]) if self.cause[0] else None,
            "hangup_cause_name": self.cause[1],
        }


def _local(at: datetime | None) -> str | None:
    return None if at is None else at.strftime("%Y-%m-%d %H:%M:%S")
