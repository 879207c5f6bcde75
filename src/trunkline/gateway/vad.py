"""When the caller speaks: Silero on the caller's audio, with the decisions that Pipecat makes.

One model session serves all calls of a process, in batches of at most 16 windows spread over the 32
ms that a window lasts: larger batches are no cheaper and hold the event loop up. A window counts as
speech when the model is confident *and* the last 400 ms are loud enough, as in Pipecat 1.14
(``pipecat/audio/vad/vad_analyzer.py``, ``silero.py``, ``audio/volume.py``), so an agent hears the
same starts and stops here as it would with its own detector.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections import deque
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Protocol, cast

import loudness
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from trunkline.audio import MediaFormat, Resampler, decode
from trunkline.errors import ConfigError

__all__ = [
    "BATCH_WINDOWS",
    "START_MS",
    "STOP_MS",
    "SpeechDetector",
    "SpeechGate",
    "SpeechStream",
    "find_model",
]

BATCH_WINDOWS = 16
START_MS = 200
"""Speech this long is a start."""
STOP_MS = 200
"""Quiet this long is a stop."""

_CONFIDENCE = 0.7
_MIN_VOLUME = 0.6
_SMOOTHING = 0.2
_QUIETEST_LUFS, _LOUDEST_LUFS = -110.0, -10.0
_LOUDNESS_MS = 400
_WINDOW_MS = 32
_LONGEST_PERIOD_S = 0.010
_BACKLOG_WINDOWS = 62  # two seconds; a detector that is further behind skips

# The model's state drifts during non-speech and then misses what follows; it is reset every two
# seconds of clear quiet.
_RESET_WINDOWS = 63
_RESET_CONFIDENCE = 0.1
_RESET_LOW_WINDOWS = 5

_STATE_SHAPE = (2, 128)

Floats = NDArray[np.float32]

_measure_lufs = cast(
    "Callable[[Floats, int], float]",
    loudness.integrated_loudness,  # pyright: ignore[reportUnknownMemberType] - no stubs
)


class _Model(Protocol):
    """The part of onnxruntime that is used; it is not typed itself."""

    def run(self, output_names: None, input_feed: dict[str, object]) -> tuple[Floats, Floats]: ...


def find_model() -> Path:
    """The model file that pipecat-ai ships, found without importing pipecat (a second, 80 MB).

    Raises:
        ConfigError: pipecat-ai is not installed, or has no such file.
    """
    spec = importlib.util.find_spec("pipecat")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder) / "audio" / "vad" / "data" / "silero_vad.onnx"
        if path.is_file():
            return path
    raise ConfigError(
        "the speech detector's model is missing: pipecat-ai is not installed as it should be"
    )


class _State(Enum):
    QUIET = 1
    STARTING = 2
    SPEAKING = 3
    STOPPING = 4


class SpeechGate:
    """Turns one decision for each window into starts and stops. Pure."""

    __slots__ = ("_count", "_state")

    _START_WINDOWS = round(START_MS / _WINDOW_MS)
    _STOP_WINDOWS = round(STOP_MS / _WINDOW_MS)

    def __init__(self) -> None:
        self._state = _State.QUIET
        self._count = 0

    @property
    def is_quiet(self) -> bool:
        """No speech, not even a beginning."""
        return self._state is _State.QUIET

    @property
    def is_speaking(self) -> bool:
        """Speech was confirmed and its end was not."""
        return self._state in (_State.SPEAKING, _State.STOPPING)

    def decide(self, is_speech: bool) -> bool | None:
        """True when speech is confirmed with this window, False when its end is, else None."""
        state = self._state
        if is_speech:
            if state is _State.QUIET:
                self._state, self._count = _State.STARTING, 1
            elif state is _State.STARTING:
                self._count += 1
            elif state is _State.STOPPING:
                self._state = _State.SPEAKING
        elif state is _State.STARTING:
            self._state = _State.QUIET
        elif state is _State.SPEAKING:
            self._state, self._count = _State.STOPPING, 1
        elif state is _State.STOPPING:
            self._count += 1
        if self._state is _State.STARTING and self._count >= self._START_WINDOWS:
            self._state = _State.SPEAKING
            return True
        if self._state is _State.STOPPING and self._count >= self._STOP_WINDOWS:
            self._state = _State.QUIET
            return False
        return None


class _Volume:
    """Smoothed BS.1770 loudness of the last 400 ms, 0 to 1."""

    __slots__ = ("_buffer", "_end", "_sample_rate_hz", "_smoothed", "_window_samples")

    def __init__(self, sample_rate_hz: int) -> None:
        self._sample_rate_hz = sample_rate_hz
        self._window_samples = _LOUDNESS_MS * sample_rate_hz // 1000
        # Twice the window, so that samples move once in 400 ms and not with each window.
        self._buffer: Floats = np.zeros(2 * self._window_samples, dtype=np.float32)
        self._end = 0
        self._smoothed = 0.0

    def update(self, samples: Floats) -> float:
        size = samples.size
        if self._end + size > self._buffer.size:
            kept = self._window_samples - size
            self._buffer[:kept] = self._buffer[self._end - kept : self._end]
            self._end = kept
        self._buffer[self._end : self._end + size] = samples
        self._end += size
        self._smoothed += _SMOOTHING * (self._measure() - self._smoothed)
        return self._smoothed

    def _measure(self) -> float:
        if self._end < self._window_samples:
            return 0.0
        window = self._buffer[self._end - self._window_samples : self._end]
        lufs = _measure_lufs(window, self._sample_rate_hz)
        return max(0.0, min(1.0, (lufs - _QUIETEST_LUFS) / (_LOUDEST_LUFS - _QUIETEST_LUFS)))


class SpeechStream:
    """One call's side of the detector. Made by ``SpeechDetector.open``.

    Args:
        detector: The process's detector.
        received_format: Of the audio that ``feed`` gets.
        on_start: Called with the decision's media time when speech is confirmed.
        on_stop: Called with the decision's media time when its end is.
    """

    def __init__(
        self,
        detector: SpeechDetector,
        received_format: MediaFormat,
        on_start: Callable[[int], None],
        on_stop: Callable[[int], None],
    ) -> None:
        rate_hz = received_format.sample_rate_hz
        self.sample_rate_hz = 8000 if rate_hz == 8000 else 16000
        self._resampler = Resampler(rate_hz, 16000) if rate_hz not in (8000, 16000) else None
        self._detector = detector
        self._format = received_format
        self._on_start = on_start
        self._on_stop = on_stop
        self._payload_window_bytes = received_format.n_bytes(_WINDOW_MS)
        self._payload = bytearray()
        self._pcm = bytearray()
        self._end_ms = 0
        self._is_ready = False
        self.window_samples = 256 if self.sample_rate_hz == 8000 else 512
        self._context_samples = 32 if self.sample_rate_hz == 8000 else 64
        self.gate = SpeechGate()
        self._volume = _Volume(self.sample_rate_hz)
        self._windows_since_reset = 0
        self._low_windows = 0
        self.skipped_ms = 0
        """Audio that was never looked at, because the detector was too far behind."""
        self._reset_model()

    def _reset_model(self) -> None:
        self.state: Floats = np.zeros(_STATE_SHAPE, dtype=np.float32)
        self.context: Floats = np.zeros(self._context_samples, dtype=np.float32)

    def feed(self, payload: bytes, end_ms: int) -> None:
        """Caller audio whose last sample is at media time ``end_ms``."""
        self._payload += payload
        self._end_ms = end_ms
        if not self._is_ready and len(self._payload) >= self._payload_window_bytes:
            self._is_ready = True
            self._detector.enqueue(self)

    def take_window(self) -> Floats | None:
        """The next window as floats, None when there is too little audio. For the detector."""
        self._skip_backlog()
        needed = 2 * self.window_samples
        while len(self._pcm) < needed and len(self._payload) >= self._payload_window_bytes:
            chunk = bytes(self._payload[: self._payload_window_bytes])
            del self._payload[: self._payload_window_bytes]
            pcm = decode(chunk, self._format)
            if self._format.channels > 1:
                pcm = np.frombuffer(pcm, np.int16)[:: self._format.channels].tobytes()
            self._pcm += pcm if self._resampler is None else self._resampler.process(pcm)
        if len(self._pcm) < needed:
            self._is_ready = False
            return None
        samples = np.frombuffer(bytes(self._pcm[:needed]), np.int16).astype(np.float32)
        del self._pcm[:needed]
        samples *= 1.0 / 32768.0
        return samples

    def _skip_backlog(self) -> None:
        surplus = len(self._payload) // self._payload_window_bytes - _BACKLOG_WINDOWS
        if surplus > 0:
            del self._payload[: surplus * self._payload_window_bytes]
            self.skipped_ms += surplus * _WINDOW_MS
            self._reset_model()

    def judge(self, samples: Floats, confidence: float) -> None:
        """Take the model's word on a window; state and context are set. For the detector."""
        self._count_towards_reset(confidence)
        volume = self._volume.update(samples)
        decision = self.gate.decide(confidence >= _CONFIDENCE and volume >= _MIN_VOLUME)
        if decision is None:
            return
        at_ms = max(0, self._end_ms - self._format.duration_ms(len(self._payload)))
        if decision:
            self._on_start(at_ms)
        else:
            self._on_stop(at_ms)

    def _count_towards_reset(self, confidence: float) -> None:
        self._windows_since_reset += 1
        self._low_windows = self._low_windows + 1 if confidence < _RESET_CONFIDENCE else 0
        is_due = self._windows_since_reset >= _RESET_WINDOWS
        if is_due and self.gate.is_quiet and self._low_windows >= _RESET_LOW_WINDOWS:
            self._reset_model()
            self._windows_since_reset = 0

    def close(self) -> None:
        """No more audio comes, and nothing more is reported."""
        self._detector.forget(self)

    @property
    def is_queued(self) -> bool:
        """It waits for its turn at the detector."""
        return self._is_ready


class SpeechDetector:
    """The process's model and its batches. Use it on the event loop's thread only.

    Raises:
        ConfigError: the model is missing.
    """

    def __init__(self, model: Path | None = None) -> None:
        self._model = _load_model(model or find_model())
        self._rates = {rate_hz: np.array(rate_hz, dtype=np.int64) for rate_hz in (8000, 16000)}
        self._streams: set[SpeechStream] = set()
        self._ready: dict[int, deque[SpeechStream]] = {8000: deque(), 16000: deque()}
        self._timer: asyncio.TimerHandle | None = None

    def open(
        self,
        received_format: MediaFormat,
        on_start: Callable[[int], None],
        on_stop: Callable[[int], None],
    ) -> SpeechStream:
        """Begin to listen to a call."""
        stream = SpeechStream(self, received_format, on_start, on_stop)
        self._streams.add(stream)
        return stream

    def forget(self, stream: SpeechStream) -> None:
        """End of a call."""
        self._streams.discard(stream)

    def enqueue(self, stream: SpeechStream) -> None:
        """A stream has a whole window."""
        self._ready[stream.sample_rate_hz].append(stream)
        if self._timer is None:
            self._schedule()

    def _schedule(self) -> None:
        # So often that each turn finds at most one batch, and never so rarely that a decision waits
        # long.
        turns = -(-len(self._streams) // BATCH_WINDOWS)
        period_s = min(_LONGEST_PERIOD_S, _WINDOW_MS / 1000 / max(1, turns))
        self._timer = asyncio.get_running_loop().call_later(period_s, self._turn)

    def _turn(self) -> None:
        self._timer = None
        for rate_hz in self._ready:
            self.run_batch(rate_hz)
        if any(self._ready.values()):
            self._schedule()

    def run_batch(self, rate_hz: int) -> int:
        """Run the model on up to 16 windows; returns how many it were."""
        ready = self._ready[rate_hz]
        streams: list[SpeechStream] = []
        windows: list[Floats] = []
        while ready and len(streams) < BATCH_WINDOWS:
            stream = ready.popleft()
            window = stream.take_window() if stream in self._streams else None
            if window is not None:
                streams.append(stream)
                windows.append(window)
        if streams:
            self._infer(rate_hz, streams, windows)
            # A stream that still has a window gets its next turn; its state allows one window at a
            # time.
            ready.extend(stream for stream in streams if stream.is_queued)
        return len(streams)

    def _infer(self, rate_hz: int, streams: list[SpeechStream], windows: list[Floats]) -> None:
        rows = [
            np.concatenate((stream.context, window))
            for stream, window in zip(streams, windows, strict=True)
        ]
        inputs = np.stack(rows)
        states = np.stack([stream.state for stream in streams], axis=1)
        confidences, next_states = self._model.run(
            None, {"input": inputs, "state": states, "sr": self._rates[rate_hz]}
        )
        context = 32 if rate_hz == 8000 else 64
        for index, stream in enumerate(streams):
            stream.state = next_states[:, index]
            stream.context = rows[index][-context:]
            stream.judge(windows[index], float(confidences[index, 0]))


def _load_model(path: Path) -> _Model:
    options = onnxruntime.SessionOptions()  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] - no stubs
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(path),
        options,  # pyright: ignore[reportUnknownArgumentType] - no stubs
        providers=["CPUExecutionProvider"],
    )
    return cast("_Model", session)
