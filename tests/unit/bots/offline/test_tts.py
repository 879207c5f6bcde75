from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from pipecat.frames.frames import (
    ErrorFrame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    TTSTextFrame,
)

from tests.support.waiting import eventually
from trunkline.bots.offline.grammar import Grammar
from trunkline.bots.offline.recogniser import recogniser_for
from trunkline.bots.offline.tts import FRAME_MS, OfflineTTSOptions, OfflineTTSService
from trunkline.errors import ConfigError

OpenLine = Callable[..., AbstractAsyncContextManager[Any]]

OUTPUT = (TTSStartedFrame, TTSAudioRawFrame, TTSTextFrame, TTSStoppedFrame)


async def test_a_sentence_is_spoken_so_that_it_can_be_understood(line: OpenLine) -> None:
    async with line(OfflineTTSService()) as call:
        await call.worker.queue_frame(TTSSpeakFrame("Where are you located?"))
        await eventually(lambda: call.listener.of(TTSStoppedFrame))
        output = [frame for frame in call.listener.frames if isinstance(frame, OUTPUT)]
    audio = [frame for frame in output if isinstance(frame, TTSAudioRawFrame)]
    assert isinstance(output[0], TTSStartedFrame)
    assert isinstance(output[-2], TTSTextFrame)
    assert isinstance(output[-1], TTSStoppedFrame)
    assert output[1:-2] == audio
    assert len({frame.context_id for frame in output}) == 1
    assert {frame.sample_rate for frame in audio} == {8000}
    assert {len(frame.audio) for frame in audio[:-1]} == {FRAME_MS * 8 * 2}
    pcm16 = b"".join(frame.audio for frame in audio)
    heard = recogniser_for(Grammar.from_phrases(["where are you located", "yes", "no"])).hear(
        pcm16, 8000
    )
    assert heard is not None
    assert heard.text == "where are you located"


async def test_a_streamed_answer_is_spoken_by_sentence_in_one_context(line: OpenLine) -> None:
    async with line(OfflineTTSService()) as call:
        await call.worker.queue_frames(
            [
                LLMFullResponseStartFrame(),
                *(
                    LLMTextFrame(word)
                    for word in ("We ", "open ", "at ", "nine. ", "Please ", "call.")
                ),
                LLMFullResponseEndFrame(),
            ]
        )
        await eventually(lambda: call.listener.of(LLMFullResponseEndFrame))
        texts = [frame.text for frame in call.listener.of(TTSTextFrame)]
        contexts = {frame.context_id for frame in call.listener.of(TTSAudioRawFrame)}
    assert texts == ["We open at nine.", "Please call."]
    assert len(contexts) == 1


async def test_text_without_a_sound_does_not_end_the_service(line: OpenLine) -> None:
    async with line(OfflineTTSService()) as call:
        for count in range(1, 5):
            await call.worker.queue_frame(TTSSpeakFrame("()"))
            await eventually(lambda count=count: len(call.listener.of(TTSStoppedFrame)) == count)
        await call.worker.queue_frame(TTSSpeakFrame("Hello there, how are you?"))
        await eventually(lambda: len(call.listener.of(TTSStoppedFrame)) == 5)
        assert call.listener.of(ErrorFrame) == []
        assert len(call.listener.of(TTSAudioRawFrame)) > 20


async def test_it_speaks_again_after_an_interruption(line: OpenLine) -> None:
    async with line(OfflineTTSService()) as call:
        await call.worker.queue_frame(TTSSpeakFrame("One. " * 40))
        await eventually(lambda: call.listener.of(TTSAudioRawFrame))
        await call.caller.broadcast_interruption()
        await eventually(lambda: call.listener.of(InterruptionFrame))
        await call.worker.queue_frame(TTSSpeakFrame("Goodbye."))
        await eventually(
            lambda: any(frame.text == "Goodbye." for frame in call.listener.of(TTSTextFrame))
        )
        await eventually(lambda: isinstance(call.listener.of(OUTPUT)[-1], TTSStoppedFrame))
        after = call.listener.frames.index(call.listener.of(InterruptionFrame)[0])
        contexts = {
            frame.context_id
            for frame in call.listener.frames[after:]
            if isinstance(frame, TTSAudioRawFrame)
        }
    assert len(contexts) == 1


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"voice": "martian"}, "voice"),
        ({"voice": 3}, "tts.voice"),
        ({"words_per_minute": 20}, "tts.words_per_minute"),
        ({"words_per_minute": "150"}, "tts.words_per_minute"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        OfflineTTSService(**options)
    assert caught.value.field == field


def test_every_option_has_a_default() -> None:
    assert OfflineTTSOptions.parse({}) == OfflineTTSOptions(voice="en-us", words_per_minute=150)
