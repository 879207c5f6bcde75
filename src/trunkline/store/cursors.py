"""Cursors of keyset pages: where the last page ended, opaque to clients. Pure functions."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime

from trunkline.errors import InvalidRequest

from .records import CallRecord
from .values import check_text, check_time

__all__ = ["CallPosition", "check_limit", "decode_cursor", "encode_cursor"]

LONGEST_CURSOR = 512  # characters; ours have about 100


@dataclass(frozen=True, slots=True, kw_only=True)
class CallPosition:
    """Pages go on with the calls that sort below this one by (created_at, id)."""

    created_at: datetime
    call_id: str


def encode_cursor(last: CallRecord) -> str:
    """Return the cursor of the page that ends with ``last``."""
    text = json.dumps([check_time(last.created_at).isoformat(), last.id], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> CallPosition:
    """Read a cursor that a client sent back.

    Raises:
        InvalidRequest: it is none of ours.
    """
    try:
        if len(cursor) > LONGEST_CURSOR:
            raise ValueError
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        parts: object = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        match parts:
            case [str(time), str(call_id)]:
                return CallPosition(
                    created_at=check_time(datetime.fromisoformat(time)), call_id=check_text(call_id)
                )
            case _:
                raise ValueError
    # Bad base64 and bad Unicode are ValueErrors too.
    except (ValueError, OverflowError, RecursionError):
        raise InvalidRequest(
            "cursor is not one that this server gave out", field="cursor"
        ) from None


def check_limit(limit: int) -> int:
    """Raises ``InvalidRequest`` unless ``limit`` asks for something."""
    if limit < 1:
        raise InvalidRequest("limit must be at least 1", field="limit")
    return limit
