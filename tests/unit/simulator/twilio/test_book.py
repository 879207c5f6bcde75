from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from trunkline.simulator.twilio.book import CallBook, CallEntry, NumberEntry

CAPTURE = Path(__file__).resolve().parents[3] / "captures" / "twilio" / "rest.json"
AT = datetime(2026, 10, 6, 10, 15, tzinfo=UTC)


def new_call(sid: str, *, status: str = "queued", to: str = "+14155550100") -> CallEntry:
    return CallEntry(
        sid=sid,
        account_sid="AC1",
        direction="outbound-api",
        from_number="+15005550006",
        to_number=to,
        created_at=AT,
        status=status,
    )


def test_a_call_has_the_fields_that_twilio_documents() -> None:
    rows = json.loads(CAPTURE.read_text(encoding="utf-8"))
    documented = next(row for row in rows if row["name"] == "create_call")["response"]["json"]
    found = new_call("CA1").to_json()

    assert set(documented) - {"from_formatted", "to_formatted"} == set(found)
    assert found["date_created"] == documented["date_created"]
    assert found["duration"] is None


def test_duration_runs_from_answer_to_end() -> None:
    call = new_call("CA1", status="completed")
    assert call.duration_s == 0
    call.answered_at, call.ended_at = AT, AT + timedelta(seconds=37.4)

    assert call.to_json()["duration"] == "37"
    assert not call.is_open


def test_calls_are_selected_newest_first() -> None:
    book = CallBook()
    for sid, status in (("CA1", "completed"), ("CA2", "in-progress"), ("CA3", "in-progress")):
        book.add(new_call(sid, status=status))
    book.add(new_call("CA4", status="in-progress", to="+14155550199"))

    def select(**where: str) -> list[str]:
        return [call.sid for call in book.select(where, 2)]

    assert select() == ["CA4", "CA3"]
    assert select(Status="in-progress", To="+14155550100") == ["CA3", "CA2"]
    assert select(Status="busy") == []
    assert book.find("CA9") is None


def test_a_number_shows_where_it_leads() -> None:
    number = NumberEntry(sid="PN1", phone_number="+15005550006", voice_url="https://x.test/in")

    assert number.to_json()["voice_url"] == "https://x.test/in"
