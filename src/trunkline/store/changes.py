"""What a change of a call may be, on every store. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

from trunkline.telephony.call import FINAL_STATES, CallState

from .records import CallRecord, NewEvent

__all__ = ["OPEN_STATES", "check_change"]

OPEN_STATES = tuple(state for state in CallState if state not in FINAL_STATES)
"""Asked for by name, since an index can find these but not "all except"."""

_FIXED_FIELDS = {"id", "created_at"}
_CHANGEABLE_FIELDS = {field.name for field in fields(CallRecord)} - _FIXED_FIELDS


def check_change(call_id: str, changes: Mapping[str, object], events: Sequence[NewEvent]) -> None:
    """Refuse what only a bug can ask for.

    Raises:
        ValueError: a field that calls do not have or that never changes, or another call's event.
    """
    unknown = sorted(set(changes) - _CHANGEABLE_FIELDS)
    if unknown:
        raise ValueError(f"calls have no changeable field {unknown[0]!r}")
    if any(event.call_id != call_id for event in events):
        raise ValueError("an event of another call cannot go with this call's change")
