"""Services with habits that the offline ones lack, for agents' settings: ``module:Class``."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from pipecat.frames.frames import Frame, LLMContextFrame, TTSAudioRawFrame
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService

from trunkline.bots.offline.llm import OfflineLLMService


class SilentTTSService(TTSService):
    """Takes every text, says that it failed, and gives no audio."""

    def __init__(self) -> None:
        super().__init__(
            push_start_frame=True,
            push_stop_frames=True,
            settings=TTSSettings(model=None, voice=None, language=None),
        )

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        await self.push_error("no voice today", force_treat_as_permanent=True)
        yield None


class StumblingLLMService(OfflineLLMService):
    """Fails ``failures`` times, then answers by rule."""

    def __init__(self, *, rules: list[dict[str, object]], failures: int) -> None:
        super().__init__(rules=rules)
        self._failures = failures

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        if isinstance(frame, LLMContextFrame) and self._failures:
            self._failures -= 1
            await self.push_error("overloaded")
            return
        await super().process_frame(frame, direction)


class WordTimingTTSService(TTSService):
    """Tells when each word is spoken, as services with timestamps do: 200 ms for each."""

    WORD_MS = 200

    def __init__(self) -> None:
        super().__init__(
            push_text_frames=False,
            push_start_frame=True,
            push_stop_frames=True,
            settings=TTSSettings(model=None, voice=None, language=None),
        )

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        words = text.split()
        audio = b"\x00\x10" * (self.sample_rate * self.WORD_MS * len(words) // 1000)
        yield TTSAudioRawFrame(
            audio=audio, sample_rate=self.sample_rate, num_channels=1, context_id=context_id
        )
        times = [(word, number * self.WORD_MS / 1000) for number, word in enumerate(words)]
        await self.add_word_timestamps(times, context_id)
