"""A telephone line and a pipeline around the offline services: real engines, no stand-ins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import numpy as np
import pytest
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner

from trunkline.audio import Encoding, MediaFormat, decode, encode, resample
from trunkline.bots.offline.speech import Synthesizer

FrameT = TypeVar("FrameT", bound=Frame)

LINE_RATE_HZ = 8000
FRAME_BYTES = 640  # 40 ms
ONSET_MS = 240  # how late a detector reports the start of speech

PCMU = MediaFormat(encoding=Encoding.PCMU, sample_rate_hz=LINE_RATE_HZ)


def say_on_the_line(
    text: str, *, voice: str = "en-us", words_per_minute: int = 150, gain: float = 1.0
) -> bytes:
    """Return ``text`` as PCM16 of 8 kHz, after it has been PCMU."""
    pcm16, rate_hz = Synthesizer(voice, words_per_minute).speak(text)
    line = resample(pcm16, rate_hz, LINE_RATE_HZ)
    if gain != 1.0:
        line = (np.frombuffer(line, dtype="<i2") * gain).astype("<i2").tobytes()
    return decode(encode(line, PCMU), PCMU)


class Caller(FrameProcessor):
    """What the input transport does: audio, and speech starts and stops decided elsewhere."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)

    async def send(self, pcm16: bytes) -> None:
        for start in range(0, len(pcm16), FRAME_BYTES):
            await self.push_frame(
                InputAudioRawFrame(
                    audio=pcm16[start : start + FRAME_BYTES],
                    sample_rate=LINE_RATE_HZ,
                    num_channels=1,
                )
            )

    async def say(self, pcm16: bytes) -> None:
        """Speak, with the start reported late and the stop 200 ms after the end."""
        await self.send(bytes(LINE_RATE_HZ * 2))  # a quiet second, as between two turns
        late_bytes = LINE_RATE_HZ * 2 * ONSET_MS // 1000
        await self.send(pcm16[:late_bytes])
        await self.push_frame(VADUserStartedSpeakingFrame(start_secs=0.2))
        await self.send(pcm16[late_bytes:])
        await self.send(bytes(LINE_RATE_HZ * 2 // 5))
        await self.push_frame(VADUserStoppedSpeakingFrame(stop_secs=0.2))


class Listener(FrameProcessor):
    """Keeps every frame that reaches it and passes it on."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[Frame] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if direction == FrameDirection.DOWNSTREAM:
            self.frames.append(frame)
        await self.push_frame(frame, direction)

    def of(self, kind: type[FrameT]) -> list[FrameT]:
        return [frame for frame in self.frames if isinstance(frame, kind)]


class Line:
    """A running pipeline between a caller and a listener."""

    def __init__(self, caller: Caller, listener: Listener, worker: PipelineWorker) -> None:
        self.caller = caller
        self.listener = listener
        self.worker = worker


@asynccontextmanager
async def open_line(
    *processors: FrameProcessor, after: Sequence[FrameProcessor] = ()
) -> AsyncIterator[Line]:
    caller, listener = Caller(), Listener()
    worker = PipelineWorker(
        Pipeline([caller, *processors, listener, *after]),
        enable_rtvi=False,
        enable_turn_tracking=False,
        idle_timeout_secs=None,
        params=PipelineParams(
            audio_in_sample_rate=LINE_RATE_HZ, audio_out_sample_rate=LINE_RATE_HZ
        ),
    )
    started = asyncio.Event()

    @worker.event_handler("on_pipeline_started")
    async def on_started(_worker: PipelineWorker, _frame: Frame) -> None:
        started.set()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        tasks.create_task(runner.run())
        await started.wait()
        try:
            yield Line(caller, listener, worker)
        finally:
            await worker.cancel()


@pytest.fixture
def line() -> Callable[..., object]:
    """Opens a telephone line: a pipeline that runs inside ``async with``."""
    return open_line


@pytest.fixture
def phone() -> Callable[..., bytes]:
    """Speech on a telephone line: ``phone("hello", voice="en-us+f2")``."""
    return say_on_the_line
