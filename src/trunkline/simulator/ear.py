"""When the bot is heard to speak: by the level of what the caller's telephone plays."""

from __future__ import annotations

from trunkline.audio import rms_dbfs

__all__ = ["LOUD_DBFS", "Ear"]

LOUD_DBFS = -45.0
"""Speech is around -26 dBFS (ITU-T P.56); synthesisers' pauses and µ-law's noise are below -60."""

_PAUSE_MS = 300  # silence within speech, between words: shorter ones do not end it


class Ear:
    """Follows one direction of a call, frame by frame. Pure; times are the line's milliseconds.

    Speech begins with a loud frame after at least 300 ms without one.
    """

    def __init__(self) -> None:
        self.last_loud_ms: int | None = None
        """End of the last loud frame."""
        self.onset_ms: int | None = None
        """Start of the speech that was heard last."""
        self.onsets = 0
        """How many times speech has begun."""

    def hear(self, pcm16: bytes, start_ms: int, end_ms: int) -> None:
        """Take the frame that lasted from ``start_ms`` to ``end_ms``."""
        if rms_dbfs(pcm16) < LOUD_DBFS:
            return
        if not self.is_speaking(start_ms):
            self.onset_ms = start_ms
            self.onsets += 1
        self.last_loud_ms = end_ms

    def is_speaking(self, now_ms: int) -> bool:
        """Say whether someone speaks, pauses between words included."""
        return self.last_loud_ms is not None and now_ms - self.last_loud_ms < _PAUSE_MS

    def quiet_ms(self, now_ms: int) -> int:
        """Return for how long nothing has been heard, from the call's start if nothing ever was."""
        return now_ms - (self.last_loud_ms or 0)
