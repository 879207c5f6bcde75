"""The mark ledger: what was sent, where on the call's media clock it plays, what was heard.

A carrier tells of playback only by echoing marks, and it echoes flushed marks too, so a mark's name
carries the generation (``g2-17``) and a ``clear`` begins a new one: echoes of old generations are
never "played". Between marks playback is estimated: audio plays one frame after the other, from
when it reaches the carrier. An echo that comes later than estimated holds the estimate back, then
moves it; so a position on the received clock is where the caller *heard* it, which is also where
his reaction is found on that clock.

Pure. Positions are samples of the sent format on the media clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = [
    "Cleared",
    "MarkLedger",
    "PlayedAudio",
    "Reached",
    "SpokenPiece",
    "Utterance",
    "split_text",
]

_PATIENCE_MS = (
    2_000  # an echo later than this behind its audio is lost, and the estimate goes on without it
)
_MOST_UTTERANCES = 1_000  # kept for turns that the bot may still report
_JITTER_MS = 100  # an echo this near confirms the estimate: moving it would tear the recording


@dataclass(frozen=True, slots=True)
class PlayedAudio:
    """Audio with its final place: ``start`` in samples of the sent format."""

    start: int
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """What an echo or the lapse of time has brought about."""

    worker_marks: Sequence[str] = ()
    """Names that the worker gave, oldest first."""
    is_stale: bool = False
    """The echo was of an old generation, unknown, or had been given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """What a clear has cut."""

    utterances: Sequence[Utterance]
    """Those that will not be played to their end."""
    worker_marks: Sequence[str]


@dataclass(frozen=True, slots=True)
class SpokenPiece:
    """``text`` starts ``offset_ms`` into its utterance."""

    offset_ms: int
    text: str


@dataclass(slots=True, kw_only=True)
class Utterance:
    """One stretch of bot speech."""

    number: int
    sent_ms: int = 0
    """End of what was sent of it, from its own start."""
    played_ms: int = 0
    """End of what the caller has heard of it."""
    started_at: int | None = None
    """Media position of its first heard sample."""
    ended_at: int | None = None
    """Media position behind its last heard sample so far."""
    is_complete: bool = False
    """No more audio will come."""
    is_over: bool = False
    """Played to the end or cut: nothing of it will play any more."""
    was_cleared: bool = False
    pieces: list[SpokenPiece] = field(default_factory=list[SpokenPiece])

    def heard_text(self) -> str:
        """The part of its text that the caller has heard."""
        return split_text(self.pieces, self.sent_ms, self.played_ms)[0]


class _Segment:
    """Audio at the carrier that has not been played to its end. Lean: one for each message."""

    __slots__ = ("n_samples", "offset", "payload", "start", "utterance")

    def __init__(
        self, utterance: Utterance, offset: int, start: int, n_samples: int, payload: bytes
    ) -> None:
        self.utterance = utterance
        self.offset = offset  # samples into the utterance
        self.start = start
        self.n_samples = n_samples
        self.payload = payload


class _Mark:
    __slots__ = ("end", "name", "sequence", "worker_name")

    def __init__(self, name: str, sequence: int, end: int, worker_name: str | None) -> None:
        self.name = name
        self.sequence = sequence
        self.end = end  # estimated position behind the audio before it
        self.worker_name = worker_name


class MarkLedger:
    """Keeps account of one stream's sent audio.

    Args:
        sample_rate_hz: Rate of the sent audio.
        bytes_per_sample: Bytes of one sample of all channels.
        echoes_marks: The carrier echoes marks; False: everything is estimated.
    """

    def __init__(
        self, sample_rate_hz: int, bytes_per_sample: int, *, echoes_marks: bool = True
    ) -> None:
        self._per_ms = sample_rate_hz // 1000
        self._bytes_per_sample = bytes_per_sample
        self._echoes = echoes_marks
        self._generation = 0
        self._mark_count = 0
        self._segments: deque[_Segment] = deque()
        self._marks: deque[_Mark] = deque()
        self._utterances: dict[int, Utterance] = {}
        self._open: dict[int, Utterance] = {}
        self._was_echoed = False
        self._played: list[PlayedAudio] = []
        self._tail = 0  # position behind the last sample sent
        self._effective = 0  # everything before this position has its final place
        self.delay = 0
        """Samples between sending and being heard, there and back, as the marks showed."""
        self.lost_marks = 0
        """Marks whose echo never came."""
        self.keeps_audio = True
        """Whether ``take_played`` is going to be called."""

    # what was sent

    def utterance(self, number: int) -> Utterance:
        """The utterance of that number; made on first use."""
        found = self._utterances.get(number)
        if found is None:
            found = self._utterances[number] = self._open[number] = Utterance(number=number)
            if len(self._utterances) > _MOST_UTTERANCES:
                self._forget_oldest()
        return found

    def _forget_oldest(self) -> None:
        """A bot that never reports its turns must not fill the memory."""
        for number in list(self._utterances):
            if len(self._utterances) <= _MOST_UTTERANCES // 2:
                break
            if number not in self._open:
                del self._utterances[number]

    def find(self, number: int) -> Utterance | None:
        """The utterance of that number if anything is known of it."""
        return self._utterances.get(number)

    def forget(self, number: int) -> None:
        """Drop an utterance that is over and written down."""
        found = self._utterances.get(number)
        if found is not None and found.is_over:
            del self._utterances[number]

    def place(self, number: int, offset_ms: int, payload: bytes, at: int) -> None:
        """Audio was sent at media position ``at``; it plays after what was sent before it."""
        utterance = self.utterance(number)
        n_samples = len(payload) // self._bytes_per_sample
        start = max(at + self.delay, self._tail)
        offset = offset_ms * self._per_ms
        if utterance.is_over:  # more of it after a clear: it is spoken on
            utterance.is_over = False
            self._open[number] = utterance
        self._segments.append(_Segment(utterance, offset, start, n_samples, payload))
        self._tail = start + n_samples
        end_ms = (offset + n_samples) // self._per_ms
        if end_ms > utterance.sent_ms:
            utterance.sent_ms = end_ms

    def ahead(self, at: int) -> int:
        """Samples that the carrier holds and has not played, as estimated at ``at``."""
        return max(0, self._tail - at - self.delay)

    def add_mark(self, at: int, worker_name: str | None = None) -> str:
        """The name of a mark to send now, behind all audio so far."""
        self._mark_count += 1
        name = f"g{self._generation}-{self._mark_count}"
        self._marks.append(
            _Mark(name, self._mark_count, max(at + self.delay, self._tail), worker_name)
        )
        return name

    @property
    def has_unplayed(self) -> bool:
        """The carrier holds audio that has not been played to its end."""
        return bool(self._segments)

    @property
    def pending_marks(self) -> int:
        """Marks whose echo has not come."""
        return len(self._marks)

    @property
    def end_position(self) -> int:
        """Where the last sample sent ends."""
        return self._tail

    def active(self) -> Sequence[Utterance]:
        """Utterances that something is known of and that are not over."""
        return list(self._open.values())

    # what was played

    def advance(self, at: int) -> Reached:
        """Let the estimate run on to ``at``; an echo that is due holds it for up to two seconds."""
        reached: list[str] = []
        limit = at
        while self._marks:
            mark = self._marks[0]
            if self._echoes and at - mark.end <= _PATIENCE_MS * self._per_ms:
                limit = min(limit, mark.end)
                break
            if mark.end > at:
                limit = min(limit, at)
                break
            self._marks.popleft()
            if self._echoes:
                self.lost_marks += 1
            if mark.worker_name is not None:
                reached.append(mark.worker_name)
        self._play_until(limit)
        return Reached(worker_marks=reached)

    def echo(self, name: str, at: int) -> Reached:
        """A mark came back: all audio before it was played, if it is of this generation."""
        found = next((mark for mark in self._marks if mark.name == name), None)
        if found is None:
            return Reached(is_stale=True)
        reached: list[str] = []
        while True:
            mark = self._marks.popleft()
            if mark.worker_name is not None:
                reached.append(mark.worker_name)
            if mark is found:
                break
        self._correct(found, at)
        return Reached(worker_marks=reached)

    def _correct(self, mark: _Mark, at: int) -> None:
        error = at - mark.end
        if error >= 0:
            self._play_until(mark.end)
        else:
            self._believe_early(mark)
        jitter = _JITTER_MS * self._per_ms if self._was_echoed else 0
        self._was_echoed = True
        if abs(error) > jitter:
            self.delay = min(max(0, self.delay + error), _PATIENCE_MS * self._per_ms)
            if error > 0:
                self._shift(error)

    def _shift(self, error: int) -> None:
        """Playback runs behind the estimate: what is left moves on."""
        for segment in self._segments:
            segment.start += error
        for mark in self._marks:
            mark.end += error
        if self._segments:
            self._tail += error

    def _believe_early(self, mark: _Mark) -> None:
        """The echo came early: it was heard, though its place in the recording stays."""
        for segment in self._segments:
            end = segment.start + segment.n_samples
            if end > mark.end:
                break
            self._note_played(segment, segment.n_samples)

    def _play_until(self, limit: int) -> None:
        if limit > self._effective:
            self._effective = limit
        segments = self._segments
        while segments:
            segment = segments[0]
            n_played = limit - segment.start
            if n_played <= 0:
                return
            if n_played < segment.n_samples:
                self._note_played(segment, n_played)
                return
            segments.popleft()
            self._note_played(segment, segment.n_samples)
            if self.keeps_audio:
                self._played.append(PlayedAudio(segment.start, segment.payload))

    def _note_played(self, segment: _Segment, n_played: int) -> None:
        utterance = segment.utterance
        if utterance.started_at is None:
            utterance.started_at = segment.start
        end = segment.start + n_played
        if utterance.ended_at is None or end > utterance.ended_at:
            utterance.ended_at = end
        played_ms = (segment.offset + n_played) // self._per_ms
        if played_ms > utterance.played_ms:
            utterance.played_ms = played_ms

    def take_played(self) -> tuple[list[PlayedAudio], int]:
        """Audio placed for good since the last call, and where the next may begin."""
        taken, self._played = self._played, []
        final = self._effective
        if self._segments:
            final = min(final, self._segments[0].start)
        return taken, final

    def clear(self, at: int) -> Cleared:
        """A clear is sent at ``at``: what has not been played by the time it arrives will never be.

        The clear takes effect at the carrier half a ``delay`` later, which is found on the received
        clock a whole one later.
        """
        cut = at + self.delay
        pending = [mark.worker_name for mark in self._marks if mark.worker_name is not None]
        self._marks.clear()
        self._generation += 1
        self._play_until(cut)
        cut_off: list[Utterance] = []
        for segment in self._segments:
            n_played = cut - segment.start
            if n_played > 0 and self.keeps_audio:
                self._played.append(
                    PlayedAudio(segment.start, segment.payload[: n_played * self._bytes_per_sample])
                )
            if segment.utterance not in cut_off:
                cut_off.append(segment.utterance)
        self._segments.clear()
        self._tail = min(self._tail, cut)
        for utterance in list(self._open.values()):
            if not utterance.is_complete or utterance in cut_off:
                utterance.is_over = utterance.was_cleared = True
                self._open.pop(utterance.number, None)
                if utterance not in cut_off:
                    cut_off.append(utterance)
        return Cleared(utterances=cut_off, worker_marks=pending)

    def finish(self, utterance: Utterance) -> bool:
        """Whether a complete utterance has now been played to its end; then it is over."""
        if (
            utterance.is_over
            or not utterance.is_complete
            or utterance.played_ms < utterance.sent_ms
        ):
            return False
        utterance.is_over = True
        self._open.pop(utterance.number, None)
        return True


def split_text(pieces: Sequence[SpokenPiece], total_ms: int, played_ms: int) -> tuple[str, str]:
    """Split an utterance's text into what was heard and what was not.

    A piece lasts to the beginning of the next one, the last one to the end. Of a piece that was
    cut, words are heard by their share of its time; a word that had only begun was not heard.

    Args:
        pieces: Text with its place, in any order.
        total_ms: Length of the utterance as far as it was sent.
        played_ms: How much of it was played.
    """
    ordered = sorted(pieces, key=lambda piece: piece.offset_ms)
    heard: list[str] = []
    unheard: list[str] = []
    for index, piece in enumerate(ordered):
        end_ms = (
            ordered[index + 1].offset_ms
            if index + 1 < len(ordered)
            else max(total_ms, piece.offset_ms)
        )
        before, after = _split_piece(piece, end_ms, played_ms)
        if before:
            heard.append(before)
        if after:
            unheard.append(after)
    return " ".join(heard), " ".join(unheard)


def _split_piece(piece: SpokenPiece, end_ms: int, played_ms: int) -> tuple[str, str]:
    words = piece.text.split()
    if played_ms >= end_ms and played_ms > 0:
        return " ".join(words), ""
    if played_ms <= piece.offset_ms:
        return "", " ".join(words)
    share = (played_ms - piece.offset_ms) / (end_ms - piece.offset_ms)
    # Time goes by characters rather than by words: long words take longer.
    budget = share * sum(len(word) + 1 for word in words)
    n_heard = 0
    for word in words:
        budget -= len(word) + 1
        if budget < 0:
            break
        n_heard += 1
    return " ".join(words[:n_heard]), " ".join(words[n_heard:])
