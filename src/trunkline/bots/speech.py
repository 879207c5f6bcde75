"""Turns a speech service's audio into utterances on the channel: rate, encoding, exact offsets."""

from __future__ import annotations

from trunkline.audio import Resampler, encode
from trunkline.bots.ledger import SpeechLedger
from trunkline.dispatch.messages import UtteranceEnd
from trunkline.dispatch.session import WorkerSession

__all__ = ["SpeechWriter"]

LONGEST_CHUNK_MS = 1_000
"""Audio of one message to the gateway."""


class SpeechWriter:
    """Writes utterances to the gateway and enters in the ledger what was sent.

    A carrier's audio is counted in whole milliseconds, so a fraction of one waits for the next
    piece.
    """

    def __init__(self, session: WorkerSession, ledger: SpeechLedger) -> None:
        self._session = session
        self._ledger = ledger
        self._format = session.call.sent_format
        self._resampler: Resampler | None = None
        self._resampler_hz = 0
        self._rest = b""

    def begin(self, context_id: str | None, *, interruptible: bool) -> None:
        """Start an utterance; one that is being written is ended first."""
        self.end()
        self._ledger.begin(context_id, interruptible=interruptible)

    def write(self, pcm16: bytes, sample_rate_hz: int) -> None:
        """Send the next piece of the utterance."""
        if sample_rate_hz != self._format.sample_rate_hz:
            pcm16 = self._resampled(pcm16, sample_rate_hz)
        self._send(encode(pcm16, self._format))

    def end(self) -> None:
        """No more audio for the utterance; does nothing between utterances."""
        current = self._ledger.current
        if current is None:
            return
        if self._resampler is not None:
            self._send(encode(self._resampler.flush(), self._format))
        if self._rest:
            missing = self._format.bytes_per_ms - len(self._rest)
            self._send(bytes([self._format.silence_byte]) * missing)
        self._ledger.end()
        self._session.send(UtteranceEnd(utterance=current))

    def drop(self) -> None:
        """Forget the utterance that is being written: the caller has interrupted it."""
        self._rest = b""
        if self._resampler is not None:
            self._resampler.clear()
        self._ledger.end()

    def _resampled(self, pcm16: bytes, sample_rate_hz: int) -> bytes:
        if self._resampler is None or self._resampler_hz != sample_rate_hz:
            self._resampler = Resampler(sample_rate_hz, self._format.sample_rate_hz)
            self._resampler_hz = sample_rate_hz
        return self._resampler.process(pcm16)

    def _send(self, payload: bytes) -> None:
        current = self._ledger.current
        if current is None:
            return
        payload = self._rest + payload
        whole = len(payload) - len(payload) % self._format.bytes_per_ms
        self._rest = payload[whole:]
        longest = self._format.n_bytes(LONGEST_CHUNK_MS)
        for start in range(0, whole, longest):
            chunk = payload[start : min(start + longest, whole)]
            offset_ms = self._ledger.audio(self._format.duration_ms(len(chunk)))
            self._session.send_audio_out(current, offset_ms, chunk)
