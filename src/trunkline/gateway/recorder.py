"""Stereo recordings, written as the calls go: caller left, bot right, PCM16 at the caller's rate.

The time base is the received samples, so nothing drifts; bot audio lies where the caller heard it
and ends where a clear cut it. One writer thread serves the process: the event loop hands over about
a second of a call at a time and never touches the disk. When the disk is behind, a block is left
out: silence in the file, counted, and the call goes on. Sizes in the header are rewritten with each
block, so a killed process leaves a file that plays, at most two seconds short.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import structlog
from numpy.typing import NDArray

from trunkline.audio import (
    WAV_HEADER_BYTES,
    MediaFormat,
    Resampler,
    decode,
    patch_sizes,
    wav_header,
)
from trunkline.gateway.marks import PlayedAudio

__all__ = ["BLOCK_MS", "Block", "Recorder", "Recording"]

log = structlog.get_logger(__name__)

BLOCK_MS = 1_000
"""Audio of a call that is handed to the writer at once."""
_QUEUE_BLOCKS = 512  # of all calls together: about 8 MB
_CHANNELS = 2
_CLOSE_WITHIN_S = 5.0

Samples = NDArray[np.int16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A stretch of one call, ready to be written."""

    start: int
    """Position in received samples."""
    end: int
    caller: Sequence[tuple[int, bytes]]
    """Received audio with its position."""
    bot: Sequence[PlayedAudio]
    """Sent audio with its position, in samples of the sent format."""


class Recorder:
    """The process's writer thread.

    Args:
        queue_blocks: Blocks that may wait for the disk, of all calls together.
    """

    def __init__(self, queue_blocks: int = _QUEUE_BLOCKS) -> None:
        self._orders: queue.Queue[Callable[[], None] | None] = queue.Queue(queue_blocks)
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def open(self, path: Path, received_format: MediaFormat, sent_format: MediaFormat) -> Recording:
        """A new recording. Its file is made by the writer thread with the first block."""
        return Recording(self, path, received_format, sent_format)

    def submit(self, order: Callable[[], None]) -> bool:
        """Queue work for the thread; False when the queue is full."""
        try:
            self._orders.put_nowait(order)
        except queue.Full:
            return False
        return True

    def _run(self) -> None:
        while (order := self._orders.get()) is not None:
            try:
                order()
            except Exception:
                log.exception("recording order failed")

    def close(self) -> None:
        """Write what is queued and end the thread."""
        self._orders.put(None)
        self._thread.join(_CLOSE_WITHIN_S)


class Recording:
    """One call's file: the loop collects audio and hands it over in blocks, the thread writes."""

    def __init__(
        self, recorder: Recorder, path: Path, received_format: MediaFormat, sent_format: MediaFormat
    ) -> None:
        self._recorder = recorder
        self.path = path
        self._received = received_format
        self._sent = sent_format
        self._received_sample_bytes = received_format.bytes_per_sample * received_format.channels
        self._sent_sample_bytes = sent_format.bytes_per_sample * sent_format.channels
        rates = sent_format.sample_rate_hz, received_format.sample_rate_hz
        self._resampler = None if rates[0] == rates[1] else Resampler(*rates)
        self._block_samples = BLOCK_MS * received_format.sample_rate_hz // 1000
        self._rolled = 0
        self._caller: list[tuple[int, bytes]] = []
        self._bot: list[PlayedAudio] = []
        self._file: BinaryIO | None = None
        self._end_frames = 0
        self._has_failed = False
        self.gaps = 0
        """Blocks left out because the disk was behind or failed."""

    # event loop

    def add_caller(self, position: int, payload: bytes) -> None:
        """Received audio at a position in received samples, in order."""
        self._caller.append((position, payload))

    def add_bot(self, played: Iterable[PlayedAudio]) -> None:
        """Sent audio that has its final place."""
        self._bot.extend(played)

    def roll(self, until: int, *, is_last: bool = False) -> None:
        """Hand over what lies before ``until`` (received samples) once it is a block. Never waits.

        Nothing that lies before ``until`` may be added later.
        """
        if until - self._rolled < self._block_samples and not is_last:
            return
        if until <= self._rolled:
            return
        n_caller = next(
            (i for i, (position, _) in enumerate(self._caller) if position >= until),
            len(self._caller),
        )
        caller, self._caller = self._caller[:n_caller], self._caller[n_caller:]
        if caller:
            caller[-1] = self._split_caller(caller[-1], until)
        block = Block(start=self._rolled, end=until, caller=caller, bot=self._take_bot(until))
        self._rolled = until
        if not self._recorder.submit(lambda: self._write(block)):
            self.gaps += 1

    def _split_caller(self, frame: tuple[int, bytes], until: int) -> tuple[int, bytes]:
        """Keep the part of a frame that lies behind the block's end for the next block."""
        position, payload = frame
        n_bytes = (until - position) * self._received.bytes_per_sample * self._received.channels
        if n_bytes < len(payload):
            self._caller.insert(0, (until, payload[n_bytes:]))
        return position, payload[:n_bytes]

    def _take_bot(self, until: int) -> list[PlayedAudio]:
        limit = until * self._sent.sample_rate_hz // self._received.sample_rate_hz
        taken: list[PlayedAudio] = []
        kept: list[PlayedAudio] = []
        for audio in self._bot:
            n_bytes = (limit - audio.start) * self._sent_sample_bytes
            if n_bytes <= 0:
                kept.append(audio)
            elif n_bytes >= len(audio.payload):
                taken.append(audio)
            else:
                taken.append(PlayedAudio(audio.start, audio.payload[:n_bytes]))
                kept.append(PlayedAudio(limit, audio.payload[n_bytes:]))
        self._bot = kept
        return taken

    def close(self, on_closed: Callable[[], None]) -> None:
        """End the file; ``on_closed`` is called on the writer thread. Never waits.

        With a full queue the file is closed by the collector: its sizes fit, as they do after every
        block.
        """

        def finish() -> None:
            self._close_file()
            on_closed()

        if not self._recorder.submit(finish):
            self.gaps += 1
            on_closed()

    # writer thread

    def _write(self, block: Block) -> None:
        if self._has_failed:
            self.gaps += 1
            return
        try:
            file = self._file or self._open()
            frames = np.zeros((max(0, block.end - block.start), _CHANNELS), dtype="<i2")
            for position, payload in _runs(block.caller, self._received_sample_bytes):
                _lay(frames[:, 0], position - block.start, self._caller_samples(payload))
            bot = ((audio.start, audio.payload) for audio in block.bot)
            for position, payload in _runs(bot, self._sent_sample_bytes):
                self._lay_bot(frames[:, 1], block.start, position, payload)
            file.seek(WAV_HEADER_BYTES + block.start * 2 * _CHANNELS)
            file.write(frames.tobytes())
            self._end_frames = max(self._end_frames, block.end)
            patch_sizes(file, self._end_frames * 2 * _CHANNELS)
            file.flush()
        except OSError as error:
            self._has_failed = True
            self.gaps += 1
            log.error("recording failed", error=error.strerror)
            self._close_file()

    def _open(self) -> BinaryIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rate_hz = self._received.sample_rate_hz
        self._file = self.path.open("wb")
        self._file.write(wav_header(channels=_CHANNELS, sample_rate_hz=rate_hz, data_bytes=0))
        return self._file

    def _caller_samples(self, payload: bytes) -> Samples:
        return _first_channel(decode(payload, self._received), self._received)

    def _lay_bot(self, track: Samples, block_start: int, position: int, payload: bytes) -> None:
        samples = _first_channel(decode(payload, self._sent), self._sent)
        if self._resampler is not None:
            samples = np.frombuffer(self._resampler.process(samples.tobytes()), dtype="<i2")
            position = position * self._received.sample_rate_hz // self._sent.sample_rate_hz
        _lay(track, position - block_start, samples)

    def _close_file(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            try:
                file.close()
            except OSError as error:
                log.error("recording cannot be closed", error=error.strerror)


def _first_channel(pcm16: bytes, media_format: MediaFormat) -> Samples:
    samples = np.frombuffer(pcm16, dtype="<i2")
    return samples if media_format.channels == 1 else samples[:: media_format.channels]


def _runs(pieces: Iterable[tuple[int, bytes]], sample_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Join pieces that follow each other: fifty frames cost one decoding and one copy."""
    begin, end, run = 0, -1, list[bytes]()
    for position, payload in pieces:
        if position != end and run:
            yield begin, b"".join(run)
            run = []
        if not run:
            begin = position
        run.append(payload)
        end = position + len(payload) // sample_bytes
    if run:
        yield begin, b"".join(run)


def _lay(track: Samples, at: int, samples: Samples) -> None:
    """Put samples into a track at a position; what lies outside is cut off."""
    if at < 0:
        samples, at = samples[-at:], 0
    n_samples = min(samples.size, track.size - at)
    if n_samples > 0:
        track[at : at + n_samples] = samples[:n_samples]
