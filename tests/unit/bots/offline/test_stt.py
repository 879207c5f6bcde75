from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from pipecat.frames.frames import (
    EndFrame,
    InputAudioRawFrame,
    STTMuteFrame,
    TranscriptionFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)

from tests.support.waiting import eventually
from trunkline.bots.offline.stt import OfflineSTTOptions, OfflineSTTService
from trunkline.errors import ConfigError

OpenLine = Callable[..., AbstractAsyncContextManager[Any]]
Phone = Callable[..., bytes]

PHRASES = ["what are your opening hours", "where are you located", "yes", "no", "goodbye"]


async def test_what_the_caller_says_becomes_final_transcripts_in_order(
    line: OpenLine, phone: Phone
) -> None:
    spoken = ["what are your opening hours", "yes", "goodbye"]
    async with line(OfflineSTTService(phrases=PHRASES)) as call:
        for sentence in spoken:
            await call.caller.say(phone(sentence))
        await eventually(lambda: len(call.listener.of(TranscriptionFrame)) == len(spoken))
        transcripts = call.listener.of(TranscriptionFrame)
    assert [transcript.text for transcript in transcripts] == spoken
    assert all(transcript.finalized for transcript in transcripts)


async def test_no_audio_passes_and_speech_frames_do(line: OpenLine, phone: Phone) -> None:
    async with line(OfflineSTTService(phrases=PHRASES)) as call:
        await call.caller.say(phone("yes"))
        await eventually(lambda: call.listener.of(TranscriptionFrame))
        assert call.listener.of(InputAudioRawFrame) == []
        assert len(call.listener.of(VADUserStartedSpeakingFrame)) == 1
        assert len(call.listener.of(VADUserStoppedSpeakingFrame)) == 1


async def test_noise_yields_nothing_and_the_next_sentence_is_heard(
    line: OpenLine, phone: Phone
) -> None:
    async with line(OfflineSTTService(phrases=PHRASES)) as call:
        await call.caller.say(bytes(16_000))
        await call.caller.push_frame(VADUserStoppedSpeakingFrame(stop_secs=0.2))
        await call.caller.say(phone("goodbye"))
        await eventually(lambda: call.listener.of(TranscriptionFrame))
        assert [found.text for found in call.listener.of(TranscriptionFrame)] == ["goodbye"]


async def test_an_end_waits_for_what_was_said_before(line: OpenLine, phone: Phone) -> None:
    async with line(OfflineSTTService(phrases=PHRASES)) as call:
        await call.caller.say(phone("where are you located"))
        await call.worker.stop_when_done()
        await eventually(lambda: call.listener.of(EndFrame))
        kinds = [
            type(frame)
            for frame in call.listener.frames
            if isinstance(frame, TranscriptionFrame | EndFrame)
        ]
        assert kinds == [TranscriptionFrame, EndFrame]


async def test_a_muted_caller_is_not_heard(line: OpenLine, phone: Phone) -> None:
    async with line(OfflineSTTService(phrases=PHRASES)) as call:
        await call.caller.push_frame(STTMuteFrame(mute=True))
        await call.caller.say(phone("yes"))
        await call.caller.push_frame(STTMuteFrame(mute=False))
        await call.caller.say(phone("goodbye"))
        await eventually(lambda: call.listener.of(TranscriptionFrame))
        assert [found.text for found in call.listener.of(TranscriptionFrame)] == ["goodbye"]


async def test_endless_speech_keeps_its_last_seconds(line: OpenLine, phone: Phone) -> None:
    async with line(OfflineSTTService(phrases=PHRASES)) as call:
        await call.caller.push_frame(VADUserStartedSpeakingFrame(start_secs=0.2))
        await call.caller.send(bytes(40 * 16_000))
        await call.caller.say(phone("goodbye"))
        await eventually(lambda: call.listener.of(TranscriptionFrame), within_s=30)
        assert [found.text for found in call.listener.of(TranscriptionFrame)] == ["goodbye"]


async def test_a_written_grammar_is_taken(line: OpenLine, phone: Phone) -> None:
    jsgf = "#JSGF V1.0;\ngrammar g;\npublic <a> = transfer me to ( sales | support );\n"
    async with line(OfflineSTTService(grammar=jsgf)) as call:
        await call.caller.say(phone("transfer me to sales"))
        await eventually(lambda: call.listener.of(TranscriptionFrame))
        assert call.listener.of(TranscriptionFrame)[0].text == "transfer me to sales"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({}, "stt"),
        ({"phrases": ["yes"], "grammar": "#JSGF V1.0;"}, "stt"),
        ({"phrases": []}, "stt.phrases"),
        ({"phrases": ["yes"], "min_score": 1.0}, "stt.min_score"),
        ({"phrases": ["zzyzx"]}, "grammar"),
        ({"grammar": "public <a> = yes;"}, "grammar"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        OfflineSTTService(**options)
    assert caught.value.field == field


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        OfflineSTTOptions.parse({"phrases": ["yes"], "language": "en"})
    assert caught.value.field == "stt.language"
