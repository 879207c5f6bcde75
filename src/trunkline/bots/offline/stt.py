"""A Pipecat STT service on pocketsphinx: hears what the agent's own small grammar allows.

It needs to be told when the caller speaks, by ``VADUserStartedSpeakingFrame`` and
``VADUserStoppedSpeakingFrame`` from upstream. Pipecat's ``SegmentedSTTService`` does the rest: it
keeps the second before the start (a detector decides about 240 ms late), queues each utterance, and
transcribes in order while frames flow on. Recognition after the end of speech costs no time in a
conversation: it takes about 50 ms, and a turn ends several hundred milliseconds after speech does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import ClassVar, Self

import structlog
from pipecat.frames.frames import Frame, InputAudioRawFrame, TranscriptionFrame
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.settings import STTSettings
from pipecat.services.stt_service import SegmentedSTTService
from pipecat.utils.time import time_now_iso8601
from pydantic import Field, model_validator

from trunkline.bots.offline.grammar import Grammar
from trunkline.bots.offline.options import Options
from trunkline.bots.offline.recogniser import DEFAULT_MIN_SCORE, recogniser_for

__all__ = ["OfflineSTTOptions", "OfflineSTTService"]

log = structlog.get_logger(__name__)

MAX_UTTERANCE_S = 30
"""Longer speech keeps its last 30 s, so that a line that is never quiet costs bounded memory and
time."""

_BYTES_PER_SAMPLE = 2

# From the end of speech to the transcript: 200 ms until the detector reports it, and the
# recognition. Only waited for when nothing is recognised, because every transcript is final.
_TTFS_P99_S = 0.4


class OfflineSTTOptions(Options):
    """What an agent's row says: ``phrases``, or ``grammar`` for more than a list, but not both."""

    service: ClassVar[str] = "stt"

    phrases: tuple[str, ...] | None = Field(default=None, min_length=1, max_length=500)
    """What a caller may say, each whole: ``["yes", "no", "what are your opening hours"]``."""
    grammar: str | None = Field(default=None, min_length=1, max_length=50_000)
    """The same in JSGF, with one public rule."""
    min_score: float = Field(default=DEFAULT_MIN_SCORE, le=0, allow_inf_nan=False)
    """Utterances that score lower are dropped as noise; -100 drops none."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.phrases is None) == (self.grammar is None):
            raise ValueError("give either phrases or grammar")
        return self

    def to_grammar(self) -> Grammar:
        """Return the grammar.

        Raises:
            ConfigError: It does not hold together.
        """
        if self.grammar is not None:
            return Grammar.from_jsgf(self.grammar)
        return Grammar.from_phrases(self.phrases or ())


class OfflineSTTService(SegmentedSTTService):
    """Turns utterances that fit the grammar into final transcripts, and lets no audio through.

    An utterance that does not fit yields nothing; the turn then ends by the user aggregator's own
    timeout.

    Raises:
        ConfigError: The grammar is unusable or has words that are not in the dictionary, or the
            extra ``offline`` is not installed.
    """

    def __init__(
        self,
        *,
        phrases: Sequence[str] | None = None,
        grammar: str | None = None,
        min_score: float = DEFAULT_MIN_SCORE,
        audio_passthrough: bool = False,
    ) -> None:
        options = OfflineSTTOptions.parse(
            {"phrases": phrases, "grammar": grammar, "min_score": min_score}
        )
        # Pipecat's constructors take untyped **kwargs.
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            audio_passthrough=audio_passthrough,
            # The recogniser adds its own, with the line's noise in it.
            trailing_silence_secs=0.0,
            ttfs_p99_latency=_TTFS_P99_S,
            settings=STTSettings(model="pocketsphinx en-us", language=None),
        )
        self._recogniser = recogniser_for(options.to_grammar())
        self._min_score = options.min_score

    @property
    def wants_wav_segments(self) -> bool:
        """Utterances come as PCM16, without a header."""
        return False

    async def process_audio_frame(
        self, frame: InputAudioRawFrame, direction: FrameDirection
    ) -> None:
        """Buffer the caller's audio, unless muted."""
        if self.is_muted:
            return
        await super().process_audio_frame(frame, direction)
        excess_bytes = (
            len(self._audio_buffer) - MAX_UTTERANCE_S * self.sample_rate * _BYTES_PER_SAMPLE
        )
        if excess_bytes > 0:
            del self._audio_buffer[:excess_bytes]

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        """Recognise one utterance, PCM16 at the service's rate, on another thread."""
        heard = await asyncio.to_thread(self._recogniser.hear, audio, self.sample_rate)
        if heard is None or heard.score < self._min_score:
            audio_ms = len(audio) * 1000 // (self.sample_rate * _BYTES_PER_SAMPLE)
            score = None if heard is None else round(heard.score, 2)
            log.debug("utterance not recognised", audio_ms=audio_ms, score=score)
            return
        yield TranscriptionFrame(
            text=heard.text, user_id=self._user_id, timestamp=time_now_iso8601(), finalized=True
        )
