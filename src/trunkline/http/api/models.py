"""What the API takes and gives, with examples.

Mirrors the store's records; nothing secret has a field here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

from trunkline import carriers
from trunkline.store.records import (
    AgentKind,
    AgentRecord,
    CallRecord,
    EventRecord,
    Overflow,
    OverflowAction,
)
from trunkline.telephony.call import CallState, Direction, EndedBy, EndReason
from trunkline.telephony.carrier import AmdMode

__all__ = [
    "Agent",
    "AgentChange",
    "AgentSaved",
    "Call",
    "CallList",
    "DialRequest",
    "NewAgent",
    "OverflowModel",
    "Provider",
    "ProviderChange",
    "TelephonyChange",
    "TelephonySettings",
    "Transcript",
    "TranscriptTurn",
]


def _check_json(value: JsonValue) -> JsonValue:
    """Refuse what Python's parser takes and neither JSON nor a database has."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise ValueError("must be JSON in UTF-8, without NaN and Infinity") from None
    return value


Json = Annotated[JsonValue, AfterValidator(_check_json)]
AgentName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", examples=["front-desk"])]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", from_attributes=True)


FIRST_CARRIER = carriers.NAMES[0]  # for the examples

AGENT_EXAMPLE: dict[str, JsonValue] = {
    "name": "my-bot",
    "kind": "module",
    "enabled": True,
    "pipeline": None,
    "module": "bots/my_bot.py",
    "present_as": None,
    "overflow": {"action": "busy", "message": None, "number": None},
    "max_concurrent_calls": None,
    "max_duration_s": 7200,
    "silence_timeout_s": 0,
    "record": True,
    "caller_lookup": False,
    "warm": None,
    "max_loop_block_s": 10.0,
    "revision": 1,
    "created_at": "2026-03-01T12:00:00Z",
    "updated_at": "2026-03-01T12:00:00Z",
}

CALL_EXAMPLE: dict[str, JsonValue] = {
    "id": "4f4f6f0e-6a4f-4c0e-9d6a-0d9b8a7c6e5f",
    "provider": FIRST_CARRIER,
    "account_id": "AC00000000000000000000000000000001",
    "carrier_call_id": "CA00000000000000000000000000000001",
    "direction": "outbound",
    "agent_name": "front-desk",
    "from_number": "+15005550006",
    "to_number": "+14155550100",
    "state": "completed",
    "body": {"customer": "Ada", "order": 42},
    "created_at": "2026-03-01T12:00:00Z",
    "answered_at": "2026-03-01T12:00:08Z",
    "stream_started_at": "2026-03-01T12:00:09Z",
    "ended_at": "2026-03-01T12:01:10Z",
    "duration_s": 62.0,
    "ended_by": "caller",
    "end_reason": "completed",
    "answered_by": None,
    "error": None,
    "has_recording": True,
    "stats": {},
}


class OverflowModel(_Model):
    """What a caller gets when there is no slot or no worker."""

    action: OverflowAction = OverflowAction.BUSY
    message: str | None = Field(
        None, max_length=1000, examples=["All lines are busy. Please call again."]
    )
    number: str | None = Field(None, examples=["+14155550111"])


class AgentChange(_Model):
    """Fields of an agent that may be changed; only the ones that are sent are."""

    enabled: bool | None = None
    pipeline: dict[str, Json] | None = None
    module: str | None = Field(None, max_length=1000)
    present_as: str | None = None
    overflow: OverflowModel | None = None
    max_concurrent_calls: int | None = Field(None, ge=1, le=100_000)
    max_duration_s: int | None = Field(None, ge=10, le=86_400)
    silence_timeout_s: int | None = Field(None, ge=0, le=3600)
    record: bool | None = None
    caller_lookup: bool | None = None
    warm: int | None = Field(None, ge=0, le=1000)
    max_loop_block_s: float | None = Field(None, ge=1, le=600)

    def apply(self, agent: AgentRecord) -> dict[str, object]:
        """The fields to replace in ``agent``; null resets a field that may be null."""
        nullable = {"pipeline", "module", "present_as", "max_concurrent_calls", "warm"}
        found: dict[str, object] = {}
        for name in self.model_fields_set & AgentChange.model_fields.keys():
            value = getattr(self, name)
            if isinstance(value, OverflowModel):
                found[name] = Overflow(**value.model_dump())
            elif value is not None or name in nullable:
                found[name] = value
        return found


class NewAgent(AgentChange):
    """An agent to create.

    ``kind`` follows from whether it has ``pipeline`` or ``module``.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "front-desk",
                    "pipeline": {
                        "prompt": "You answer the phone of a small hotel. Be brief.",
                        "greeting": "Hello, this is the front desk. How can I help?",
                        "stt": {"service": "deepgram"},
                        "llm": {"service": "openai", "model": "gpt-4.1-mini"},
                        "tts": {
                            "service": "cartesia",
                            "voice": "a0e99841-438c-4a64-b679-ae501e7d6091",
                        },
                    },
                },
                {"name": "my-bot", "module": "bots/my_bot.py"},
            ]
        }
    )

    name: AgentName
    kind: AgentKind | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.pipeline is None) == (self.module is None):
            raise ValueError("give either pipeline or module")
        return self

    def record_of(self) -> AgentRecord:
        """The agent with defaults for what was not sent."""
        kind = AgentKind.PIPELINE if self.pipeline is not None else AgentKind.MODULE
        blank = AgentRecord(name=self.name, kind=self.kind or kind)
        fields = self.apply(blank)
        return AgentRecord(name=self.name, kind=self.kind or kind, **fields)  # pyright: ignore[reportArgumentType]


class Agent(_Model):
    """An agent as stored."""

    model_config = ConfigDict(json_schema_extra={"examples": [AGENT_EXAMPLE]})

    name: str
    kind: AgentKind
    enabled: bool
    pipeline: Mapping[str, JsonValue] | None
    module: str | None
    present_as: str | None
    overflow: OverflowModel
    max_concurrent_calls: int | None
    max_duration_s: int
    silence_timeout_s: int
    record: bool
    caller_lookup: bool
    warm: int | None
    max_loop_block_s: float
    revision: int
    created_at: datetime | None
    updated_at: datetime | None


class AgentSaved(Agent):
    """The answer to a change: what may be worth a look is said, although the agent works."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**AGENT_EXAMPLE, "warnings": []}]})

    warnings: list[str] = []


class DialRequest(_Model):
    """An outbound call to place."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "agent_name": "front-desk",
                    "to_number": "+14155550100",
                    "body": {"customer": "Ada", "order": 42},
                }
            ]
        }
    )

    agent_name: str
    to_number: str
    from_number: str | None = None
    provider: str | None = None
    body: Json = None
    amd: AmdMode | bool | None = None
    ring_timeout_s: int = Field(60, ge=5, le=600)
    max_duration_s: int | None = Field(None, ge=10, le=86_400)
    idempotency_key: str | None = Field(None, min_length=1, max_length=200)


class Call(_Model):
    """A call's record."""

    model_config = ConfigDict(json_schema_extra={"examples": [CALL_EXAMPLE]})

    id: str
    provider: str = Field(validation_alias="carrier")
    account_id: str
    carrier_call_id: str | None
    direction: Direction
    agent_name: str
    from_number: str
    to_number: str
    state: CallState
    body: JsonValue
    created_at: datetime
    answered_at: datetime | None
    stream_started_at: datetime | None
    ended_at: datetime | None
    duration_s: float | None
    ended_by: EndedBy | None
    end_reason: EndReason | None
    answered_by: str | None
    error: str | None
    has_recording: bool
    stats: Mapping[str, JsonValue]

    @classmethod
    def of(cls, call: CallRecord) -> Call:
        """The record as the API shows it."""
        fields = {name: getattr(call, name) for name in cls.model_fields if hasattr(call, name)}
        return cls.model_validate(
            {**fields, "carrier": call.carrier, "has_recording": call.recording_path is not None}
        )


class CallList(_Model):
    """One page, newest first."""

    calls: list[Call]
    next_cursor: str | None


class TranscriptTurn(_Model):
    """Something that was said, or a key that was pressed."""

    kind: Literal["turn", "dtmf"]
    speaker: Literal["caller", "bot"]
    text: str
    heard_text: str | None = Field(None, description="Bot: what was really played of the text.")
    interrupted: bool = False
    started_ms: int | None = Field(None, description="Since the stream's start.")
    ended_ms: int | None = None
    latency_ms: int | None = Field(
        None,
        description="Bot: from the end of the caller's speech to its first audio, at the wire.",
    )
    at: datetime

    @classmethod
    def of(cls, event: EventRecord) -> TranscriptTurn:
        """A ``turn`` or ``dtmf`` event as a line of the transcript."""
        data = dict(event.data)
        if event.kind == "dtmf":
            digit, at_ms = str(data.get("digit", "")), _whole(data.get("at_ms"))
            fields = {"kind": "dtmf", "speaker": "caller", "text": digit, "started_ms": at_ms}
            return cls.model_validate({**fields, "at": event.at})
        known = {name: data[name] for name in cls.model_fields if name in data}
        whole = {name: _whole(known.get(name)) for name in ("started_ms", "ended_ms", "latency_ms")}
        return cls.model_validate({**known, **whole, "kind": "turn", "at": event.at})


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) else None


class Transcript(_Model):
    """What was said, in order."""

    call_id: str
    turns: list[TranscriptTurn]


class Provider(_Model):
    """A carrier: what it can do and how it is set up."""

    name: str
    display_name: str
    configured: Mapping[str, str] = Field(
        description="Setting → where it comes from. Never its value."
    )
    missing: list[str]
    ready: bool
    problem: str | None
    phone_number: str | None
    max_concurrent_calls: int
    in_use: int
    features: Mapping[str, JsonValue]
    console: Mapping[str, str] = Field(description="What to paste into the carrier's console.")


class ProviderChange(BaseModel):
    """Settings of one carrier: ``max_concurrent_calls`` and the account's own fields.

    Null forgets a stored value.
    """

    model_config = ConfigDict(extra="allow")

    # Pydantic's way to type extra fields.
    __pydantic_extra__: dict[str, str | None] = Field(init=False)  # pyright: ignore[reportIncompatibleVariableOverride]

    max_concurrent_calls: int | None = Field(None, ge=1, le=100_000)

    def credentials(self) -> dict[str, str | None]:
        """The account's fields that were sent."""
        return dict(self.__pydantic_extra__ or {})


class TelephonyChange(_Model):
    """A partial change of the telephony settings."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"provider": FIRST_CARRIER},
                {"providers": {FIRST_CARRIER: {"max_concurrent_calls": 20, "auth_token": "…"}}},
            ]
        }
    )

    provider: str | None = None
    providers: dict[str, ProviderChange] = {}


class ProviderSettings(_Model):
    """One carrier's settings as shown: secrets only as where they come from."""

    configured: Mapping[str, str]
    missing: list[str]
    problem: str | None
    phone_number: str | None
    account_id: str
    max_concurrent_calls: int


class TelephonySettings(_Model):
    """The telephony settings in force."""

    provider: str | None
    providers: dict[str, ProviderSettings]
