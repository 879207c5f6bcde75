"""The audio of one started stream, and everything that hangs on its media clock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trunkline.dispatch.messages import CallFacts, Message, SpeechStarted, SpeechStopped
from trunkline.gateway.clock import MediaClock
from trunkline.gateway.playout import Playout
from trunkline.gateway.recorder import Recorder, Recording
from trunkline.gateway.stats import Stats
from trunkline.gateway.turns import TurnLog
from trunkline.gateway.vad import START_MS, STOP_MS, SpeechDetector, SpeechStream
from trunkline.telephony.carrier import Features
from trunkline.telephony.media import AudioReceived, StreamProtocol, StreamStarted

__all__ = ["CallMedia", "started_entry"]


class CallMedia:
    """Clock, playout, turns, speech detection and recording of one stream.

    Args:
        started: The carrier's word on the stream.
        facts: The call.
        features: What the carrier can do.
        core: Its protocol.
        stats: The stream's counters.
        flush: Sends what the core has to send.
        tell: Takes messages for the worker.
        write_turn: Takes the data of each ``turn`` entry.
        now_ms: The shell's monotonic clock.
    """

    def __init__(
        self,
        started: StreamStarted,
        facts: CallFacts,
        features: Features,
        *,
        core: StreamProtocol,
        stats: Stats,
        flush: Callable[[], None],
        tell: Callable[[Message], None],
        write_turn: Callable[[dict[str, object]], None],
        now_ms: int,
    ) -> None:
        received, sent = started.received_format, started.sent_format
        self.started = started
        self._stats = stats
        self._tell = tell
        self._received_hz, self._sent_hz = received.sample_rate_hz, sent.sample_rate_hz
        self._per_ms = received.sample_rate_hz // 1000
        self._sample_bytes = received.bytes_per_sample * received.channels
        self.clock = MediaClock(received.sample_rate_hz, now_ms)
        self.playout = Playout(
            core=core,
            flush=flush,
            tell=tell,
            sent_format=sent,
            lead_ms=facts.lead_ms,
            stats=stats,
            on_first_audio=self._first_audio_sent,
            has_marks=features.marks,
            has_clear=features.clear,
        )
        self.playout.ledger.keeps_audio = False
        self.turns = TurnLog(self.playout.ledger, sent.sample_rate_hz // 1000, write_turn)
        self._speech: SpeechStream | None = None
        self.recording: Recording | None = None

    def detect_speech(self, detector: SpeechDetector) -> None:
        """Tell the worker when the caller speaks."""
        self._speech = detector.open(
            self.started.received_format, self._speech_started, self._speech_stopped
        )

    def record(self, recorder: Recorder, path: str) -> None:
        """Write both sides to a file."""
        started = self.started
        self.recording = recorder.open(Path(path), started.received_format, started.sent_format)
        self.playout.ledger.keeps_audio = True

    # time

    def position(self, now_ms: int) -> int:
        """Media position now, in samples of the sent format."""
        received = self.clock.position_samples(now_ms)
        if self._received_hz == self._sent_hz:
            return received
        return received * self._sent_hz // self._received_hz

    def position_ms(self, now_ms: int) -> int:
        """Media position now."""
        return self.clock.position_ms(now_ms)

    @property
    def received_ms(self) -> int:
        """Caller audio so far, gaps included."""
        return self.clock.received_samples // self._per_ms

    # audio

    def receive(self, event: AudioReceived, now_ms: int) -> None:
        """Take a frame of caller audio to the clock, the recording and the detector."""
        payload, stats, clock = event.payload, self._stats, self.clock
        n_samples = len(payload) // self._sample_bytes
        clock.receive(n_samples, event.timestamp_ms, now_ms)
        end = clock.received_samples
        stats.frames_in += 1
        stats.bytes_in += len(payload)
        if self.recording is not None:
            self.recording.add_caller(end - n_samples, payload)
        if self._speech is not None:
            self._speech.feed(payload, end // self._per_ms)
        if self.playout.has_queue:
            self.playout.pump(self.position(now_ms))

    @property
    def is_anyone_heard(self) -> bool:
        """The caller speaks, or the bot is being played."""
        is_caller = self._speech is not None and self._speech.gate.is_speaking
        return is_caller or not self.playout.is_idle

    def tick(self, now_ms: int) -> None:
        """Every 100 ms: what has been played, which turns are over, what can be recorded."""
        self.playout.tick(self.position(now_ms))
        self.turns.settle(self.position_ms(now_ms))
        self._roll()

    def _roll(self, *, is_last: bool = False) -> None:
        recording = self.recording
        if recording is None:
            return
        played, final = self.playout.ledger.take_played()
        recording.add_bot(played)
        until = self.clock.received_samples
        if not is_last:
            until = min(until, final * self._received_hz // self._sent_hz)
        recording.roll(until, is_last=is_last)

    def stop(self, now_ms: int) -> int:
        """The stream is over: nothing more is played or heard.

        Returns:
            How long it was, in milliseconds of media time.
        """
        self.playout.stop(self.position(now_ms))
        clock, stats = self.clock, self._stats
        if self._speech is not None:
            self._speech.close()
            stats.vad_skipped_ms = self._speech.skipped_ms
        stats.gaps_in, stats.gap_ms_in = clock.gaps, clock.gap_samples // self._per_ms
        stats.late_in, stats.longest_wait_ms_in = clock.late, clock.longest_wait_ms
        stats.clock_resyncs = clock.resyncs
        self._roll(is_last=True)
        return self.position_ms(now_ms)

    # what the parts report

    def _speech_started(self, at_ms: int) -> None:
        self.turns.speech_started(at_ms - START_MS)
        self._tell(SpeechStarted(at_ms=at_ms))

    def _speech_stopped(self, at_ms: int) -> None:
        self.turns.speech_stopped(at_ms - STOP_MS)
        self._tell(SpeechStopped(at_ms=at_ms))

    def _first_audio_sent(self, utterance: int, at: int) -> None:
        self.turns.first_audio(utterance, at * 1000 // self._sent_hz)


def started_entry(started: StreamStarted, facts: CallFacts) -> dict[str, object]:
    """Data of the journal's ``stream_started``."""
    received, sent = started.received_format, started.sent_format
    return {
        "stream_id": started.stream_id,
        "carrier_call_id": started.carrier_call_id,
        "account_id": started.account_id,
        "from_number": facts.from_number,
        "to_number": facts.to_number,
        "parameters": dict(started.parameters),
        "raw": dict(started.raw),
        "received_encoding": str(received.encoding),
        "received_rate_hz": received.sample_rate_hz,
        "sent_encoding": str(sent.encoding),
        "sent_rate_hz": sent.sample_rate_hz,
        "stream_number": facts.stream_number,
    }
