from __future__ import annotations

import asyncio
import importlib.util
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADState

from tests.support.waiting import eventually
from trunkline.audio import Encoding, MediaFormat, decode, encode, resample
from trunkline.bots.offline.speech import Synthesizer
from trunkline.errors import ConfigError
from trunkline.gateway import vad
from trunkline.gateway.vad import SpeechDetector, SpeechGate, find_model

PCMU = MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=8000)
L16_16K = MediaFormat(encoding=Encoding.L16, sample_rate_hz=16000)
SENTENCES = (
    "Hello, I would like to book a table for two.",
    "Yes. Tomorrow at seven would be perfect, thank you very much.",
    "Could you spell that for me please?",
)


def conversation(rate_hz: int) -> bytes:
    """PCM16: speech at three levels, between pauses of near silence; the last pause is long."""
    noise = np.random.default_rng(1)
    parts: list[np.ndarray] = []
    for sentence, level, pause_s in zip(SENTENCES, (1.0, 0.5, 0.25), (0.7, 1.1, 3.0), strict=True):
        pcm, spoken_hz = Synthesizer().speak(sentence)
        speech = np.frombuffer(resample(pcm, spoken_hz, rate_hz), np.int16)
        parts.append(noise.integers(-8, 9, int(pause_s * rate_hz)).astype(np.float64))
        parts.append(speech * level)
    parts.append(noise.integers(-8, 9, 3 * rate_hz).astype(np.float64))
    return np.concatenate(parts).astype("<i2").tobytes()


class Listener:
    """What a stream decided, with the state after each window."""

    def __init__(self, detector: SpeechDetector, media_format: MediaFormat) -> None:
        self.events: list[tuple[str, int]] = []
        self.stream = detector.open(
            media_format,
            lambda at_ms: self.events.append(("start", at_ms)),
            lambda at_ms: self.events.append(("stop", at_ms)),
        )


def windows_of(payload: bytes, window_bytes: int) -> list[bytes]:
    return [
        payload[at : at + window_bytes]
        for at in range(0, len(payload) - window_bytes + 1, window_bytes)
    ]


def peer_states(windows: list[bytes], rate_hz: int) -> list[bool]:
    """Pipecat's own detector: speaking or not, after each window."""
    analyzer = SileroVADAnalyzer(sample_rate=rate_hz)
    analyzer.set_sample_rate(rate_hz)
    run = analyzer._run_analyzer  # noqa: SLF001 - without its thread hop
    states = [run(window) for window in windows]
    return [state in (VADState.SPEAKING, VADState.STOPPING) for state in states]


def changes(states: list[bool]) -> list[int]:
    return [index for index, (a, b) in enumerate(pairwise([False, *states])) if a != b]


@pytest.mark.parametrize("media_format", [PCMU, L16_16K], ids=["PCMU at 8 kHz", "L16 at 16 kHz"])
async def test_agrees_with_pipecats_own_detector(media_format: MediaFormat) -> None:
    """Sixteen calls in one batch, each with its own beginning, against one analyser for each."""
    rate_hz = media_format.sample_rate_hz
    payload = encode(conversation(rate_hz), media_format)
    detector = SpeechDetector()
    window_bytes = media_format.n_bytes(32)
    shifts = [media_format.n_bytes(37 * index) for index in range(16)]
    inputs = [windows_of(payload[shift:], window_bytes) for shift in shifts]
    listeners = [Listener(detector, media_format) for _ in inputs]
    ours: list[list[bool]] = [[] for _ in inputs]
    for index in range(min(len(windows) for windows in inputs)):
        for listener, windows in zip(listeners, inputs, strict=True):
            listener.stream.feed(windows[index], (index + 1) * 32)
        assert detector.run_batch(rate_hz) == len(inputs)
        for states, listener in zip(ours, listeners, strict=True):
            states.append(listener.stream.gate.is_speaking)
    for states, windows, listener in list(zip(ours, inputs, listeners, strict=True))[::5]:
        pcm = [decode(window, media_format) for window in windows[: len(states)]]
        theirs = peer_states(pcm, rate_hz)
        agreement = sum(a == b for a, b in zip(states, theirs, strict=True)) / len(states)
        assert agreement >= 0.99
        assert len(changes(theirs)) >= 6, "the conversation must start and stop three times"
        assert len(changes(states)) == len(changes(theirs))
        for a, b in zip(changes(states), changes(theirs), strict=True):
            assert abs(a - b) <= 1
        at_ms = [(index + 1) * 32 for index in changes(states)]
        assert [at for _, at in listener.events] == at_ms
        assert [kind for kind, _ in listener.events] == ["start", "stop"] * (len(at_ms) // 2)


async def test_the_loop_drives_the_batches_and_times_are_media_times() -> None:
    detector = SpeechDetector()
    listener = Listener(detector, PCMU)
    payload = encode(conversation(8000), PCMU)[: 8 * 1900]  # less than a detector may be behind
    spoken: asyncio.Event = asyncio.Event()
    stream = detector.open(PCMU, lambda at_ms: spoken.set(), lambda at_ms: None)
    for at in range(0, len(payload), 160):
        listener.stream.feed(payload[at : at + 160], (at + 160) // 8)
        stream.feed(payload[at : at + 160], (at + 160) // 8)
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await spoken.wait()
    await eventually(lambda: not listener.stream.is_queued, what="all windows")
    assert listener.events[0][0] == "start"
    assert 700 <= listener.events[0][1] <= 1500
    stream.close()
    listener.stream.close()


async def test_a_stream_far_behind_skips_and_counts() -> None:
    detector = SpeechDetector()
    listener = Listener(detector, PCMU)
    listener.stream.feed(bytes([0xFF]) * PCMU.n_bytes(32 * 100), 3200)
    assert detector.run_batch(8000) == 1
    assert listener.stream.skipped_ms == 38 * 32


async def test_a_closed_stream_is_not_looked_at() -> None:
    detector = SpeechDetector()
    listener = Listener(detector, PCMU)
    listener.stream.feed(bytes(PCMU.n_bytes(64)), 64)
    listener.stream.close()
    assert detector.run_batch(8000) == 0


async def test_other_rates_are_resampled() -> None:
    detector = SpeechDetector()
    media_format = MediaFormat(encoding=Encoding.L16, sample_rate_hz=24000)
    listener = Listener(detector, media_format)
    payload = conversation(24000)[: 2 * 24000 * 4]
    window_bytes = media_format.n_bytes(32)
    for index, window in enumerate(windows_of(payload, window_bytes)):
        listener.stream.feed(window, (index + 1) * 32)
        detector.run_batch(16000)
    assert [kind for kind, _ in listener.events][:1] == ["start"]


async def test_more_than_sixteen_take_turns() -> None:
    detector = SpeechDetector()
    listeners = [Listener(detector, PCMU) for _ in range(20)]
    for listener in listeners:
        listener.stream.feed(bytes(PCMU.n_bytes(32)), 32)
    assert detector.run_batch(8000) == 16
    assert detector.run_batch(8000) == 4
    assert detector.run_batch(8000) == 0


def test_the_model_is_found_without_importing_pipecat() -> None:
    assert find_model().is_file()
    assert importlib.util.find_spec("pipecat") is not None


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vad.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pipecat-ai"):
        find_model()


@given(st.lists(st.booleans(), max_size=80))
def test_starts_and_stops_alternate(decisions: list[bool]) -> None:
    gate = SpeechGate()
    said = [change for decision in decisions if (change := gate.decide(decision)) is not None]
    assert said == [index % 2 == 0 for index in range(len(said))]
    assert gate.is_speaking == (len(said) % 2 == 1)


def test_six_windows_of_speech_are_a_start_and_six_of_quiet_a_stop() -> None:
    gate = SpeechGate()
    assert [gate.decide(True) for _ in range(6)] == [None] * 5 + [True]
    assert [gate.decide(False) for _ in range(5)] == [None] * 5
    assert gate.decide(True) is None, "a short pause is no stop"
    assert [gate.decide(False) for _ in range(6)] == [None] * 5 + [False]
    assert gate.is_quiet
