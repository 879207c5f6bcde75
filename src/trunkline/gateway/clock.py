"""A stream's media clock: how much of the call's audio has passed, by the carrier's crystal.

Its unit is received samples, because two crystals differ by tens of ppm (50 ppm are 180 ms an hour)
and a wall clock would drift away from the audio. The carrier's timestamps fill what was lost; the
wall clock stands in while the carrier sends nothing. Pure: times come in as arguments.
"""

from __future__ import annotations

__all__ = ["MediaClock"]

_GAP_MS = 40  # a timestamp that is further ahead than this means lost audio, not rounding
_STALL_MS = 200  # without audio for so long, the wall clock takes over
_SLACK_MS = (
    2_000  # a timestamp may claim so much more than the wall clock saw; beyond it is nonsense
)
_LATE_MS = 60  # an arrival so long after the one before is late


class MediaClock:
    """Position of a stream in received samples.

    Args:
        sample_rate_hz: Rate of the received audio.
        started_ms: The shell's monotonic clock at the stream's start, milliseconds.
    """

    __slots__ = (
        "_base_ms", "_frontier", "_last_ms", "_pending_ms", "_per_ms", "_received",
        "gap_samples", "gaps", "late", "longest_wait_ms", "resyncs",
    )  # fmt: skip

    def __init__(self, sample_rate_hz: int, started_ms: int) -> None:
        self._per_ms = sample_rate_hz // 1000
        self._received = 0
        self._frontier = 0
        self._last_ms = started_ms
        self._base_ms: int | None = None
        self._pending_ms = 0
        self.gaps = 0
        """Times that audio was missing."""
        self.gap_samples = 0
        """Samples that were missing, in all."""
        self.late = 0
        """Frames that came more than 60 ms after the one before."""
        self.longest_wait_ms = 0
        """Longest time between two frames, milliseconds."""
        self.resyncs = 0
        """Timestamps that could not be true and were taken as a new origin."""

    @property
    def received_samples(self) -> int:
        """Samples received, with gaps filled: where the next frame belongs."""
        return self._received

    def receive(self, n_samples: int, timestamp_ms: int | None, now_ms: int) -> int:
        """Take note of a frame.

        Args:
            n_samples: Samples in the frame.
            timestamp_ms: The frame's position by the carrier, if it sends one.
            now_ms: The shell's monotonic clock.

        Returns:
            Samples missing before this frame; the frame belongs after them.
        """
        waited_ms = now_ms - self._last_ms
        self._last_ms = now_ms
        if waited_ms > _LATE_MS and self._received:
            self.late += 1
        if waited_ms > self.longest_wait_ms:
            self.longest_wait_ms = waited_ms
        if timestamp_ms is None:
            gap = self._unstamped_gap(n_samples, waited_ms)
        else:
            gap = self._stamped_gap(timestamp_ms, waited_ms)
        if gap:
            self.gaps += 1
            self.gap_samples += gap
        self._received += gap + n_samples
        if self._received > self._frontier:
            self._frontier = self._received
        return gap

    def _stamped_gap(self, timestamp_ms: int, waited_ms: int) -> int:
        position_ms = self._received // self._per_ms
        if self._base_ms is None:
            self._base_ms = timestamp_ms - position_ms
            return 0
        ahead_ms = timestamp_ms - self._base_ms - position_ms
        if -_GAP_MS <= ahead_ms <= _GAP_MS:
            return 0
        if ahead_ms < 0 or ahead_ms > waited_ms + _SLACK_MS:
            self._base_ms = timestamp_ms - position_ms
            self.resyncs += 1
            return 0
        return ahead_ms * self._per_ms

    def _unstamped_gap(self, n_samples: int, waited_ms: int) -> int:
        """A pause was a network stall if a burst follows, and unsent silence if none does."""
        duration_ms = n_samples // self._per_ms
        if waited_ms > _STALL_MS and self._received:
            self._pending_ms += waited_ms - duration_ms
            return 0
        if not self._pending_ms:
            return 0
        if 2 * waited_ms < duration_ms:
            self._pending_ms = max(0, self._pending_ms - duration_ms)
            return 0
        gap_ms, self._pending_ms = self._pending_ms, 0
        return gap_ms * self._per_ms if gap_ms > _GAP_MS else 0

    def position_samples(self, now_ms: int) -> int:
        """Where the call's audio stands now, in received samples; never goes back."""
        stalled_ms = now_ms - self._last_ms - _STALL_MS
        if stalled_ms > 0:
            estimate = self._received + (stalled_ms + _STALL_MS) * self._per_ms
            if estimate > self._frontier:
                self._frontier = estimate
        return self._frontier

    def position_ms(self, now_ms: int) -> int:
        """The same in whole milliseconds."""
        return self.position_samples(now_ms) // self._per_ms
