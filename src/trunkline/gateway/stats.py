"""What one stream counted; it goes into the call's record with ``stream_ended``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

__all__ = ["Stats"]


@dataclass(slots=True, kw_only=True)
class Stats:
    """Counters of one stream. "In" is from carrier to bot, "out" from bot to carrier."""

    messages_in: int = 0
    """WebSocket messages from the carrier, of any kind."""
    frames_in: int = 0
    """Audio messages from the carrier."""
    bytes_in: int = 0
    """Caller audio, in the carrier's encoding."""
    frames_out: int = 0
    """Pieces of audio handed to the carrier's protocol core."""
    bytes_out: int = 0
    """Bot audio sent to the carrier, in its encoding."""
    gaps_in: int = 0
    """Times that the carrier's clock showed audio to be missing."""
    gap_ms_in: int = 0
    """How much was missing, in all."""
    late_in: int = 0
    """Frames that came more than 60 ms after the one before."""
    longest_wait_ms_in: int = 0
    """Longest time between two audio messages."""
    clock_resyncs: int = 0
    """Carrier timestamps that could not be true."""
    dropped_bytes_in: int = 0
    """Caller audio that the bot never got: it was not there yet, or did not read."""
    dropped_bytes_out: int = 0
    """Bot audio beyond five minutes in the queue, or after the call had ended."""
    cleared_bytes_out: int = 0
    """Bot audio that was dropped from the queue by a clear, before it was sent."""
    marks_lost: int = 0
    """Marks whose echo never came."""
    marks_stale: int = 0
    """Echoes of marks that a clear had flushed, or of marks that we did not send."""
    clears: int = 0
    """Clears sent to the carrier."""
    warnings: dict[str, int] = field(default_factory=dict[str, int])
    """Protocol warnings by code."""
    vad_skipped_ms: int = 0
    """Caller audio that the speech detector skipped, because it was behind."""
    recording_gaps: int = 0
    """Blocks that are silent in the recording, because the disk was behind."""
    max_loop_lag_ms: int = 0
    """Longest time by which this gateway's event loop was late during the call."""
    max_bot_lag_ms: int = 0
    """Longest time for which the bot's event loop stood still, by its own heartbeats."""
    bot_attempts: int = 0
    """Workers that were asked for."""

    def as_dict(self) -> dict[str, object]:
        """For the journal."""
        return asdict(self)
