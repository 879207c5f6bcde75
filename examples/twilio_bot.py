"""A Pipecat bot for Twilio, as Pipecat's own examples are written; Trunkline runs it unchanged.

Only its three services differ from those of most bots: they need no account. Put your own in their
place (Deepgram, OpenAI, Cartesia, …), and the file also runs with Pipecat's development runner:
``python twilio_bot.py -t twilio -x your-host``.
"""

from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import TTSSpeakFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.runner.types import RunnerArguments
from pipecat.runner.utils import create_transport
from pipecat.transports.base_transport import BaseTransport
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams
from pipecat.turns.user_start import VADUserTurnStartStrategy
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

from trunkline.bots.offline.llm import OfflineLLMService
from trunkline.bots.offline.stt import OfflineSTTService
from trunkline.bots.offline.tts import OfflineTTSService

transport_params = {
    "twilio": lambda: FastAPIWebsocketParams(audio_in_enabled=True, audio_out_enabled=True),
}

RULES = [
    {"heard": ["opening hours"], "say": "We are open from nine to five, on Saturday until noon."},
    {"heard": ["goodbye"], "say": "Goodbye, and thank you for calling."},
]


async def run_bot(transport: BaseTransport, handle_sigint: bool) -> None:
    """Talk until one of the two hangs up."""
    stt = OfflineSTTService(
        phrases=["what are your opening hours", "goodbye"], audio_passthrough=True
    )
    llm = OfflineLLMService(rules=RULES)
    tts = OfflineTTSService()

    context = LLMContext([{"role": "system", "content": "You are the front desk of a shop."}])
    user_aggregator, assistant_aggregator = LLMContextAggregatorPair(
        context,
        user_params=LLMUserAggregatorParams(
            vad_analyzer=SileroVADAnalyzer(),
            user_turn_strategies=UserTurnStrategies(
                start=[VADUserTurnStartStrategy()],
                stop=[SpeechTimeoutUserTurnStopStrategy()],
            ),
        ),
    )

    worker = PipelineWorker(
        Pipeline(
            [
                transport.input(),
                stt,
                user_aggregator,
                llm,
                tts,
                transport.output(),
                assistant_aggregator,
            ]
        ),
        params=PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000),
    )

    @transport.event_handler("on_client_connected")
    async def on_client_connected(transport, client):
        await worker.queue_frame(TTSSpeakFrame("Hello, this is an unchanged Pipecat bot."))

    @transport.event_handler("on_client_disconnected")
    async def on_client_disconnected(transport, client):
        await worker.cancel()

    @assistant_aggregator.event_handler("on_assistant_turn_stopped")
    async def on_assistant_turn_stopped(aggregator, message):
        if "goodbye" in message.content.lower():
            await worker.stop_when_done()

    runner = WorkerRunner(handle_sigint=handle_sigint)
    await runner.add_workers(worker)
    await runner.run()


async def bot(runner_args: RunnerArguments) -> None:
    """Answer a call; every Pipecat host looks for this function."""
    transport = await create_transport(runner_args, transport_params)
    logger.info("call connected")
    await run_bot(transport, runner_args.handle_sigint)


if __name__ == "__main__":
    from pipecat.runner.run import main

    main()
