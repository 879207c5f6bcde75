"""The way of the bot's audio to the caller: queue, pacing, marks, clear, and what has been played.

Audio is sent ahead into the carrier's buffer by at most ``lead_ms``; the rest waits here, where a
clear can drop it without asking anyone. There is no timer: every frame of caller audio that comes
in is the beat at which frames go out, and the session's tick stands in for it while the caller's
side is silent. Everything happens on the event loop in plain calls.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from trunkline.audio import MediaFormat
from trunkline.dispatch.messages import MarkReached, Message, Played
from trunkline.gateway.marks import MarkLedger, Utterance
from trunkline.gateway.stats import Stats
from trunkline.telephony.media import StreamProtocol

__all__ = ["LONGEST_QUEUE_MS", "Playout"]

LONGEST_QUEUE_MS = 300_000
"""A bot that is further ahead than five minutes loses what is beyond."""

_FRAME_MS = 20
_MARK_EVERY_MS = 1_000  # our own marks in long speech: enough to correct the estimate

_Audio = tuple[int, int, bytes]


class _End:
    """Marks the end of an utterance in the queue."""

    __slots__ = ("utterance",)

    def __init__(self, utterance: int) -> None:
        self.utterance = utterance


class Playout:
    """Outgoing half of one stream.

    Args:
        core: The carrier's protocol; its messages are sent by ``flush``.
        flush: Sends what the core has to send.
        tell: Takes messages for the worker (``Played``, ``MarkReached``).
        sent_format: Of the audio.
        lead_ms: Audio sent ahead at most.
        stats: The stream's counters.
        on_first_audio: Called with utterance and position when an utterance's first audio is sent.
        has_marks: The carrier echoes marks.
        has_clear: The carrier can drop audio that it has.
    """

    def __init__(
        self,
        *,
        core: StreamProtocol,
        flush: Callable[[], None],
        tell: Callable[[Message], None],
        sent_format: MediaFormat,
        lead_ms: int,
        stats: Stats,
        on_first_audio: Callable[[int, int], None],
        has_marks: bool,
        has_clear: bool,
    ) -> None:
        self._core = core
        self._flush = flush
        self._tell = tell
        self._stats = stats
        self._on_first_audio = on_first_audio
        self._has_marks = has_marks
        self._has_clear = has_clear
        bytes_per_sample = sent_format.bytes_per_sample * sent_format.channels
        self._per_ms = sent_format.sample_rate_hz // 1000
        self._bytes_per_sample = bytes_per_sample
        self._frame_bytes = sent_format.n_bytes(_FRAME_MS)
        self._lead = max(lead_ms, 2 * _FRAME_MS) * self._per_ms
        self._mark_every = _MARK_EVERY_MS * self._per_ms
        self._limit_bytes = sent_format.n_bytes(LONGEST_QUEUE_MS)
        self.ledger = MarkLedger(
            sent_format.sample_rate_hz, bytes_per_sample, echoes_marks=has_marks
        )
        self._queue: deque[_Audio | _End | str] = deque()
        self._queued_bytes = 0
        self._unmarked = 0
        self._speaking: int | None = None
        self.is_closed = False
        """Nothing more is taken from the bot."""

    # from the worker

    def push_audio(self, utterance: int, offset_ms: int, payload: bytes, at: int) -> None:
        """Bot audio, to be sent as soon as the lead allows."""
        if self.is_closed or self._queued_bytes + len(payload) > self._limit_bytes:
            self._stats.dropped_bytes_out += len(payload)
            return
        if (
            not self._queue
            and self.ledger.ahead(at) + len(payload) // self._bytes_per_sample <= self._lead
        ):
            self._send(utterance, offset_ms, payload, at)
            self._flush()
            return
        self._queue.append((utterance, offset_ms, payload))
        self._queued_bytes += len(payload)
        self.pump(at)

    def push_end(self, utterance: int, at: int) -> None:
        """The utterance has no more audio."""
        self._queue.append(_End(utterance))
        self.pump(at)

    def push_mark(self, name: str, at: int) -> None:
        """The worker wants to know when all audio before has been played."""
        self._queue.append(name)
        self.pump(at)

    def clear(self, at: int) -> None:
        """Drop what has not been played; tell the worker what was, and which marks were flushed."""
        names = self._drop_queue()
        if not self._has_clear:
            self._tell_flushed(names)
            return
        cut = self.ledger.clear(at)
        self._core.send_clear()
        self._stats.clears += 1
        self._flush()
        self._unmarked = 0
        self._speaking = None
        for utterance in cut.utterances:
            self._tell(
                Played(utterance=utterance.number, played_ms=utterance.played_ms, cleared=True)
            )
        self._tell_flushed([*cut.worker_marks, *names])

    def _tell_flushed(self, names: list[str]) -> None:
        for name in names:
            self._tell(MarkReached(name=name, cleared=True))

    def _drop_queue(self) -> list[str]:
        names = [item for item in self._queue if isinstance(item, str)]
        for item in self._queue:
            if isinstance(item, _End):
                self.ledger.utterance(item.utterance).is_complete = True
        self._queue.clear()
        self._stats.cleared_bytes_out += self._queued_bytes
        self._queued_bytes = 0
        return names

    # towards the carrier

    def pump(self, at: int) -> None:
        """Send what the lead allows at media position ``at`` (samples of the sent format)."""
        queue = self._queue
        if not queue:
            return
        while queue:
            item = queue[0]
            if isinstance(item, tuple):
                if not self._send_part(item, at):
                    break
            else:
                queue.popleft()
                if isinstance(item, str):
                    self._send_mark(at, item)
                else:
                    self._complete(item.utterance, at)
        self._flush()

    def _send_part(self, item: _Audio, at: int) -> bool:
        """Send as much of the first item as fits; False when the lead is used up."""
        utterance, offset_ms, payload = item
        room = (self._lead - self.ledger.ahead(at)) * self._bytes_per_sample
        if len(payload) > room:
            room -= room % self._frame_bytes
            if room <= 0:
                return False
            rest_ms = offset_ms + room // self._bytes_per_sample // self._per_ms
            self._queue[0] = (utterance, rest_ms, payload[room:])
            payload = payload[:room]
        else:
            self._queue.popleft()
        self._queued_bytes -= len(payload)
        self._send(utterance, offset_ms, payload, at)
        return True

    def _send(self, utterance: int, offset_ms: int, payload: bytes, at: int) -> None:
        if utterance != self._speaking:
            self._speaking = utterance
            self._on_first_audio(utterance, at)
        self._core.send_audio(payload)
        self.ledger.place(utterance, offset_ms, payload, at)
        stats = self._stats
        stats.frames_out += 1
        stats.bytes_out += len(payload)
        self._unmarked += len(payload)
        if self._unmarked >= self._mark_every * self._bytes_per_sample:
            self._send_mark(at)

    def _complete(self, number: int, at: int) -> None:
        self.ledger.utterance(number).is_complete = True
        if self._unmarked:
            self._send_mark(at)

    def _send_mark(self, at: int, worker_name: str | None = None) -> None:
        self._unmarked = 0
        name = self.ledger.add_mark(at, worker_name)
        if self._has_marks:
            self._core.send_mark(name)

    def probe(self, at: int) -> None:
        """Send a mark into the empty buffer: it comes back at once and shows the way's length."""
        if self._has_marks:
            self._send_mark(at)
            self._flush()

    # what was played

    def echo(self, name: str, at: int) -> None:
        """The carrier sent a mark back."""
        reached = self.ledger.echo(name, at)
        if reached.is_stale:
            self._stats.marks_stale += 1
            return
        self._report(at)
        for worker_name in reached.worker_marks:
            self._tell(MarkReached(name=worker_name))

    def tick(self, at: int) -> None:
        """Every 100 ms: let the estimate run on, tell the worker, send what fits."""
        reached = self.ledger.advance(at)
        self._stats.marks_lost = self.ledger.lost_marks
        self._report(at)
        for worker_name in reached.worker_marks:
            self._tell(MarkReached(name=worker_name))
        self.pump(at)

    def _report(self, at: int) -> None:
        for utterance in self.ledger.active():
            if self.ledger.finish(utterance):
                self._tell(
                    Played(utterance=utterance.number, played_ms=utterance.played_ms, done=True)
                )
            elif self._is_playing(utterance, at):
                self._tell(Played(utterance=utterance.number, played_ms=utterance.played_ms))

    def _is_playing(self, utterance: Utterance, at: int) -> bool:
        return utterance.ended_at is not None and at - utterance.ended_at < self._mark_every

    @property
    def is_idle(self) -> bool:
        """Nothing is queued, and the caller has heard all that was sent."""
        return not self._queue and not self.ledger.has_unplayed and not self.ledger.pending_marks

    @property
    def has_queue(self) -> bool:
        """Something waits to be sent."""
        return bool(self._queue)

    @property
    def queued_ms(self) -> int:
        """Audio that waits here, not yet sent."""
        return self._queued_bytes // (self._bytes_per_sample * self._per_ms)

    def left_ms(self, at: int) -> int:
        """How long it takes to play all that the bot has sent."""
        queued = self._queued_bytes // self._bytes_per_sample
        return (queued + self.ledger.ahead(at) + self.ledger.delay) // self._per_ms

    def stop(self, at: int) -> None:
        """The stream is over: what has not been played will not be. The carrier is told nothing."""
        self.is_closed = True
        self.ledger.advance(at)
        names = self._drop_queue()
        self.ledger.delay = 0  # nothing that is under way will be heard
        cut = self.ledger.clear(at)
        for utterance in cut.utterances:
            self._tell(
                Played(utterance=utterance.number, played_ms=utterance.played_ms, cleared=True)
            )
        self._tell_flushed([*cut.worker_marks, *names])
