"""Cutting a byte stream of any chunk sizes into frames of one size.

Engines speak in chunks of their own liking; a carrier wants one ptime in each message.
"""

from __future__ import annotations

__all__ = ["Framer"]


class Framer:
    """Joins and splits chunks into frames of exactly ``frame_bytes`` bytes.

    One per direction of a stream.

    Raises:
        ValueError: ``frame_bytes`` is less than 1.
    """

    __slots__ = ("_frame_bytes", "_held")

    def __init__(self, frame_bytes: int) -> None:
        if frame_bytes < 1:
            raise ValueError(f"frame_bytes must be at least 1, not {frame_bytes}")
        self._frame_bytes = frame_bytes
        self._held = bytearray()

    @property
    def frame_bytes(self) -> int:
        """Bytes in each frame."""
        return self._frame_bytes

    @property
    def held_bytes(self) -> int:
        """Bytes that wait for the rest of their frame, always fewer than ``frame_bytes``."""
        return len(self._held)

    def push(self, payload: bytes) -> list[bytes]:
        """Take the next chunk, of any size; return the frames now complete, oldest first."""
        size = self._frame_bytes
        if not self._held and len(payload) == size:  # most chunks are frames already: no copy
            return [payload]
        self._held += payload
        end = len(self._held) - len(self._held) % size
        if not end:
            return []
        with memoryview(self._held) as view:
            frames = [bytes(view[start : start + size]) for start in range(0, end, size)]
        del self._held[:end]
        return frames

    def flush(self, pad: int | None = None) -> bytes:
        """Give up the incomplete frame and start afresh.

        Args:
            pad: Byte to fill the frame up with, 0 to 255 (``MediaFormat.silence_byte``); without it
                the frame stays short.

        Returns:
            The frame, or ``b""`` if nothing is held.
        """
        frame = bytes(self._held)
        self._held.clear()
        if frame and pad is not None:
            frame += bytes([pad]) * (self._frame_bytes - len(frame))
        return frame

    def clear(self) -> None:
        """Drop what is held: its audio will not be played."""
        self._held.clear()
