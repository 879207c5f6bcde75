from __future__ import annotations

from datetime import UTC, datetime, timedelta

from trunkline.simulator.play_audio.book import CallEntry

NOON = datetime(2026, 10, 6, 12, tzinfo=UTC)


def call(**changes: object) -> CallEntry:
    entry = CallEntry(
        uuid="C1", direction="outbound", from_number="1312", to_number="1415", created_at=NOON
    )
    for name, value in changes.items():
        setattr(entry, name, value)
    return entry


def test_a_call_that_is_up() -> None:
    live = call(status="in-progress", answered_at=NOON).live()
    assert (live["call_uuid"], live["call_status"], live["from"]) == ("C1", "in-progress", "1312")
    assert live["session_start"] == "2026-10-06 12:00:00"
    assert call(status="ringing").is_open


def test_a_call_that_is_over() -> None:
    entry = call(
        status="completed",
        answered_at=NOON,
        ended_at=NOON + timedelta(seconds=61),
        cause=("4000", "Normal Hangup"),
    )
    assert not entry.is_open
    record = entry.record()
    assert (record["call_duration"], record["bill_duration"]) == (61, 120)
    assert (record["hangup_cause_code"], record["answer_time"]) == (4000, "2026-10-06 12:00:00")


def test_a_call_that_nobody_answered() -> None:
    entry = call(status="busy", ended_at=NOON)
    assert entry.duration_s == 0
    record = entry.record()
    assert (record["answer_time"], record["hangup_cause_code"]) == (None, None)
