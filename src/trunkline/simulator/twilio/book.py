"""Twilio's own record of calls and numbers: what its REST API shows (docs of the Call resource)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Protocol

__all__ = ["OPEN_STATUSES", "CallBook", "CallEntry", "LegControl", "NumberEntry"]

OPEN_STATUSES = frozenset({"queued", "initiated", "ringing", "in-progress"})


class LegControl(Protocol):
    """What the REST API can do to a live call."""

    def end(self) -> None:
        """Hang up."""
        ...

    def replace(self, *, url: str | None, method: str, twiml: str | None) -> None:
        """Go on with another document, at once."""
        ...


@dataclass(slots=True, kw_only=True)
class CallEntry:
    """One call. It changes as the call goes on."""

    sid: str
    account_sid: str
    direction: str
    """``inbound`` or ``outbound-api``."""
    from_number: str
    to_number: str
    created_at: datetime
    status: str = "queued"
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    answered_by: str | None = None
    leg: LegControl | None = field(default=None, repr=False)

    @property
    def is_open(self) -> bool:
        """Whether the call is not over."""
        return self.status in OPEN_STATUSES

    @property
    def duration_s(self) -> int:
        """Whole seconds from answer to end, 0 for a call that was never answered."""
        if self.answered_at is None:
            return 0
        return round(((self.ended_at or datetime.now(UTC)) - self.answered_at).total_seconds())

    def to_json(self) -> dict[str, object]:
        """Return the Call resource."""
        uri = f"/2010-04-01/Accounts/{self.account_sid}/Calls/{self.sid}"
        return {
            "sid": self.sid,
            "account_sid": self.account_sid,
            "api_version": "2010-04-01",
            "answered_by": self.answered_by,
            "caller_name": None,
            "date_created": _rfc2822(self.created_at),
            "date_updated": _rfc2822(self.ended_at or self.answered_at or self.created_at),
            "direction": self.direction,
            "duration": None if self.ended_at is None else str(self.duration_s),
            "start_time": _rfc2822(self.answered_at),
            "end_time": _rfc2822(self.ended_at),
            "forwarded_from": None,
            "from": self.from_number,
            "to": self.to_number,
            "group_sid": None,
            "parent_call_sid": None,
            "phone_number_sid": None,
            "price": None,
            "price_unit": "USD",
            "queue_time": "0",
            "status": self.status,
            "trunk_sid": None,
            "uri": f"{uri}.json",
            "subresource_uris": {
                "recordings": f"{uri}/Recordings.json",
                "streams": f"{uri}/Streams.json",
            },
        }


@dataclass(slots=True, kw_only=True)
class NumberEntry:
    """One phone number of the account."""

    sid: str
    phone_number: str
    voice_url: str = ""
    voice_method: str = "POST"
    status_callback: str = ""

    def to_json(self) -> dict[str, object]:
        """Return the IncomingPhoneNumber resource."""
        return {
            "sid": self.sid,
            "phone_number": self.phone_number,
            "friendly_name": self.phone_number,
            "voice_url": self.voice_url,
            "voice_method": self.voice_method,
            "status_callback": self.status_callback,
            "capabilities": {"voice": True, "sms": False, "mms": False, "fax": False},
        }


class CallBook:
    """All calls, newest last."""

    def __init__(self) -> None:
        self._calls: dict[str, CallEntry] = {}

    def add(self, call: CallEntry) -> None:
        """Write a new call down."""
        self._calls[call.sid] = call

    def find(self, sid: str) -> CallEntry | None:
        """Return a call by its sid."""
        return self._calls.get(sid)

    def select(self, where: Mapping[str, str], limit: int) -> Sequence[CallEntry]:
        """Return calls, newest first, that fit ``Status``, ``From`` and ``To``."""
        found = [
            call
            for call in reversed(self._calls.values())
            if where.get("Status", call.status) == call.status
            and where.get("To", call.to_number) == call.to_number
            and where.get("From", call.from_number) == call.from_number
        ]
        return found[:limit]


def _rfc2822(at: datetime | None) -> str | None:
    return None if at is None else format_datetime(at)
