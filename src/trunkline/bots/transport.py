"""Pipecat's two ends of a call, as two plain FrameProcessors: the caller in, the bot out.

Plain, because Pipecat's base transports cost 4 ms of CPU per call-second for queues and resamplers
that a channel does not need. The output keeps one promise: what passes it downstream has been heard
by the caller. Audio is sent at once; text, the ends of turns and Bot*SpeakingFrames wait until the
gateway reports that the audio before them was played. So the conversation in the LLM's context is
the one that took place, also after an interruption.
"""

# Pipecat's signatures have untyped **kwargs and handlers.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.frames.frames import (
    AggregatedTextFrame,
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    CancelFrame,
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InputDTMFFrame,
    InterruptionFrame,
    LLMAssistantPushAggregationFrame,
    LLMFullResponseEndFrame,
    LLMMessagesTransformFrame,
    OutputAudioRawFrame,
    SpeechControlParamsFrame,
    StartFrame,
    SystemFrame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
    TTSTextFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext, LLMContextMessage
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from trunkline.audio import MediaFormat, decode
from trunkline.bots.ledger import Cut, Gate, SpeechLedger, Turn
from trunkline.bots.speech import SpeechWriter
from trunkline.dispatch.messages import (
    ClearAudio,
    DtmfPressed,
    Message,
    Played,
    SpeechStarted,
    SpeechStopped,
    SpokenText,
)
from trunkline.dispatch.session import WorkerSession

__all__ = ["ChannelInput", "ChannelOutput"]

log = structlog.get_logger(__name__)

SPEECH_START_S = 0.2
"""Speech that the gateway's detector hears before it decides that it has started."""
SPEECH_STOP_S = 0.2
"""Silence that it hears before it decides that speech has stopped; Pipecat's own default too."""

MAX_WAITING_MS = 10_000
"""Caller audio that the pipeline has not taken; then the oldest is dropped: a bot that is 10 s
behind is lost anyway."""
MAX_AHEAD_MS = 30_000
"""Speech sent and not yet played; then the pipeline waits. Bounds what an endless answer can queue
in the gateway."""
CLEAR_TIMEOUT_S = 0.25
"""The gateway says within this how much was heard before a clear."""
STALL_TIMEOUT_S = 5.0
"""Speech is queued and no word comes of its being played: the gateway is not playing it, so stop
waiting for it."""


class ChannelInput(FrameProcessor):
    """The caller's side: audio, speech decisions and keys, in order.

    Args:
        received_format: Format of caller audio on the channel.
        frame_ms: Caller audio is joined to pieces of this length.
    """

    def __init__(self, *, received_format: MediaFormat, frame_ms: int) -> None:
        super().__init__()
        self._format = received_format
        self._frame_bytes = received_format.n_bytes(frame_ms)
        self._joined = bytearray()
        self._waiting: deque[bytes | Message] = deque()
        self._waiting_bytes = 0
        self._dropped = 0
        self._arrived = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None

    # from the channel

    def audio(self, payload: bytes) -> None:
        """One frame of caller audio."""
        self._joined += payload
        if len(self._joined) >= self._frame_bytes:
            self._pass_joined()

    def message(self, message: Message) -> None:
        """Speech started or stopped, or a key; keeps its place among the audio."""
        self._pass_joined()
        self._waiting.append(message)
        self._arrived.set()

    def _pass_joined(self) -> None:
        if not self._joined:
            return
        self._waiting.append(bytes(self._joined))
        self._waiting_bytes += len(self._joined)
        self._joined.clear()
        self._arrived.set()
        if self._format.duration_ms(self._waiting_bytes) > MAX_WAITING_MS:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        oldest = next(item for item in self._waiting if isinstance(item, bytes))
        self._waiting.remove(oldest)
        self._waiting_bytes -= len(oldest)
        if not self._dropped:
            log.warning("caller audio dropped: the pipeline does not take it")
        self._dropped += 1

    # to the pipeline

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Handle one frame, as the class describes."""
        await super().process_frame(frame, direction)
        if isinstance(frame, EndFrame | CancelFrame):
            await self._stop()
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame):
            await self.push_frame(
                SpeechControlParamsFrame(
                    vad_params=VADParams(start_secs=SPEECH_START_S, stop_secs=SPEECH_STOP_S)
                )
            )
            self._pump = self.create_task(self._push_waiting())

    async def cleanup(self) -> None:
        """Stop the task."""
        await super().cleanup()
        await self._stop()

    async def _stop(self) -> None:
        if self._pump is not None:
            pump, self._pump = self._pump, None
            await self.cancel_task(pump)

    async def _push_waiting(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                item = self._waiting.popleft()
                if isinstance(item, bytes):
                    self._waiting_bytes -= len(item)
                    await self.push_frame(
                        InputAudioRawFrame(
                            audio=decode(item, self._format),
                            sample_rate=self._format.sample_rate_hz,
                            num_channels=self._format.channels,
                        )
                    )
                else:
                    await self._push_message(item)

    async def _push_message(self, message: Message) -> None:
        match message:
            case SpeechStarted():
                await self.push_frame(VADUserStartedSpeakingFrame(start_secs=SPEECH_START_S))
            case SpeechStopped():
                await self.push_frame(VADUserStoppedSpeakingFrame(stop_secs=SPEECH_STOP_S))
            case DtmfPressed(digit=digit) if digit in set(KeypadEntry):
                await self.push_frame(InputDTMFFrame(button=KeypadEntry(digit)))
            case _:
                log.debug("message for the pipeline ignored", kind=type(message).__name__)


@dataclass(frozen=True, slots=True)
class _PendingCut:
    """An interrupted turn of which the gateway has yet to say how much was heard."""

    cut: Cut
    index: int
    """Where its message stands in the conversation."""
    deadline_s: float
    """Time of the event loop at which the gateway is no longer waited for."""


class ChannelOutput(FrameProcessor):
    """The bot's side: audio to the gateway; all else onwards once what came before was heard.

    Args:
        session: The call.
        context: The conversation; read only, to know where an interrupted message belongs.
        on_turn: Called for each turn of the bot that is over, with what of it was heard.
    """

    def __init__(
        self, session: WorkerSession, context: LLMContext, *, on_turn: Callable[[Turn], None]
    ) -> None:
        super().__init__()
        self._session = session
        self._context = context
        self._on_turn = on_turn
        self._ledger = SpeechLedger()
        self._writer = SpeechWriter(session, self._ledger)
        self._announced: list[str] = []
        self._held: deque[tuple[Gate, Frame]] = deque()
        self._cuts: deque[_PendingCut] = deque()
        self._wake = asyncio.Event()
        self._moved = asyncio.Event()
        self._releaser: asyncio.Task[None] | None = None
        self._audible = False
        self._speaking = False
        self._speech_started_ns = 0
        self._last_word_ns = 0
        self._interrupted_context: str | None = None

    # from the channel

    def played(self, report: Played) -> None:
        """The gateway's report of what the caller has heard."""
        self._ledger.played(report)
        if report.cleared and self._cuts:
            self._cuts[0].cut.settle(report.utterance)
        elif report.played_ms > 0:
            self._audible = True
        self._wake.set()

    # from the pipeline

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Handle one frame, as the class describes."""
        await super().process_frame(frame, direction)
        if direction is FrameDirection.UPSTREAM:
            await self.push_frame(frame, direction)
        elif isinstance(frame, SystemFrame):
            await self._process_system_frame(frame)
        elif isinstance(frame, OutputAudioRawFrame):
            await self._speak(frame)
        elif isinstance(frame, EndFrame):
            await self._end(frame)
        else:
            self._hold(frame)

    async def _process_system_frame(self, frame: SystemFrame) -> None:
        if isinstance(frame, InterruptionFrame):
            await self._interrupt(frame)
            return
        if isinstance(frame, CancelFrame):
            await self._stop()
            self._cut()
            self._report_cuts()
        await self.push_frame(frame)
        if isinstance(frame, StartFrame):
            self._releaser = self.create_task(self._release())

    async def cleanup(self) -> None:
        """Stop the task."""
        await super().cleanup()
        await self._stop()

    async def _stop(self) -> None:
        if self._releaser is not None:
            releaser, self._releaser = self._releaser, None
            await self.cancel_task(releaser)
        self._moved.set()

    async def _speak(self, frame: OutputAudioRawFrame) -> None:
        context_id = frame.context_id if isinstance(frame, TTSAudioRawFrame) else None
        if context_id is not None and context_id == self._interrupted_context:
            return  # was under way when the caller interrupted
        if self._ledger.current is None or self._ledger.context_id != context_id:
            self._writer.begin(context_id, interruptible=frame.interruptible)
            self._speech_started_ns = max(self._last_word_ns, self.get_clock().get_time())
        for text in self._announced:
            self._ledger.announce(text)
        self._announced.clear()
        self._writer.write(frame.audio, frame.sample_rate)
        await self._until(lambda: self._ledger.ahead_ms <= MAX_AHEAD_MS)

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` is true; the releaser sees to it that this ends."""
        while not condition() and not self._session.is_closed and self._releaser is not None:
            self._moved.clear()
            await self._moved.wait()

    async def _end(self, frame: EndFrame) -> None:
        """Let the caller hear what is queued, then pass the end on."""
        self._writer.end()
        self._ledger.finish_turn()
        await self._until(lambda: not self._held and not self._ledger.outstanding)
        await self._stop()
        self._report_turn()
        await self.push_frame(frame)

    def _hold(self, frame: Frame) -> None:
        """Queue a frame until the caller has heard what was sent before it."""
        gate = self._ledger.position
        if isinstance(frame, TTSTextFrame):
            if frame.context_id is not None and frame.context_id == self._interrupted_context:
                return
            gate = self._enter_text(frame)
        elif isinstance(frame, AggregatedTextFrame) and frame.will_be_spoken:
            self._announced.append(frame.text)
        elif isinstance(frame, TTSStoppedFrame):
            self._writer.end()
        elif isinstance(frame, LLMFullResponseEndFrame | LLMAssistantPushAggregationFrame):
            self._writer.end()
            self._ledger.finish_turn()
        if self._held:
            gate = max(gate, self._held[-1][0])
        self._held.append((gate, frame))
        self._wake.set()

    def _enter_text(self, frame: TTSTextFrame) -> Gate:
        """Enter text where it stands in the utterance, and tell the gateway; returns its end."""
        current = self._ledger.current
        if current is None:
            return self._ledger.position
        if frame.pts:
            # A service that gives times of words stamps them from its first audio, or from its last
            # word if that is later.
            self._last_word_ns = frame.pts
            start_ms = (frame.pts - self._speech_started_ns) // 1_000_000
            gate = self._ledger.word(frame.text, start_ms)
        else:
            start_ms, gate = self._ledger.spoken(frame.text)
        self._session.send(
            SpokenText(utterance=current, offset_ms=max(0, start_ms), text=frame.text)
        )
        return gate

    async def _interrupt(self, frame: InterruptionFrame) -> None:
        """The caller speaks: silence what is queued, at once."""
        if self._ledger.is_interruptible:
            self._interrupted_context = self._ledger.context_id
            self._last_word_ns = 0
            self._announced.clear()
            self._held = deque((gate, held) for gate, held in self._held if not held.interruptible)
            if self._ledger.outstanding:
                self._session.send(ClearAudio())
            self._writer.drop()
            self._cut()
            if self._speaking:
                self._speaking = self._audible = False
                await self.broadcast_frame(BotStoppedSpeakingFrame)
        await self.push_frame(frame)
        self._wake.set()

    # what the caller has heard, onwards

    async def _release(self) -> None:
        while True:
            await self._next_report()
            await self._tell_speaking()
            for turn, index in self._report_cuts():
                await self._correct_context(turn.heard_text, index)
            while self._held and self._ledger.is_open(self._held[0][0]):
                _, frame = self._held.popleft()
                if isinstance(frame, LLMFullResponseEndFrame | LLMAssistantPushAggregationFrame):
                    self._report_turn()
                await self.push_frame(frame)
            await self._tell_silent()
            self._moved.set()

    async def _next_report(self) -> None:
        """Wait for a report or a frame; a gateway that owes a report is waited for only so long."""
        loop = asyncio.get_running_loop()
        deadline_s: float | None = None
        if self._cuts:
            deadline_s = self._cuts[0].deadline_s
        elif self._ledger.awaits_report:
            deadline_s = loop.time() + STALL_TIMEOUT_S
        try:
            async with asyncio.timeout_at(deadline_s):
                await self._wake.wait()
        except TimeoutError:
            log.warning("the gateway does not say what was played", ahead_ms=self._ledger.ahead_ms)
            if self._cuts:
                self._cuts[0].cut.settle()
            else:
                self._ledger.settle()
        self._wake.clear()

    async def _tell_speaking(self) -> None:
        if self._audible and not self._speaking:
            self._speaking = True
            await self.broadcast_frame(BotStartedSpeakingFrame)

    async def _tell_silent(self) -> None:
        if self._speaking and not self._ledger.outstanding:
            self._speaking = self._audible = False
            await self.broadcast_frame(BotStoppedSpeakingFrame)

    def _report_turn(self) -> None:
        turn = self._ledger.take_turn()
        if turn is not None:
            self._on_turn(turn)

    def _cut(self) -> None:
        """End the turn: its place in the conversation is known now, how much was heard is not."""
        deadline_s = asyncio.get_running_loop().time() + CLEAR_TIMEOUT_S
        index = len(self._context.messages)
        self._cuts.append(_PendingCut(self._ledger.cut(), index, deadline_s))

    def _report_cuts(self) -> list[tuple[Turn, int]]:
        """Report interrupted turns once it is known how much of them was heard.

        At a cancel, when nobody will say any more, what was reported last is what was heard.
        """
        reported: list[tuple[Turn, int]] = []
        while self._cuts and (self._cuts[0].cut.is_settled or self._releaser is None):
            pending = self._cuts.popleft()
            turn = pending.cut.turn()
            if turn is not None:
                reported.append((turn, pending.index))
                self._on_turn(turn)
        return reported

    async def _correct_context(self, heard: str, index: int) -> None:
        """Make the message what was heard: Pipecat has whole sentences of it, or none."""

        def transform(messages: list[LLMContextMessage]) -> list[LLMContextMessage]:
            return with_heard_text(messages, heard, index)

        if heard:
            frame = LLMMessagesTransformFrame(transform=transform)
            frame.interruptible = False
            await self.push_frame(frame)


def with_heard_text(
    messages: list[LLMContextMessage], heard: str, index: int
) -> list[LLMContextMessage]:
    """``messages`` with ``heard`` said by the assistant at ``index``.

    If the beginning of it is there, it is replaced; else the message is inserted.
    """
    there = messages[index] if index < len(messages) else None
    following = index
    if isinstance(there, dict) and there.get("role") == "assistant":
        content = there.get("content")
        if isinstance(content, str) and " ".join(heard.split()).startswith(
            " ".join(content.split())
        ):
            following = index + 1
    return [*messages[:index], {"role": "assistant", "content": heard}, *messages[following:]]
