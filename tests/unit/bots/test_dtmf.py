from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.frames.frames import Frame, InputDTMFFrame, InterruptionFrame, LLMMessagesAppendFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.workers.runner import WorkerRunner

from tests.support.waiting import eventually
from trunkline.bots.dtmf import DtmfTurns
from trunkline.bots.pipeline import DtmfSettings


class Keypad:
    """A pipeline of nothing but the keys."""

    def __init__(self, **settings: object) -> None:
        self.entries: list[str] = []
        self.frames: list[Frame] = []
        turns = DtmfTurns(DtmfSettings.model_validate(settings), on_entry=self.entries.append)
        self.worker = PipelineWorker(
            Pipeline([turns]),
            enable_rtvi=False,
            enable_turn_tracking=False,
            idle_timeout_secs=None,
        )
        self.worker.set_reached_downstream_filter(
            (InputDTMFFrame, InterruptionFrame, LLMMessagesAppendFrame)
        )
        self.started = asyncio.Event()
        self.worker.add_event_handler("on_pipeline_started", lambda *_: self.started.set())
        self.worker.add_event_handler(
            "on_frame_reached_downstream", lambda _, frame: self.frames.append(frame)
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Keypad]:
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(self.worker)
        running = asyncio.get_running_loop().create_task(runner.run())
        await self.started.wait()
        yield self
        await self.worker.cancel()
        await running

    async def press(self, keys: str) -> None:
        for key in keys:
            await self.worker.queue_frame(InputDTMFFrame(button=KeypadEntry(key)))

    def count(self, kind: type[Frame]) -> int:
        return sum(isinstance(frame, kind) for frame in self.frames)


@pytest.mark.parametrize(
    ("settings", "keys", "entries"),
    [
        ({"timeout_s": 0.05}, "123", ["[dtmf 123]"]),
        ({"timeout_s": 30}, "12#", ["[dtmf 12]"]),
        ({"timeout_s": 0}, "12", ["[dtmf 1]", "[dtmf 2]"]),
        ({"timeout_s": 0.05, "terminator": ""}, "1#", ["[dtmf 1#]"]),
        ({"timeout_s": 0, "template": "key {digits}"}, "*", ["key *"]),
    ],
)
async def test_keys_become_messages(
    settings: dict[str, object], keys: str, entries: list[str]
) -> None:
    async with Keypad(**settings).open() as keypad:
        await keypad.press(keys)
        await eventually(lambda: keypad.entries == entries, what="the entries")
        await eventually(
            lambda: keypad.count(LLMMessagesAppendFrame) == len(entries), what="the messages"
        )
    messages = [frame for frame in keypad.frames if isinstance(frame, LLMMessagesAppendFrame)]
    assert [frame.messages for frame in messages] == [
        [{"role": "user", "content": entry}] for entry in entries
    ]
    assert all(frame.run_llm for frame in messages)
    assert keypad.count(InterruptionFrame) == len(entries), "one for each entry"


async def test_terminator_alone_says_nothing() -> None:
    async with Keypad(timeout_s=30).open() as keypad:
        await keypad.press("#")
        await eventually(lambda: keypad.count(InputDTMFFrame), what="the key")
    assert keypad.entries == []


async def test_switched_off() -> None:
    async with Keypad(enabled=False).open() as keypad:
        await keypad.press("1")
        await eventually(lambda: keypad.count(InputDTMFFrame), what="the key")
    assert keypad.entries == []
    assert keypad.count(InterruptionFrame) == 0
