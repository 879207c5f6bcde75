"""Agents that acceptance tests ring: small, offline, predictable."""

from __future__ import annotations

import json
from pathlib import Path

ECHO_BOT = '''
"""An unchanged Pipecat bot that repeats what it hears, and hangs up on the key 9."""
from pipecat.frames.frames import (
    EndWorkerFrame,
    InputAudioRawFrame,
    InputDTMFFrame,
    OutputAudioRawFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.runner.utils import create_transport
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams
from pipecat.workers.runner import WorkerRunner


class Echo(FrameProcessor):
    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            await self.push_frame(
                OutputAudioRawFrame(
                    audio=frame.audio, sample_rate=frame.sample_rate, num_channels=1
                )
            )
        elif isinstance(frame, InputDTMFFrame) and frame.button.value == "9":
            await self.push_frame(EndWorkerFrame(), FrameDirection.UPSTREAM)
        else:
            await self.push_frame(frame, direction)


async def bot(runner_args):
    transport = await create_transport(
        runner_args,
        {"twilio": lambda: FastAPIWebsocketParams(audio_in_enabled=True, audio_out_enabled=True)},
    )
    worker = PipelineWorker(
        Pipeline([transport.input(), Echo(), transport.output()]),
        params=PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000),
        idle_timeout_secs=None,
    )

    @transport.event_handler("on_client_disconnected")
    async def gone(transport, client):
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()
'''

BODY_BOT = '''
"""Writes what it was given into a file, and hangs up."""
import json
import os
import pathlib

from pipecat.runner.utils import parse_telephony_websocket


async def bot(runner_args):
    kind, data = await parse_telephony_websocket(runner_args.websocket)
    seen = {
        "body": runner_args.body,
        "session_id": runner_args.session_id,
        "kind": kind,
        "parameters": dict(data["body"]),
        "call_id": data["call_id"],
        "secrets": sorted(
            name for name in os.environ if name in ("TRUNKLINE_SECRET_KEY", "DATABASE_URL")
        ),
    }
    path = pathlib.Path(__file__).with_suffix(".json")
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(seen))
    partial.rename(path)
    await runner_args.websocket.close()
'''


def talker(*, greeting: str = "Hello, this is the front desk.") -> dict[str, object]:
    """A pipeline agent with the offline engines that greets, answers and says goodbye."""
    return {
        "pipeline": {
            "prompt": "You answer the phone.",
            "greeting": greeting,
            "stt": {
                "service": "offline",
                "phrases": ["what are your opening hours", "goodbye", "tell me a story"],
            },
            "llm": {
                "service": "offline",
                "rules": [
                    {"heard": ["opening hours"], "say": "We are open from nine to five."},
                    {
                        "heard": ["story"],
                        "say": "Once upon a time there was a small hotel by the sea, "
                        "and the telephone in it rang from morning till night, "
                        "and the night porter answered each call as if it were the first.",
                    },
                    {
                        "heard": ["goodbye"],
                        "say": "Goodbye.",
                        "call": {"function": "end_call"},
                    },
                ],
                "fallback": "Sorry, could you say that again?",
            },
            "tts": {"service": "offline"},
        }
    }


def bot_file(folder: Path, name: str, source: str) -> dict[str, object]:
    """Write a bot's file and return the agent that runs it."""
    path = folder / f"{name}.py"
    path.write_text(source)
    return {"module": str(path)}


def read_json(path: Path) -> dict[str, object]:
    """What a bot has written."""
    return json.loads(path.read_text())
