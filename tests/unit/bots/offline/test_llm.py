from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from pipecat.frames.frames import (
    FunctionCallResultProperties,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMMessagesAppendFrame,
    LLMTextFrame,
    TTSTextFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.services.llm_service import FunctionCallParams
from pipecat.turns.user_start import TranscriptionUserTurnStartStrategy, VADUserTurnStartStrategy
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies

from tests.support.waiting import eventually
from trunkline.bots.offline.llm import OfflineLLMOptions, OfflineLLMService
from trunkline.bots.offline.stt import OfflineSTTService
from trunkline.bots.offline.tts import OfflineTTSService
from trunkline.errors import ConfigError

OpenLine = Callable[..., AbstractAsyncContextManager[Any]]
Phone = Callable[..., bytes]

RULES: list[dict[str, object]] = [
    {"heard": ["opening hours", "/^when .* open/"], "say": "We open at nine. Please call then."},
    {"heard": ["[dtmf 1]"], "say": "You pressed one."},
    {
        "heard": ["goodbye"],
        "say": "Goodbye.",
        "call": {"function": "end_call", "arguments": {"reason": "caller said goodbye"}},
    },
]


def asked(text: object, *before: dict[str, Any]) -> LLMContextFrame:
    return LLMContextFrame(LLMContext(messages=[*before, {"role": "user", "content": text}]))


async def answer(line: OpenLine, frame: LLMContextFrame) -> list[str]:
    async with line(OfflineLLMService(rules=RULES, fallback="Pardon?")) as call:
        await call.worker.queue_frame(frame)
        await eventually(lambda: call.listener.of(LLMFullResponseEndFrame))
        assert len(call.listener.of(LLMFullResponseStartFrame)) == 1
        return [word.text for word in call.listener.of(LLMTextFrame)]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("What are your opening hours?", "We open at nine. Please call then."),
        ("When do you open", "We open at nine. Please call then."),
        ("[dtmf 1]", "You pressed one."),
        ("[dtmf 12]", "Pardon?"),
        ("reopening hours", "Pardon?"),
        ("", "Pardon?"),
        ([{"type": "text", "text": "opening hours"}], "We open at nine. Please call then."),
    ],
)
async def test_rules_answer_the_last_user_message(
    line: OpenLine, said: object, expected: str
) -> None:
    earlier = {"role": "user", "content": "goodbye"}
    assert "".join(await answer(line, asked(said, earlier))) == expected


async def test_words_are_streamed_one_by_one(line: OpenLine) -> None:
    assert (await answer(line, asked("opening hours")))[:3] == ["We ", "open ", "at "]


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "system", "content": "goodbye"}],
        [
            {"role": "user", "content": "goodbye"},
            {"role": "assistant", "tool_calls": [{"id": "1"}]},
            {"role": "tool", "tool_call_id": "1", "content": "done"},
        ],
    ],
    ids=["nothing said", "function called"],
)
async def test_without_anything_new_from_the_user_it_says_nothing(
    line: OpenLine, messages: list[Any]
) -> None:
    assert await answer(line, LLMContextFrame(LLMContext(messages=messages))) == []


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        ([], "llm.rules"),
        ([{"heard": [], "say": "a"}], "llm.rules.0.heard"),
        ([{"heard": ["/(/"], "say": "a"}], "llm.rules.0.heard"),
        ([{"heard": ["!"], "say": "a"}], "llm.rules.0.heard"),
        ([{"heard": ["a"]}], "llm.rules.0"),
        ([{"heard": ["a"], "call": {"name": "end_call"}}], "llm.rules.0.call.function"),
    ],
)
def test_bad_rules_are_refused(rules: list[dict[str, object]], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        OfflineLLMService(rules=rules)
    assert caught.value.field == field


def test_the_functions_of_the_rules_are_known() -> None:
    assert OfflineLLMOptions.parse({"rules": RULES}).functions() == {"end_call"}


async def test_a_whole_conversation_by_voice(line: OpenLine, phone: Phone) -> None:
    """A question, a key press, noise, and a goodbye that ends the call through a function."""
    ended: list[dict[str, Any]] = []

    async def end_call(params: FunctionCallParams) -> None:
        ended.append(dict(params.arguments))
        await params.result_callback(
            {"status": "ending"}, properties=FunctionCallResultProperties(run_llm=True)
        )

    stt = OfflineSTTService(phrases=["what are your opening hours", "yes", "no", "goodbye"])
    llm = OfflineLLMService(rules=RULES)
    llm.register_function("end_call", end_call)
    context = LLMContext(messages=[])
    user, assistant = LLMContextAggregatorPair(
        context,
        user_params=LLMUserAggregatorParams(
            user_turn_strategies=UserTurnStrategies(
                start=[VADUserTurnStartStrategy(), TranscriptionUserTurnStartStrategy()],
                stop=[SpeechTimeoutUserTurnStopStrategy(user_speech_timeout=0.05)],
            ),
            user_turn_stop_timeout=0.5,
            empty_user_turn=None,
        ),
    )
    turns: list[str | None] = []

    @user.event_handler("on_user_turn_stopped")
    async def on_turn(_user: object, _strategy: object, message: Any) -> None:
        turns.append(message.content)

    async with line(stt, user, llm, OfflineTTSService(), after=[assistant]) as call:

        def spoken() -> list[str]:
            return [frame.text for frame in call.listener.of(TTSTextFrame)]

        await call.caller.say(phone("what are your opening hours"))
        await eventually(lambda: spoken() == ["We open at nine.", "Please call then."])
        await call.caller.say(bytes(8000))  # a bump on the line: a turn without words
        await eventually(lambda: len(turns) == 2, what="the empty turn to end")
        press = [{"role": "user", "content": "[dtmf 1]"}]
        await call.worker.queue_frame(LLMMessagesAppendFrame(messages=press, run_llm=True))
        await eventually(lambda: spoken()[2:] == ["You pressed one."])
        await call.caller.say(phone("goodbye"))
        await eventually(lambda: ended)
        await eventually(lambda: len(call.listener.of(LLMFullResponseEndFrame)) == 4)
        assert spoken()[3:] == ["Goodbye."]
    assert ended == [{"reason": "caller said goodbye"}]
    assert turns[0] == "what are your opening hours"
    assert turns[2] == "goodbye"
