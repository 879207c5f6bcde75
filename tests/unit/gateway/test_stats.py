from __future__ import annotations

from trunkline.gateway.stats import Stats


def test_counters_start_at_nothing_and_go_into_the_journal_as_plain_data() -> None:
    stats = Stats()
    stats.frames_in += 3
    stats.warnings["unknown_event"] = 2
    found = stats.as_dict()
    assert found["frames_in"] == 3
    assert found["warnings"] == {"unknown_event": 2}
    assert all(isinstance(value, int | dict) for value in found.values())
