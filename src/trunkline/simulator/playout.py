"""The carrier's buffer of bot audio: played in order, with marks, dropped by ``clear``."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["PlayoutBuffer"]


@dataclass(frozen=True, slots=True)
class _Mark:
    name: str


class PlayoutBuffer:
    """Payload and marks in the order in which they came. Pure: its owner takes at its own pace.

    ``received_bytes`` is at all times the sum of played, cleared, dropped and queued bytes.
    """

    def __init__(self) -> None:
        self._items: deque[bytes | _Mark] = deque()
        self.received_bytes = 0
        self.played_bytes = 0
        self.cleared_bytes = 0
        self.dropped_bytes = 0

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait to be played."""
        return self.received_bytes - self.played_bytes - self.cleared_bytes - self.dropped_bytes

    def append(self, payload: bytes) -> None:
        """Take audio of any length, in the line's encoding."""
        if payload:
            self._items.append(payload)
            self.received_bytes += len(payload)

    def mark(self, name: str) -> None:
        """Take a mark; the next ``take`` that has played everything before it returns it."""
        self._items.append(_Mark(name))

    def reached_marks(self) -> Sequence[str]:
        """Return, once, the marks with no audio before them, in order."""
        reached: list[str] = []
        while self._items:
            item = self._items[0]
            if not isinstance(item, _Mark):
                break
            reached.append(item.name)
            self._items.popleft()
        return reached

    def clear(self) -> Sequence[str]:
        """Drop all audio; return the marks that were among it, in order."""
        marks = [item.name for item in self._items if isinstance(item, _Mark)]
        self.cleared_bytes += self.queued_bytes
        self._items.clear()
        return marks

    def drop(self) -> None:
        """Forget everything: the stream is gone, nobody waits for the marks."""
        self.dropped_bytes += self.queued_bytes
        self._items.clear()

    def take(self, n_bytes: int) -> tuple[bytes, Sequence[str]]:
        """Play up to ``n_bytes``.

        Returns:
            The audio, shorter than asked for when there is no more, and the marks that have been
            reached with it.
        """
        taken = bytearray()
        marks = list(self.reached_marks())
        while self._items and len(taken) < n_bytes:
            payload = self._items.popleft()
            if isinstance(payload, _Mark):  # reached_marks leaves audio at the head
                raise AssertionError("a mark was left before audio")
            wanted = n_bytes - len(taken)
            taken += payload[:wanted]
            if len(payload) > wanted:
                self._items.appendleft(payload[wanted:])
            marks += self.reached_marks()
        self.played_bytes += len(taken)
        return bytes(taken), marks
