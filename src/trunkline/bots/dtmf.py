"""The caller's keys as messages of the conversation: collected to an entry, then answered."""

# Pipecat's signatures have untyped **kwargs and handlers.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InputDTMFFrame,
    LLMMessagesAppendFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from trunkline.bots.pipeline import DtmfSettings

__all__ = ["DtmfTurns"]


class DtmfTurns(FrameProcessor):
    """Stands before the user aggregator. The first key interrupts the bot, as in every phone menu.

    Pipecat's DTMFAggregator makes transcriptions of keys, which then wait for the end of a turn of
    speech that never began; a message for the LLM is answered at once.

    Args:
        settings: The agent's.
        on_entry: Called with the text of each entry, for the transcript.
    """

    def __init__(self, settings: DtmfSettings, *, on_entry: Callable[[str], None]) -> None:
        super().__init__()
        self._settings = settings
        self._on_entry = on_entry
        self._digits = ""
        self._timer: asyncio.Task[None] | None = None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Take keys in; pass everything on."""
        await super().process_frame(frame, direction)
        if isinstance(frame, EndFrame | CancelFrame):
            await self._stop_timer()
        await self.push_frame(frame, direction)
        if isinstance(frame, InputDTMFFrame) and self._settings.enabled:
            await self._press(frame.button.value)

    async def cleanup(self) -> None:
        """Stop waiting for further keys."""
        await super().cleanup()
        await self._stop_timer()

    async def _press(self, digit: str) -> None:
        await self._stop_timer()
        if not self._digits:
            await self.broadcast_interruption()
        is_over = digit == self._settings.terminator
        if not is_over:
            self._digits += digit
        if is_over or not self._settings.timeout_s:
            await self._enter()
        else:
            self._timer = self.create_task(self._enter_later())

    async def _enter_later(self) -> None:
        await asyncio.sleep(self._settings.timeout_s)
        await self._enter()

    async def _enter(self) -> None:
        digits, self._digits = self._digits, ""
        if not digits:
            return
        text = self._settings.template.replace("{digits}", digits)
        self._on_entry(text)
        await self.push_frame(
            LLMMessagesAppendFrame(messages=[{"role": "user", "content": text}], run_llm=True)
        )

    async def _stop_timer(self) -> None:
        if self._timer is not None:
            timer, self._timer = self._timer, None
            await self.cancel_task(timer)
