"""Rules in place of a language model: what the caller said is looked up in a list, no more.

For the demo and for tests of everything around a model: it streams words, is interrupted, and
calls the same functions through Pipecat's own machinery. It understands nothing.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from pipecat.adapters.llm.base_llm_adapter import BaseLLMAdapter
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    Frame,
    FunctionCallFromLLM,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings
from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from trunkline.bots.offline.options import Options

__all__ = ["OfflineLLMOptions", "OfflineLLMService", "Rule", "RuleCall"]

DEFAULT_FALLBACK = "Sorry, I did not get that."

_STREAMED_WORD = re.compile(r"\S+\s*")
_NOT_TEXT = re.compile(r"[^\w'\[\]*#]+")


class RuleCall(BaseModel):
    """A function that a rule calls, such as ``end_call``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    function: str = Field(min_length=1, max_length=64)
    arguments: dict[str, JsonValue] = Field(default_factory=dict)


class Rule(BaseModel):
    """One rule: when the caller's words match any of ``heard``, say ``say`` and make ``call``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    heard: tuple[str, ...] = Field(min_length=1)
    """Phrases, found anywhere in what was said as whole words without regard to case and
    punctuation; or regular expressions between slashes: ``/open(ing)? hours/``."""
    say: str = ""
    call: RuleCall | None = None

    @field_validator("heard")
    @classmethod
    def _compiles(cls, heard: tuple[str, ...]) -> tuple[str, ...]:
        for text in heard:
            try:
                _pattern(text)
            except re.error as error:
                raise ValueError(f"{text!r} is not a regular expression: {error}") from error
        return heard

    @model_validator(mode="after")
    def _does_something(self) -> Rule:
        if not self.say.strip() and self.call is None:
            raise ValueError("a rule must say or call something")
        return self


class OfflineLLMOptions(Options):
    """What an agent's row says."""

    service: ClassVar[str] = "llm"

    rules: tuple[Rule, ...] = Field(min_length=1, max_length=200)
    """Tried in order; the first that matches is used."""
    fallback: str = DEFAULT_FALLBACK
    """Said when no rule matches; empty says nothing."""

    def functions(self) -> frozenset[str]:
        """Return the names of the functions that the rules call."""
        return frozenset(rule.call.function for rule in self.rules if rule.call is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    say: str
    call: RuleCall | None = None


class _PlainAdapter(BaseLLMAdapter[Mapping[str, object]]):
    """Pipecat asks every LLM service for one; its default would load the OpenAI SDK."""

    @property
    def id_for_llm_specific_messages(self) -> str:
        return "trunkline-rules"

    async def get_llm_invocation_params(
        self, context: LLMContext, **_: object
    ) -> Mapping[str, object]:
        return {"messages": self.get_messages_for_logging(context)}

    def to_provider_tools_format(self, tools_schema: ToolsSchema) -> list[Any]:
        return list(tools_schema.standard_tools)

    def get_messages_for_logging(self, context: LLMContext) -> list[dict[str, Any]]:
        return [dict(message) for message in context.get_messages() if isinstance(message, dict)]


class OfflineLLMService(LLMService[_PlainAdapter]):
    """Answers the last user message of each context by rule.

    Words are streamed one by one, as a model would. A rule's function runs through
    ``run_function_calls``, so handlers are registered and called as for any model. After the
    function's result it says nothing more.

    Raises:
        ConfigError: A rule is not usable; ``field`` names it, as in ``llm.rules.0.heard``.
    """

    adapter_class = _PlainAdapter

    def __init__(
        self, *, rules: Sequence[Mapping[str, object]], fallback: str = DEFAULT_FALLBACK
    ) -> None:
        options = OfflineLLMOptions.parse({"rules": rules, "fallback": fallback})
        # Pipecat's constructors take untyped **kwargs.
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            settings=LLMSettings(
                model="trunkline rules",
                system_instruction=None,
                temperature=None,
                max_tokens=None,
                top_p=None,
                top_k=None,
                frequency_penalty=None,
                presence_penalty=None,
                seed=None,
                filter_incomplete_user_turns=False,
                user_turn_completion_config=None,
            )
        )
        self._fallback = _Answer(say=options.fallback)
        self._rules = tuple(
            (pattern, _Answer(say=rule.say, call=rule.call))
            for rule in options.rules
            for pattern in (tuple(_pattern(text) for text in rule.heard),)
        )

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Answer a context; pass everything else on."""
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        await self.push_frame(LLMFullResponseStartFrame())
        try:
            await self._answer(frame.context)
        finally:
            await self.push_frame(LLMFullResponseEndFrame())

    async def _answer(self, context: LLMContext) -> None:
        text = _last_user_text(cast("Sequence[object]", context.get_messages()))
        if text is None:
            return
        answer = self._find_answer(text)
        for word in _STREAMED_WORD.findall(answer.say):
            await self._push_llm_text(word)
        if answer.call is not None:
            call = FunctionCallFromLLM(
                function_name=answer.call.function,
                tool_call_id=f"call_{uuid.uuid4().hex}",
                arguments=dict(answer.call.arguments),
                context=context,
            )
            await self.run_function_calls([call])

    def _find_answer(self, text: str) -> _Answer:
        candidates = (text, _normalised(text))
        for patterns, answer in self._rules:
            if any(pattern.search(said) for pattern in patterns for said in candidates):
                return answer
        return self._fallback


def _pattern(heard: str) -> re.Pattern[str]:
    if len(heard) > 2 and heard.startswith("/") and heard.endswith("/"):
        return re.compile(heard[1:-1], re.IGNORECASE)
    words = _normalised(heard)
    if not words:
        raise re.error("there is no word in it")
    return re.compile(rf"(?<!\S){re.escape(words)}(?!\S)")


def _normalised(text: str) -> str:
    return _NOT_TEXT.sub(" ", text.lower()).strip()


def _last_user_text(messages: Sequence[object]) -> str | None:
    """Return what the user said last; None if a function was called since, or nothing was said."""
    for message in reversed(messages):
        if not isinstance(message, Mapping):
            continue
        fields = cast("Mapping[str, object]", message)
        # An assistant's text may stand behind the question that interrupted it: both are written
        # to the context from different ends of the pipeline.
        if fields.get("role") == "tool" or fields.get("tool_calls"):
            return None
        if fields.get("role") == "user":
            return _text_of(fields.get("content"))
    return None


def _text_of(content: object) -> str:
    """Return a message's text, which is a string or a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (
        cast("Mapping[str, object]", part).get("text")
        for part in cast("list[object]", content)
        if isinstance(part, Mapping)
    )
    return " ".join(part for part in parts if isinstance(part, str))
