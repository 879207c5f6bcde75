from __future__ import annotations

from datetime import UTC
from uuid import UUID

from trunkline.calls.ports import new_call_id, utc_now


def test_times_are_utc() -> None:
    assert utc_now().tzinfo is UTC


def test_call_ids_are_random_uuids() -> None:
    first, second = new_call_id(), new_call_id()
    assert first != second
    assert UUID(first).version == 4
