"""Facts about calls, kept on disk until the front has them.

Append-only segments under ``<journal>/gateway-N/``; an entry is length, CRC-32 and msgpack of a
``JournalEntry``. A writer thread appends and syncs, so that a full disk never stalls a call; a kill
loses what the thread had not written, two seconds at most. A segment is removed when all of it is
acknowledged and none of its calls is still live, since after a crash it is the only witness that
the call was.

Each start begins a new segment, so (gateway, segment, number) never repeats; segments are numbered
from the clock, since the folder may be lost while the front's database is not.
"""

from __future__ import annotations

import os
import queue
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
import structlog

from trunkline.dispatch.messages import JournalEntry

__all__ = ["Journal", "read_segment"]

log = structlog.get_logger(__name__)

_HEAD = struct.Struct(">II")
_SUFFIX = ".journal"
_LONGEST_ENTRY_BYTES = 4 << 20  # a longer length is not a length but damage
_SEGMENT_ENTRIES = 2_000
_SYNC_EVERY_S = 1.0
_CLOSE_WITHIN_S = 5.0

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(JournalEntry)


def _frame(entry: JournalEntry) -> bytes:
    payload = _ENCODER.encode(entry)
    return _HEAD.pack(len(payload), zlib.crc32(payload)) + payload


def _entries(content: bytes) -> Iterator[tuple[JournalEntry, int]]:
    """Each whole entry and where it ends; stops at the first that is torn or damaged."""
    at = 0
    while at + _HEAD.size <= len(content):
        length, checksum = _HEAD.unpack_from(content, at)
        end = at + _HEAD.size + length
        payload = content[at + _HEAD.size : end]
        if length > _LONGEST_ENTRY_BYTES or end > len(content) or zlib.crc32(payload) != checksum:
            return
        try:
            entry = _DECODER.decode(payload)
        except msgspec.MsgspecError:
            return
        yield entry, end
        at = end


def read_segment(path: Path) -> list[JournalEntry]:
    """Entries of a segment; a torn end is cut off the file.

    Raises:
        OSError: the file cannot be read or cut.
    """
    content = path.read_bytes()
    entries: list[JournalEntry] = []
    whole_bytes = 0
    for entry, end in _entries(content):
        entries.append(entry)
        whole_bytes = end
    if whole_bytes < len(content):
        log.warning(
            "torn journal entry cut", segment=path.stem, cut_bytes=len(content) - whole_bytes
        )
        os.truncate(path, whole_bytes)
    return entries


class _Segment:
    """A file's entries that the front may not have, and its calls that have not ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pending: dict[int, JournalEntry] = {}
        self.live_calls: set[str] = set()
        self.n_entries = 0


class Journal:
    """One gateway's journal.

    ``append`` may be called from the event loop: it touches no disk. Everything but the writer
    thread's own work happens on the loop's thread.

    Args:
        folder: The gateway's own folder; made if absent.
        gateway: The gateway's name, part of each entry's key.
        on_entry: Called with each new entry, to push it to the front.

    Raises:
        OSError: the folder cannot be read or made.
    """

    def __init__(
        self, folder: Path, gateway: str, on_entry: Callable[[JournalEntry], None]
    ) -> None:
        self._folder = folder
        self._gateway = gateway
        self._on_entry = on_entry
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._segments: dict[int, _Segment] = {}
        self._where_started: dict[str, int] = {}
        lost = self._recover()
        self._number = 0
        self._current = max(self._last_segment + 1, int(time.time()))
        self._writer = _Writer()
        self._begin_segment()
        for call_id, started_at in lost.items():
            self._append_lost(call_id, started_at)

    # start

    def _recover(self) -> Mapping[str, float]:
        """Take in what the last process left; returns calls without an end and their starts."""
        open_calls: dict[str, float] = {}
        self._last_segment = 0
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            number = self._last_segment = int(path.stem)
            segment = self._segments[number] = _Segment(path)
            for entry in read_segment(path):
                segment.pending[entry.number] = entry
                segment.n_entries += 1
                if entry.kind == "stream_started":
                    open_calls[entry.call_id] = entry.at
                    segment.live_calls.add(entry.call_id)
                    self._where_started[entry.call_id] = number
                elif entry.kind == "stream_ended":
                    open_calls.pop(entry.call_id, None)
                    self._note_end(entry.call_id)
        for number in list(self._segments):
            if not self._segments[number].n_entries:
                self._remove(number)
        return open_calls

    def _append_lost(self, call_id: str, started_at: float) -> None:
        now = time.time()
        self.append(
            call_id,
            "stream_ended",
            {
                "how": "gateway_lost",
                "close_code": 0,
                "by": "",
                "reason": "",
                "duration_ms": max(0, int((now - started_at) * 1000)),
                "stats": {},
                "recording_path": None,
            },
        )

    def _begin_segment(self) -> None:
        path = self._folder / f"{self._current:012d}{_SUFFIX}"
        self._segments[self._current] = _Segment(path)
        self._number = 0
        self._writer.open(path)

    # writing

    def append(self, call_id: str, kind: str, data: Mapping[str, object]) -> JournalEntry:
        """Write one entry and push it."""
        segment = self._segments[self._current]
        self._number += 1
        entry = JournalEntry(
            gateway=self._gateway,
            segment=self._current,
            number=self._number,
            call_id=call_id,
            kind=kind,
            at=time.time(),
            data=dict(data),
        )
        segment.pending[entry.number] = entry
        segment.n_entries += 1
        if kind == "stream_started":
            segment.live_calls.add(call_id)
            self._where_started[call_id] = entry.segment
        elif kind == "stream_ended":
            self._note_end(call_id)
        self._writer.write(_frame(entry))
        self._on_entry(entry)
        if segment.n_entries >= _SEGMENT_ENTRIES:
            self._current += 1
            self._begin_segment()
        return entry

    def _note_end(self, call_id: str) -> None:
        started_in = self._where_started.pop(call_id, None)
        if started_in is not None and started_in in self._segments:
            self._segments[started_in].live_calls.discard(call_id)

    # what the front has

    def unacknowledged(self) -> Iterator[JournalEntry]:
        """Every entry that the front may not have, oldest first."""
        for number in sorted(self._segments):
            yield from list(self._segments[number].pending.values())

    def acknowledge(self, segment: int, number: int) -> None:
        """The front has every entry of ``segment`` up to ``number``."""
        found = self._segments.get(segment)
        if found is None:
            return
        for known in [known for known in found.pending if known <= number]:
            del found.pending[known]
        self._remove_done()

    def _remove_done(self) -> None:
        for number, segment in list(self._segments.items()):
            if number != self._current and not segment.pending and not segment.live_calls:
                self._remove(number)

    def _remove(self, number: int) -> None:
        path = self._segments.pop(number).path
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            # It stays behind and is told again after the next start, which is harmless.
            log.warning(
                "acknowledged journal segment not removed", segment=path.stem, error=error.strerror
            )

    def flush(self, within_s: float = _CLOSE_WITHIN_S) -> bool:
        """Wait until all entries so far are on disk. Blocks: for shut-down and tests."""
        return self._writer.flush(within_s)

    def close(self) -> None:
        """Write what is left and end the writer thread."""
        self._writer.close()


class _Writer:
    """The thread that appends to the current segment and syncs it once a second."""

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[bytes | Path | threading.Event | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="journal-writer", daemon=True)
        self._thread.start()

    def open(self, path: Path) -> None:
        self._orders.put(path)

    def write(self, frame: bytes) -> None:
        self._orders.put(frame)

    def flush(self, within_s: float) -> bool:
        done = threading.Event()
        self._orders.put(done)
        return done.wait(within_s)

    def close(self) -> None:
        self._orders.put(None)
        self._thread.join(_CLOSE_WITHIN_S)

    def _run(self) -> None:
        file_no = -1
        is_dirty = False
        synced_at = time.monotonic()
        while True:
            order = self._next_order(is_dirty, synced_at)
            try:
                if isinstance(order, bytes):
                    _write_all(file_no, order)
                    is_dirty = True
                elif isinstance(order, Path):
                    file_no = _open_next(file_no, order)
                is_due = time.monotonic() - synced_at >= _SYNC_EVERY_S
                if is_dirty and (is_due or order is None or isinstance(order, threading.Event)):
                    os.fdatasync(file_no)
                    is_dirty, synced_at = False, time.monotonic()
            except OSError as error:
                # The front still gets every entry over its channel; only a crash before that loses
                # them.
                log.error("journal cannot be written", error=error.strerror)
            if isinstance(order, threading.Event):
                order.set()
            elif order is None:
                if file_no >= 0:
                    os.close(file_no)
                return

    def _next_order(
        self, is_dirty: bool, synced_at: float
    ) -> bytes | Path | threading.Event | str | None:
        """The next order, or ``""`` when it is time to sync."""
        timeout_s = max(0.0, synced_at + _SYNC_EVERY_S - time.monotonic()) if is_dirty else None
        try:
            return self._orders.get(timeout=timeout_s)
        except queue.Empty:
            return ""


def _write_all(file_no: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file_no, view) :]


def _open_next(old_file_no: int, path: Path) -> int:
    if old_file_no >= 0:
        os.fdatasync(old_file_no)
        os.close(old_file_no)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
