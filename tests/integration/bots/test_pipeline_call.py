"""A pipeline agent in conversation: real services, a real channel, a scripted caller."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.scripted_gateway import BotCall, bot_call, call_started
from tests.support.waiting import eventually
from trunkline.audio import resample
from trunkline.bots import load
from trunkline.bots.offline.speech import Synthesizer
from trunkline.bots.pipeline import validate_pipeline
from trunkline.bots.services import build_services
from trunkline.dispatch.messages import AgentSpec, SpokenText, TranscriptLine
from trunkline.errors import WorkerFailed

HOURS = "We are open from nine to five. On Saturday we close at noon."

PIPELINE: dict[str, object] = {
    "prompt": "You are the front desk. The caller is {{customer}}.",
    "greeting": "Hello {{customer}}.",
    "stt": {
        "service": "offline",
        "phrases": ["what are your opening hours", "that is enough thank you", "goodbye"],
    },
    "llm": {
        "service": "offline",
        "rules": [
            {"heard": ["opening hours"], "say": HOURS},
            {"heard": ["enough"], "say": "All right."},
            {"heard": ["[dtmf 1]"], "say": "You pressed one."},
            {"heard": ["[dtmf 42]"], "say": "You pressed forty two."},
            {"heard": ["goodbye"], "say": "Goodbye.", "call": {"function": "end_call"}},
        ],
    },
    "tts": {"service": "offline"},
    "turns": {"user_speech_timeout_s": 0.1},
    "dtmf": {"timeout_s": 0.1},
}


def agent(**changes: object) -> AgentSpec:
    return AgentSpec(name="front-desk", kind="pipeline", pipeline={**PIPELINE, **changes})


def spoken(text: str) -> bytes:
    pcm16, rate_hz = Synthesizer().speak(text)
    return resample(pcm16, rate_hz, 8000)


async def greeted(call: BotCall) -> None:
    await call.gateway.started()
    await call.gateway.said("Hello Ada.")


async def test_greets_hears_answers_says_goodbye_and_ends_the_call() -> None:
    spec = agent()
    async with bot_call(load(spec), call_started(spec)) as call:
        await greeted(call)
        call.gateway.speak(spoken("what are your opening hours"))
        await call.gateway.said("what are your opening hours", HOURS)
        call.gateway.speak(spoken("goodbye"))
        await call.finished()
        await eventually(lambda: call.gateway.has_ended_call, what="the end of the call")
    assert call.gateway.transcript == [
        ("bot", "Hello Ada."),
        ("caller", "what are your opening hours"),
        ("bot", HOURS),
        ("caller", "goodbye"),
        ("bot", "Goodbye."),
    ]
    assert call.gateway.is_quiet
    assert call.gateway.clears == 0


async def test_conversation_is_kept_at_the_gateway_after_each_turn() -> None:
    spec = agent()
    async with bot_call(load(spec), call_started(spec)) as call:
        await greeted(call)
        call.gateway.speak(spoken("what are your opening hours"))
        await call.gateway.said(HOURS)
        await eventually(lambda: len(call.gateway.last_checkpoint) == 3, what="three messages")
    assert call.gateway.last_checkpoint == [
        {"role": "assistant", "content": "Hello Ada."},
        {"role": "user", "content": "what are your opening hours"},
        {"role": "assistant", "content": HOURS},
    ]


async def test_interruption_clears_and_leaves_what_was_heard() -> None:
    spec = agent()
    async with bot_call(load(spec), call_started(spec)) as call:
        await greeted(call)
        call.gateway.speak(spoken("what are your opening hours"))
        await call.gateway.hears(2_500)
        call.gateway.speak(spoken("that is enough thank you"))
        await call.gateway.said("that is enough thank you", "All right.")
        await eventually(lambda: len(call.gateway.last_checkpoint) == 5, what="five messages")
    lines = [line for line in call.gateway.received if isinstance(line, TranscriptLine)]
    cut = lines[2]
    assert (cut.speaker, cut.interrupted, cut.text) == ("bot", True, HOURS)
    assert cut.heard_text
    assert HOURS.startswith(cut.heard_text)
    assert cut.heard_text != HOURS
    assert call.gateway.clears == 1
    assert [message["content"] for message in call.gateway.last_checkpoint] == [
        "Hello Ada.",
        "what are your opening hours",
        cut.heard_text,
        "that is enough thank you",
        "All right.",
    ]


@pytest.mark.parametrize(
    ("keys", "entry", "answer"),
    [("1#", "[dtmf 1]", "You pressed one."), ("42", "[dtmf 42]", "You pressed forty two.")],
)
async def test_keys_are_a_turn(keys: str, entry: str, answer: str) -> None:
    spec = agent()
    async with bot_call(load(spec), call_started(spec)) as call:
        await greeted(call)
        for key in keys:
            call.gateway.press(key)
        await call.gateway.said(entry, answer)


async def test_replacement_goes_on_with_what_is_unanswered_and_does_not_greet() -> None:
    spec = agent()
    history: list[dict[str, object]] = [
        {"role": "assistant", "content": "Hello Ada."},
        {"role": "user", "content": "what are your opening hours"},
    ]
    started = call_started(spec, attempt=2, history=history)
    async with bot_call(load(spec), started) as call:
        await call.gateway.said(HOURS)
    assert call.gateway.transcript == [("bot", HOURS)]


@pytest.mark.parametrize("reason", ["stop", "lost", "ended", "drop"])
async def test_end_of_the_session_ends_the_bot(reason: str) -> None:
    spec = agent()
    async with bot_call(load(spec), call_started(spec)) as call:
        await call.gateway.started()
        call.gateway.hang_up(reason)
        await call.finished(within_s=5)
    assert not call.gateway.has_ended_call


async def test_turn_that_the_hangup_cut_is_in_the_transcript() -> None:
    spec = agent()
    async with bot_call(load(spec), call_started(spec)) as call:
        await greeted(call)
        call.gateway.speak(spoken("what are your opening hours"))
        await call.gateway.hears(2_500)
        call.gateway.hang_up()
        await call.finished(within_s=5)
        await eventually(lambda: len(call.gateway.transcript) == 3, what="three lines")
    speaker, heard = call.gateway.transcript[-1]
    assert speaker == "bot"
    assert heard
    assert HOURS.startswith(heard)


async def test_gateway_that_reports_nothing_does_not_hold_the_bot() -> None:
    spec = agent()
    async with bot_call(load(spec), call_started(spec)) as call:
        call.gateway.paused = True
        await call.gateway.started()
        call.gateway.speak(spoken("goodbye"))
        await call.finished(within_s=20)
    assert call.gateway.transcript[-1] == ("bot", "Goodbye.")


async def test_cancelled_run_leaves_nothing_behind() -> None:
    spec = agent()
    before = asyncio.all_tasks()
    async with bot_call(load(spec), call_started(spec)) as call:
        await call.gateway.started()
        call.bot.cancel()
        await asyncio.wait({call.bot}, timeout=5)
    await eventually(lambda: asyncio.all_tasks() <= before, what="no task left")


async def test_service_that_fails_for_good_fails_the_bot() -> None:
    spec = agent(tts={"service": "tests.support.peculiar_services:SilentTTSService"})
    async with bot_call(load(spec), call_started(spec)) as call:
        with pytest.raises(WorkerFailed, match="SilentTTSService failed"):
            await call.finished()
    assert not call.gateway.has_ended_call


async def test_noise_that_interrupts_is_answered() -> None:
    spec = agent(turns={"user_speech_timeout_s": 0.1, "stop_timeout_s": 0.5})
    async with bot_call(load(spec), call_started(spec)) as call:
        await greeted(call)
        call.gateway.speak(spoken("what are your opening hours"))
        await call.gateway.hears(2_500)
        call.gateway.speak(bytes(16 * 600))
        await eventually(
            lambda: [text for _, text in call.gateway.transcript][3:], what="an answer"
        )
    assert call.gateway.clears == 1


async def test_answer_that_failed_once_is_asked_for_again() -> None:
    llm = {
        **PIPELINE["llm"],
        "service": "tests.support.peculiar_services:StumblingLLMService",
        "failures": 1,
    }
    spec = agent(llm=llm)
    async with bot_call(load(spec), call_started(spec)) as call:
        await greeted(call)
        call.gateway.speak(spoken("what are your opening hours"))
        await call.gateway.said(HOURS)


async def test_answer_that_keeps_failing_fails_the_bot() -> None:
    llm = {
        **PIPELINE["llm"],
        "service": "tests.support.peculiar_services:StumblingLLMService",
        "failures": 99,
    }
    spec = agent(llm=llm)
    async with bot_call(load(spec), call_started(spec)) as call:
        await greeted(call)
        call.gateway.speak(spoken("what are your opening hours"))
        with pytest.raises(WorkerFailed, match="StumblingLLMService failed"):
            await call.finished()


async def test_words_with_times_are_heard_to_the_word() -> None:
    spec = agent(
        greeting="one two three four five six seven eight nine ten",
        tts={"service": "tests.support.peculiar_services:WordTimingTTSService"},
    )
    async with bot_call(load(spec), call_started(spec)) as call:
        await call.gateway.hears(900)
        call.gateway.speak(spoken("that is enough thank you"))
        await eventually(lambda: call.gateway.transcript, what="the cut greeting")
        await eventually(lambda: len(call.gateway.last_checkpoint) > 1, what="the conversation")
    cut = next(line for line in call.gateway.received if isinstance(line, TranscriptLine))
    assert cut.interrupted
    assert cut.heard_text is not None
    heard = cut.heard_text.split()
    assert 4 <= len(heard) < 10
    assert cut.text.split()[: len(heard)] == heard
    assert call.gateway.last_checkpoint[0] == {"role": "assistant", "content": cut.heard_text}
    words = [message for message in call.gateway.received if isinstance(message, SpokenText)]
    assert [word.text for word in words[:3]] == ["one", "two", "three"]
    for number, word in enumerate(words[:10]):
        assert abs(word.offset_ms - 200 * number) <= 30


async def test_prompt_goes_to_the_service_or_into_the_conversation() -> None:
    environment = {"OPENAI_API_KEY": "x"}
    row = {**PIPELINE, "llm": {"service": "openai", "model": "gpt-4.1"}}
    services = build_services(validate_pipeline(row), environment, prompt="Be kind.")
    assert services.has_prompt
    services = build_services(validate_pipeline(PIPELINE), environment, prompt="Be kind.")
    assert not services.has_prompt


async def test_gateway_that_cannot_clear_does_not_hold_up_the_turn() -> None:
    spec = agent()
    async with bot_call(load(spec), call_started(spec), speed=1) as call:
        call.gateway.can_clear = False
        await call.gateway.hears(200)
        call.gateway.press("1")
        await eventually(lambda: len(call.gateway.transcript) == 2, within_s=3, what="the turns")
        lines = sorted(call.gateway.transcript)
    assert lines[1] == ("caller", "[dtmf 1]")
    speaker, heard = lines[0]
    assert speaker == "bot"
    assert "Hello Ada.".startswith(heard)
    assert heard != "Hello Ada."
