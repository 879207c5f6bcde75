"""The peer: a process of its own for each call, as Pipecat's documentation deploys bots.

``python -m benchmarks._pipecat_cold`` imports Pipecat, builds the services of one agent, starts
their pipeline, prints one line and waits for its standard input to close.
"""

from __future__ import annotations

import asyncio
import sys

from loguru import logger
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.openai.stt import OpenAISTTService
from pipecat.services.openai.tts import OpenAITTSService
from pipecat.turns.user_start import VADUserTurnStartStrategy
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner


async def main() -> None:
    """Start the pipeline, say so, and stay until told to go."""
    strategies = UserTurnStrategies(
        start=[VADUserTurnStartStrategy()], stop=[SpeechTimeoutUserTurnStopStrategy()]
    )
    user, assistant = LLMContextAggregatorPair(
        LLMContext([{"role": "system", "content": "Be brief."}]),
        user_params=LLMUserAggregatorParams(user_turn_strategies=strategies),
    )
    worker = PipelineWorker(
        Pipeline(
            [
                OpenAISTTService(api_key="none"),
                user,
                OpenAILLMService(api_key="none"),
                OpenAITTSService(api_key="none"),
                assistant,
            ]
        ),
        params=PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000),
        idle_timeout_secs=None,
        enable_rtvi=False,
        enable_turn_tracking=False,
    )

    @worker.event_handler("on_pipeline_started")
    async def started(*_: object) -> None:
        print("started", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


if __name__ == "__main__":
    logger.remove()
    asyncio.run(main())
