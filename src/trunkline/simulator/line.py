"""One telephone line: what the caller says and hears, frame by frame. No sockets, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from trunkline.audio import Framer, MediaFormat, decode, encode, resample, wav_header
from trunkline.simulator.ear import Ear
from trunkline.simulator.playout import PlayoutBuffer

__all__ = ["Human", "Line", "LineCounts", "LineTick"]

_RESUMED_MS = 200  # audio that comes so soon after the buffer ran dry was late, not new


class Human(Protocol):
    """Whoever holds the telephone."""

    def act(self, line: Line) -> None:
        """Listen and act; called once for each frame, after the frame has been heard."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LineTick:
    """What one frame of time brought about."""

    said: bytes
    """The caller's audio, one whole frame in the line's encoding, silence included."""
    marks: Sequence[str]
    """Marks that have been played."""
    digits: Sequence[str]
    """Keys that were pressed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineCounts:
    """Where every frame and byte went."""

    said_frames: int
    """Frames of the caller's audio, silence included."""
    received_bytes: int
    """Bot audio that came, in bytes of payload; always played + cleared + unplayed."""
    played_bytes: int
    cleared_bytes: int
    unplayed_bytes: int
    """Still in the buffer when its stream ended: cut off."""
    gaps: int
    """Times that bot audio came late: the buffer ran dry and went on within 200 ms."""
    clears: int


class Line:
    """The call's audio. Its owner calls ``tick`` once for each frame of time.

    Args:
        media_format: Encoding and rate of both directions, mono.
        frame_ms: Length of a frame.
        human: Who listens and speaks; None: nobody, and the line is silent.
    """

    def __init__(
        self, *, media_format: MediaFormat, frame_ms: int = 20, human: Human | None = None
    ) -> None:
        self.media_format = media_format
        self.frame_ms = frame_ms
        self.now_ms = 0
        """Time since the line was opened, in the carrier's clock."""
        self.playout = PlayoutBuffer()
        self.heard = Ear()
        """The bot, as the caller hears it."""
        self.said = Ear()
        """The caller's own voice."""
        self.has_hung_up = False
        self.clears = 0
        self._human = human
        self._framer = Framer(2 * media_format.n_bytes(frame_ms) // media_format.bytes_per_sample)
        self._to_say: deque[bytes] = deque()
        self._pressed: list[str] = []
        self._said_frames = 0
        self._gaps = 0
        self._dry_since_ms: int | None = None
        self._recording = bytearray()

    @property
    def is_saying(self) -> bool:
        """Whether the caller is in the middle of what ``say`` was given."""
        return bool(self._to_say)

    def say(self, pcm16: bytes, sample_rate_hz: int) -> None:
        """Speak PCM16, mono, after whatever is being said."""
        audio = resample(pcm16, sample_rate_hz, self.media_format.sample_rate_hz)
        self._to_say.extend(self._framer.push(audio))
        rest = self._framer.flush(pad=0)
        if rest:
            self._to_say.append(rest)

    def press(self, digit: str) -> None:
        """Press one key. Its tone is not in the audio: carriers take it out (RFC 4733)."""
        self._pressed.append(digit)

    def hang_up(self) -> None:
        """Put the receiver down."""
        self.has_hung_up = True

    def clear(self) -> Sequence[str]:
        """Drop bot audio that has not been played; return its marks."""
        self.clears += 1
        self._dry_since_ms = None
        return self.playout.clear()

    def tick(self) -> LineTick:
        """Let one frame of time pass: play, hear, act, speak."""
        start_ms, end_ms = self.now_ms, self.now_ms + self.frame_ms
        marks, heard = self._play(start_ms)
        self.heard.hear(heard, start_ms, end_ms)
        self.now_ms = end_ms
        if self._human is not None and not self.has_hung_up:
            self._human.act(self)
        said = self._to_say.popleft() if self._to_say else bytes(self._framer.frame_bytes)
        self.said.hear(said, start_ms, end_ms)
        self._said_frames += 1
        digits, self._pressed = self._pressed, []
        self._record(said, heard)
        return LineTick(said=encode(said, self.media_format), marks=marks, digits=digits)

    def counts(self) -> LineCounts:
        """Return the account of all frames so far."""
        return LineCounts(
            said_frames=self._said_frames,
            received_bytes=self.playout.received_bytes,
            played_bytes=self.playout.played_bytes,
            cleared_bytes=self.playout.cleared_bytes,
            unplayed_bytes=self.playout.dropped_bytes + self.playout.queued_bytes,
            gaps=self._gaps,
            clears=self.clears,
        )

    def recording(self) -> bytes:
        """Return the call as a WAV file, stereo: caller left, bot right, as the caller heard it."""
        return wav_header(
            channels=2,
            sample_rate_hz=self.media_format.sample_rate_hz,
            data_bytes=len(self._recording),
        ) + bytes(self._recording)

    def _play(self, start_ms: int) -> tuple[Sequence[str], bytes]:
        """Return the marks and the PCM16 of the next frame, filled up with silence."""
        wanted_bytes = self.media_format.n_bytes(self.frame_ms)
        played, marks = self.playout.take(wanted_bytes)
        if played and self._dry_since_ms is not None:
            self._gaps += start_ms - self._dry_since_ms <= _RESUMED_MS
            self._dry_since_ms = None
        if marks:
            self._dry_since_ms = None  # an utterance was finished: what follows is a new one
        elif played and not self.playout.queued_bytes:
            self._dry_since_ms = start_ms
        silence = bytes([self.media_format.silence_byte]) * (wanted_bytes - len(played))
        return marks, decode(played + silence, self.media_format)

    def _record(self, said: bytes, heard: bytes) -> None:
        stereo = bytearray(2 * len(said))
        stereo[0::4], stereo[1::4] = said[0::2], said[1::2]
        stereo[2::4], stereo[3::4] = heard[0::2], heard[1::2]
        self._recording += stereo
