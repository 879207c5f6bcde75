from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from trunkline.dispatch.messages import JournalEntry
from trunkline.gateway import journal as journal_module
from trunkline.gateway.journal import Journal, read_segment


class Opened:
    """A journal with what it pushed."""

    def __init__(self, folder: Path) -> None:
        self.pushed: list[JournalEntry] = []
        self.journal = Journal(folder, "gateway-0", self.pushed.append)

    def close(self) -> None:
        self.journal.close()


def kinds(entries: list[JournalEntry]) -> list[tuple[str, str]]:
    return [(entry.call_id, entry.kind) for entry in entries]


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.journal"))


def test_entries_are_pushed_and_kept(tmp_path: Path) -> None:
    opened = Opened(tmp_path)
    opened.journal.append("a", "stream_started", {"stream_id": "MZ1"})
    opened.journal.append("a", "dtmf", {"digit": "5", "at_ms": 12})
    assert opened.journal.flush()
    assert [entry.number for entry in opened.pushed] == [1, 2]
    (segment,) = segments(tmp_path)
    assert read_segment(segment) == opened.pushed
    assert list(opened.journal.unacknowledged()) == opened.pushed
    opened.close()


def test_after_a_restart_everything_unacknowledged_comes_first(tmp_path: Path) -> None:
    first = Opened(tmp_path)
    first.journal.append("a", "stream_started", {})
    first.journal.append("a", "stream_ended", {"how": "stop"})
    first.close()
    second = Opened(tmp_path)
    second.journal.append("b", "stream_started", {})
    told = list(second.journal.unacknowledged())
    assert kinds(told) == [("a", "stream_started"), ("a", "stream_ended"), ("b", "stream_started")]
    assert told[:2] == first.pushed
    assert len({(entry.segment, entry.number) for entry in told}) == 3
    second.close()


def test_a_call_without_an_end_was_lost_with_the_gateway(tmp_path: Path) -> None:
    first = Opened(tmp_path)
    first.journal.append("a", "stream_started", {})
    first.close()
    second = Opened(tmp_path)
    assert kinds(second.pushed) == [("a", "stream_ended")]
    assert second.pushed[0].data["how"] == "gateway_lost"
    second.close()
    third = Opened(tmp_path)
    assert third.pushed == [], "it is told once"
    third.close()


def test_a_torn_last_entry_is_cut(tmp_path: Path) -> None:
    first = Opened(tmp_path)
    first.journal.append("a", "stream_started", {})
    first.journal.append("a", "stream_ended", {"how": "stop"})
    first.close()
    (segment,) = segments(tmp_path)
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-3])
    assert kinds(read_segment(segment)) == [("a", "stream_started")]
    shorter = segment.stat().st_size
    assert kinds(read_segment(segment)) == [("a", "stream_started")]
    assert segment.stat().st_size == shorter < len(whole) - 3


@pytest.mark.parametrize("at", [0, 5, 9, 30])
def test_a_damaged_byte_ends_what_is_believed(tmp_path: Path, at: int) -> None:
    first = Opened(tmp_path)
    first.journal.append("a", "stream_started", {})
    first.close()
    (segment,) = segments(tmp_path)
    damaged = bytearray(segment.read_bytes())
    damaged[at] ^= 0xFF
    segment.write_bytes(damaged)
    assert read_segment(segment) == []


def test_an_acknowledged_segment_is_removed_after_the_next_start(tmp_path: Path) -> None:
    first = Opened(tmp_path)
    entry = first.journal.append("a", "stream_started", {})
    last = first.journal.append("a", "stream_ended", {"how": "stop"})
    first.close()
    second = Opened(tmp_path)
    second.journal.acknowledge(entry.segment, entry.number)
    second.journal.flush()
    assert len(segments(tmp_path)) == 2, "half acknowledged"
    second.journal.acknowledge(last.segment, last.number)
    assert last.segment not in [int(path.stem) for path in segments(tmp_path)]
    assert list(second.journal.unacknowledged()) == []
    second.close()


def test_a_segment_is_the_witness_of_its_live_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_SEGMENT_ENTRIES", 2)
    opened = Opened(tmp_path)
    first = opened.journal.append("live", "stream_started", {})
    opened.journal.append("live", "bot_started", {})
    opened.journal.append("other", "stream_started", {})
    opened.journal.acknowledge(first.segment, 2)
    opened.journal.flush()
    assert first.segment in [int(path.stem) for path in segments(tmp_path)]
    ended = opened.journal.append("live", "stream_ended", {})
    opened.journal.acknowledge(ended.segment, ended.number - 1)
    opened.journal.flush()
    assert first.segment not in [int(path.stem) for path in segments(tmp_path)]
    opened.close()


def test_acknowledging_what_is_not_there_does_nothing(tmp_path: Path) -> None:
    opened = Opened(tmp_path)
    opened.journal.acknowledge(99, 99)
    opened.close()


KILLED = """
import os, sys
from pathlib import Path
from trunkline.gateway.journal import Journal
journal = Journal(Path(sys.argv[1]), "gateway-0", lambda entry: None)
for number in range(1000):
    journal.append("a", "dtmf" if number else "stream_started", {"digit": "1", "at_ms": number})
journal.flush()
os.kill(os.getpid(), 9)
"""


def test_a_killed_process_leaves_what_it_had_flushed(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert killed.returncode == -9
    (segment,) = segments(tmp_path)
    assert len(read_segment(segment)) == 1000
    assert segment.stat().st_mode & 0o777 == 0o600
