"""When a service's errors are too many: a bot must not leave the caller in silence, but fail."""

from __future__ import annotations

from enum import StrEnum

from pipecat.frames.frames import ErrorFrame
from pipecat.services.llm_service import LLMService

__all__ = ["FaultCounter", "Remedy"]

MAX_FAULTS = 3
"""Errors without a word of the bot in between; the last one is one too many."""


class Remedy(StrEnum):
    """What to do about an error."""

    IGNORE = "ignore"
    """Recognition or speech of one piece failed; the next may work."""
    RETRY = "retry"
    """The answer to the caller is missing: ask the LLM again."""
    FAIL = "fail"
    """It will not get better: end the bot, so that the gateway hears of it."""


class FaultCounter:
    """Counts errors since the bot last spoke."""

    def __init__(self) -> None:
        self._faults = 0
        self.failure: str | None = None
        """Set with ``Remedy.FAIL``: which service failed and how, in our own words."""

    def succeeded(self) -> None:
        """The bot has spoken."""
        self._faults = 0

    def count(self, error: ErrorFrame) -> Remedy:
        """Take in an error."""
        self._faults += 1
        processor = error.processor
        unusable = processor is not None and not processor.is_usable
        if error.fatal or unusable or self._faults >= MAX_FAULTS:
            name = "the pipeline" if processor is None else type(processor).__name__
            kind = "unknown" if error.category is None else error.category.value
            self.failure = self.failure or f"{name} failed: {kind}"
            return Remedy.FAIL
        return Remedy.RETRY if isinstance(processor, LLMService) else Remedy.IGNORE
