"""Watches a call's time: a hanging worker, a call too long, a line on which nobody speaks.

A heartbeat comes from a thread of the worker. Missing, the process stands still or is dead; coming
with a large loop lag, the bot blocks its own event loop, which healthy bots do for seconds, so that
counts only after ``max_loop_block_s`` and once the caller has nothing left to listen to. Pure:
times come in as arguments, seconds of a monotonic clock.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["HEARTBEAT_TIMEOUT_S", "LOOP_LAG_WARNING_S", "Verdict", "Watchdog"]

HEARTBEAT_TIMEOUT_S = 3.0
LOOP_LAG_WARNING_S = 1.0


class Verdict(StrEnum):
    """What the watchdog says. ``LAGS`` warns, once for each time that the bot stands still."""

    FINE = "fine"
    LAGS = "lags"
    HUNG = "hung"
    MAX_DURATION = "max_duration"
    SILENCE = "silence"


class Watchdog:
    """One call's.

    Args:
        started_s: When the stream started.
        max_duration_s: Longest call; 0: no limit.
        silence_timeout_s: Longest time without speech of either side; 0: no limit.
        max_loop_block_s: Longest time for which the bot may stand still.
    """

    __slots__ = (
        "_deadline_s", "_has_warned", "_heard_s", "_lag_s",
        "_max_loop_block_s", "_silence_timeout_s", "_spoken_s",
    )  # fmt: skip

    def __init__(
        self,
        started_s: float,
        *,
        max_duration_s: float,
        silence_timeout_s: float,
        max_loop_block_s: float,
    ) -> None:
        self._deadline_s = started_s + max_duration_s if max_duration_s > 0 else None
        self._silence_timeout_s = silence_timeout_s
        self._max_loop_block_s = max_loop_block_s
        self._spoken_s = started_s
        self._heard_s: float | None = None
        self._lag_s = 0.0
        self._has_warned = False

    def worker_came(self, now_s: float) -> None:
        """A worker was connected; from now on it has to be heard from."""
        self._heard_s = now_s
        self._lag_s = 0.0
        self._has_warned = False

    def worker_left(self) -> None:
        """There is no worker to watch."""
        self._heard_s = None

    def heartbeat(self, loop_lag_ms: int, now_s: float) -> None:
        """The worker's thread says that it lives, and how long its event loop has stood still."""
        self._heard_s = now_s
        self._lag_s = loop_lag_ms / 1000
        if self._lag_s < LOOP_LAG_WARNING_S:
            self._has_warned = False

    def speech(self, now_s: float) -> None:
        """Somebody speaks, or presses a key."""
        self._spoken_s = now_s

    def check(self, now_s: float, *, has_audio_left: bool) -> Verdict:
        """The most serious thing to say now. ``has_audio_left``: the caller still hears the bot."""
        if self._heard_s is not None:
            verdict = self._check_worker(now_s, self._heard_s, has_audio_left)
            if verdict is not Verdict.FINE:
                return verdict
        if self._deadline_s is not None and now_s >= self._deadline_s:
            return Verdict.MAX_DURATION
        if self._silence_timeout_s > 0 and now_s - self._spoken_s >= self._silence_timeout_s:
            return Verdict.SILENCE
        return Verdict.FINE

    def _check_worker(self, now_s: float, heard_s: float, has_audio_left: bool) -> Verdict:
        if now_s - heard_s >= HEARTBEAT_TIMEOUT_S:
            return Verdict.HUNG
        if self._lag_s >= self._max_loop_block_s and not has_audio_left:
            return Verdict.HUNG
        if self._lag_s >= LOOP_LAG_WARNING_S and not self._has_warned:
            self._has_warned = True
            return Verdict.LAGS
        return Verdict.FINE
