"""A pipeline agent: the Pipecat pipeline that an agent's row describes, run for one call.

The classes are those that keep a worker small and a turn quick (Pipecat 1.14): no RTVI, no turn
tracking, no idle timer, start and stop strategies always given (without them Pipecat loads a turn
model of 43 MB), no voice detector (the gateway has one). Everything runs at the wire's rate.
"""

# Pipecat's signatures have untyped **kwargs and handlers.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import cast

import structlog
from pipecat.adapters.llm.schemas.direct_function import DirectFunction
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    EndWorkerFrame,
    ErrorFrame,
    FunctionCallResultProperties,
    LLMRunFrame,
    TTSSpeakFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker, ProcessorUnusablePolicy
from pipecat.processors.aggregators.llm_context import LLMContext, LLMContextMessage
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
    UserTurnStoppedMessage,
)
from pipecat.services.llm_service import FunctionCallParams
from pipecat.turns.empty_user_turn import EmptyUserTurnConfig
from pipecat.turns.user_start import TranscriptionUserTurnStartStrategy, VADUserTurnStartStrategy
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

from trunkline.bots.dtmf import DtmfTurns
from trunkline.bots.faults import FaultCounter, Remedy
from trunkline.bots.ledger import Turn
from trunkline.bots.pipeline import PipelineSettings, validate_pipeline
from trunkline.bots.services import Services, build_services, import_named
from trunkline.bots.template import call_variables, fill
from trunkline.bots.transport import ChannelInput, ChannelOutput
from trunkline.dispatch.messages import (
    AgentSpec,
    BotStarted,
    Checkpoint,
    DtmfPressed,
    EndCall,
    Message,
    Played,
    SessionEnding,
    SpeechStarted,
    SpeechStopped,
    TranscriptLine,
)
from trunkline.dispatch.session import LoadedAgent, WorkerSession
from trunkline.errors import ChannelError, WorkerFailed

__all__ = ["PipelineAgent", "load_pipeline_agent"]

log = structlog.get_logger(__name__)

START_TIMEOUT_S = 5.0
"""Services connect within this, or the bot fails: the caller hears silence (Pipecat waits 20 s)."""


def load_pipeline_agent(agent: AgentSpec) -> LoadedAgent:
    """Check the agent's settings and build each of its services once: then everything is imported.

    Raises:
        ConfigError: a setting is wrong, or a service, package or key is missing.
    """
    settings = validate_pipeline(agent.pipeline or {})
    build_services(settings, os.environ, prompt=settings.prompt)
    _load_functions(settings)
    return PipelineAgent(settings)


def _load_functions(settings: PipelineSettings) -> list[DirectFunction]:
    return [
        cast("DirectFunction", import_named(path, field="pipeline.functions"))
        for path in settings.functions
    ]


class PipelineAgent:
    """A pipeline agent that can be run."""

    def __init__(self, settings: PipelineSettings) -> None:
        self._settings = settings

    async def run(self, session: WorkerSession, /) -> None:
        """Hold the conversation of one call; returns when the bot has ended it or the call is over.

        Raises:
            ConfigError: a service cannot be built any more.
            WorkerFailed: a service failed for good: without it the caller would hear silence.
        """
        variables = call_variables(session.call)
        prompt = fill(self._settings.prompt, variables)
        services = build_services(self._settings, os.environ, prompt=prompt)
        await _Conversation(self._settings, services, session, prompt).run()


class _Conversation:
    """One call of a pipeline agent."""

    def __init__(
        self,
        settings: PipelineSettings,
        services: Services,
        session: WorkerSession,
        prompt: str,
    ) -> None:
        self._settings = settings
        self._session = session
        self._faults = FaultCounter()
        self._has_started = False
        self._ended_by_bot = False
        self._over = asyncio.Event()
        self._over_reason = ""
        self._context = self._make_context(None if services.has_prompt else prompt)
        self._input = ChannelInput(
            received_format=session.call.received_format, frame_ms=settings.audio_frame_ms
        )
        self._output = ChannelOutput(session, self._context, on_turn=self._bot_turn_over)
        self._worker = self._make_worker(services)
        self._runner = WorkerRunner(handle_sigint=False)

    async def run(self) -> None:
        await self._runner.add_workers(self._worker)
        # Both at once: what has arrived since the call started comes now, in order.
        self._session.on_message(self._receive)
        self._session.on_audio(self._input.audio)
        async with asyncio.TaskGroup() as group:
            stopping = group.create_task(self._stop_when_over())
            await self._runner.run()
            stopping.cancel()
        if self._faults.failure is not None:
            raise WorkerFailed(self._faults.failure)
        if self._ended_by_bot:
            self._session.send(EndCall())
        elif not self._over.is_set():
            started = "ended by itself" if self._has_started else "did not start"
            raise WorkerFailed(f"the pipeline {started}")

    async def _stop_when_over(self) -> None:
        await self._over.wait()
        await self._worker.cancel(reason=self._over_reason)

    # building

    def _make_context(self, prompt: str | None) -> LLMContext:
        first: list[LLMContextMessage] = []
        if prompt is not None:
            first.append({"role": "system", "content": prompt})
        history = cast(list[LLMContextMessage], self._session.call.history)
        end_call = FunctionSchema(
            name="end_call",
            description=(
                "Hang up. Call this when the conversation is over, "
                "after you have said goodbye in the same answer."
            ),
            properties={},
            required=[],
            handler=self._end_call,
        )
        tools = ToolsSchema(standard_tools=[end_call, *_load_functions(self._settings)])
        return LLMContext(messages=[*first, *history], tools=tools)

    def _make_worker(self, services: Services) -> PipelineWorker:
        turns = self._settings.turns
        user, assistant = LLMContextAggregatorPair(
            self._context,
            user_params=LLMUserAggregatorParams(
                user_turn_strategies=UserTurnStrategies(
                    start=[VADUserTurnStartStrategy(), TranscriptionUserTurnStartStrategy()],
                    stop=[
                        SpeechTimeoutUserTurnStopStrategy(
                            user_speech_timeout=turns.user_speech_timeout_s
                        )
                    ],
                ),
                user_turn_stop_timeout=turns.stop_timeout_s,
                empty_user_turn=EmptyUserTurnConfig() if turns.answer_empty else None,
            ),
        )
        user.add_event_handler("on_user_turn_stopped", self._caller_turn_over)
        assistant.add_event_handler("on_assistant_turn_stopped", self._assistant_turn_over)
        processors = [
            self._input,
            services.stt,
            DtmfTurns(self._settings.dtmf, on_entry=self._keys_entered),
            user,
            services.llm,
            services.tts,
            self._output,
            assistant,
        ]
        call = self._session.call
        worker = PipelineWorker(
            Pipeline(processors),
            params=PipelineParams(
                audio_in_sample_rate=call.received_format.sample_rate_hz,
                audio_out_sample_rate=call.sent_format.sample_rate_hz,
            ),
            enable_rtvi=False,
            enable_turn_tracking=False,
            idle_timeout_secs=None,
            setup_timeout_secs=START_TIMEOUT_S,
            start_timeout_secs=START_TIMEOUT_S,
            processor_unusable_policy=ProcessorUnusablePolicy.CANCEL,
        )
        worker.add_event_handler("on_pipeline_started", self._pipeline_started)
        worker.add_event_handler("on_pipeline_error", self._pipeline_error)
        return worker

    # from the channel

    def _receive(self, message: Message) -> None:
        match message:
            case Played():
                self._output.played(message)
            case SpeechStarted() | SpeechStopped() | DtmfPressed():
                self._input.message(message)
            case SessionEnding(reason=reason):
                self._over_reason = reason
                self._over.set()
            case _:
                log.debug("message for the bot ignored", kind=type(message).__name__)

    # from the pipeline

    async def _pipeline_started(self, worker: PipelineWorker, _frame: object) -> None:
        self._has_started = True
        self._session.send(BotStarted())
        history = self._session.call.history
        if history:
            # A replacement goes on where the conversation was: it answers what is unanswered, and
            # does not greet again.
            if history[-1].get("role") == "user":
                await worker.queue_frame(LLMRunFrame())
        elif self._settings.greeting:
            await worker.queue_frame(TTSSpeakFrame(self._greeting(self._settings.greeting)))

    def _greeting(self, template: str) -> str:
        return fill(template, call_variables(self._session.call))

    async def _pipeline_error(self, worker: PipelineWorker, error: ErrorFrame) -> None:
        log.warning("service error", category=str(error.category), processor=str(error.processor))
        if self._over.is_set():
            return
        match self._faults.count(error):
            case Remedy.FAIL:
                await worker.cancel(reason="a service failed")
            case Remedy.RETRY:
                await worker.queue_frame(LLMRunFrame())
            case Remedy.IGNORE:
                pass

    async def _end_call(self, params: FunctionCallParams) -> None:
        """The LLM's function: hang up once the goodbye has been heard."""
        self._ended_by_bot = True
        await params.result_callback(
            {"ended": True}, properties=FunctionCallResultProperties(run_llm=False)
        )
        # Downstream, so that it stays behind what is being said; the pipeline then ends in order.
        await params.llm.push_frame(EndWorkerFrame(reason="end_call"))

    # turns

    def _caller_turn_over(
        self, _user: object, _strategy: object, message: UserTurnStoppedMessage
    ) -> None:
        if message.content:
            self._session.send(TranscriptLine(speaker="caller", text=message.content))
            self._checkpoint()

    def _keys_entered(self, text: str) -> None:
        self._session.send(TranscriptLine(speaker="caller", text=text))

    def _bot_turn_over(self, turn: Turn) -> None:
        self._faults.succeeded()
        self._session.send(
            TranscriptLine(
                speaker="bot",
                text=turn.text,
                heard_text=turn.heard_text,
                interrupted=turn.interrupted,
                utterances=turn.utterances,
            )
        )

    def _assistant_turn_over(self, _assistant: object, _message: object) -> None:
        self._checkpoint()

    def _checkpoint(self) -> None:
        """Keep the conversation at the gateway, without the prompt: a replacement has its own."""
        messages = [
            dict(cast(Mapping[str, object], message))
            for message in self._context.messages
            if isinstance(message, dict) and message.get("role") != "system"
        ]
        try:
            self._session.send(Checkpoint(messages=messages))
        except ChannelError:
            # Longer than a message may be. A replacement goes on from the last one that was kept.
            log.warning("conversation is too long to be kept", messages=len(messages))
