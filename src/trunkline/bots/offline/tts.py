"""A Pipecat TTS service on espeak-ng: a robot's voice, 3 ms a sentence, without a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import ClassVar

from pipecat.frames.frames import Frame, TTSAudioRawFrame
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService
from pydantic import Field

from trunkline.audio import resample
from trunkline.bots.offline.options import Options
from trunkline.bots.offline.speech import (
    DEFAULT_VOICE,
    DEFAULT_WORDS_PER_MINUTE,
    FASTEST_WORDS_PER_MINUTE,
    SLOWEST_WORDS_PER_MINUTE,
    Synthesizer,
)

__all__ = ["FRAME_MS", "OfflineTTSOptions", "OfflineTTSService"]

FRAME_MS = 40
"""Duration of one audio frame; the last one of a sentence may be shorter."""

_BYTES_PER_SAMPLE = 2


class OfflineTTSOptions(Options):
    """What an agent's row says. Everything has a default."""

    service: ClassVar[str] = "tts"

    voice: str = Field(default=DEFAULT_VOICE, max_length=64)
    """espeak-ng's name, with a variant if wanted: ``en-us+f2``."""
    words_per_minute: int = Field(
        default=DEFAULT_WORDS_PER_MINUTE, ge=SLOWEST_WORDS_PER_MINUTE, le=FASTEST_WORDS_PER_MINUTE
    )


class OfflineTTSService(TTSService):
    """Speaks sentence by sentence, at the pipeline's output rate.

    The base class does contexts, text frames, started and stopped frames, and drops what waits on
    an interruption.

    Raises:
        ConfigError: There is no such voice, or the extra ``offline`` is not installed.
    """

    def __init__(
        self, *, voice: str = DEFAULT_VOICE, words_per_minute: int = DEFAULT_WORDS_PER_MINUTE
    ) -> None:
        options = OfflineTTSOptions.parse({"voice": voice, "words_per_minute": words_per_minute})
        # Pipecat's constructors take untyped **kwargs.
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            push_start_frame=True,
            push_stop_frames=True,
            settings=TTSSettings(model="espeak-ng", voice=options.voice, language=None),
        )
        self._synthesizer = Synthesizer(options.voice, options.words_per_minute)

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        """Say ``text`` in frames of 40 ms, PCM16 mono."""
        pcm16 = await asyncio.to_thread(self._render, text)
        frame_bytes = self.sample_rate * FRAME_MS // 1000 * _BYTES_PER_SAMPLE
        for start in range(0, len(pcm16), frame_bytes):
            yield TTSAudioRawFrame(
                audio=pcm16[start : start + frame_bytes],
                sample_rate=self.sample_rate,
                num_channels=1,
                context_id=context_id,
            )

    def _render(self, text: str) -> bytes:
        pcm16, rate_hz = self._synthesizer.speak(text)
        if not pcm16:
            # Text without a sound, such as a lone bracket. A context without any audio counts as a
            # failure of the service in Pipecat, and three in a row end its use.
            return bytes(self.sample_rate * FRAME_MS // 1000 * _BYTES_PER_SAMPLE)
        return resample(pcm16, rate_hz, self.sample_rate)
