"""The settings of a pipeline agent, as they stand in the agent's row, and without Pipecat.

Everything a row may say has its place below, and anything else is refused with the name of the
field, so that a misspelt setting is found when the agent is saved and not as silence on the phone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, cast

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator

from trunkline.bots.catalogue import Stage, class_path, key_variables
from trunkline.errors import ConfigError

__all__ = [
    "DtmfSettings",
    "MissingKey",
    "PipelineSettings",
    "ServiceSettings",
    "TurnSettings",
    "missing_keys",
    "validate_pipeline",
]


class ServiceSettings(BaseModel):
    """One service: its name, and whatever else its class takes (model, voice, language, url, …)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    service: str = Field(min_length=1, max_length=300, examples=["deepgram"])
    """Short name, or ``module.path:ClassName``."""
    api_key_env: str | None = Field(None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Environment variable that holds the key; None: the one of the table in the documentation."""

    @property
    def options(self) -> dict[str, JsonValue]:
        """Everything but our own fields: for the service's constructor and its settings."""
        return cast("dict[str, JsonValue]", dict(self.model_extra or {}))


class TurnSettings(BaseModel):
    """When the caller's turn is over, and what to do with one in which nothing was understood."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user_speech_timeout_s: float = Field(0.6, ge=0.05, le=10)
    """Silence after which the caller has finished."""
    stop_timeout_s: float = Field(5.0, ge=0.5, le=60)
    """A turn without any sign of its end is over after this."""
    answer_empty: bool = True
    """The caller interrupted the bot and nothing was understood: let the LLM ask again. Otherwise
    the bot stays silent."""


class DtmfSettings(BaseModel):
    """What the caller's keys do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    """Keys become messages of the caller, and the LLM answers; otherwise they are only recorded."""
    template: str = Field("[dtmf {digits}]", min_length=1, max_length=200)
    """The message; ``{digits}`` stands for the keys."""
    timeout_s: float = Field(1.0, ge=0, le=30)
    """Wait this long for a further key; 0: each key is a message of its own."""
    terminator: str = Field("#", max_length=1, pattern=r"^[0-9*#]?$")
    """This key ends the entry at once and is not part of it; empty: none does."""

    @field_validator("template")
    @classmethod
    def _has_digits(cls, value: str) -> str:
        if "{digits}" not in value:
            raise ValueError("must contain {digits}")
        return value


class PipelineSettings(BaseModel):
    """A bot made of a prompt and three services."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: str = Field(min_length=1, max_length=100_000)
    """System prompt; ``{{from_number}}``, ``{{to_number}}`` and keys of the body are filled in."""
    greeting: str | None = Field(None, max_length=5_000)
    """Spoken when the call starts, with the same variables; None: the bot waits for the caller."""
    stt: ServiceSettings
    llm: ServiceSettings
    tts: ServiceSettings
    functions: list[Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]] = []
    """Pipecat direct functions that the LLM may call, each as ``module.path:function``.
    ``end_call`` is always there."""
    turns: TurnSettings = Field(default_factory=lambda: TurnSettings.model_validate({}))
    dtmf: DtmfSettings = Field(default_factory=lambda: DtmfSettings.model_validate({}))
    audio_frame_ms: int = Field(40, ge=20, le=100, multiple_of=20)
    """Length of the pieces of caller audio in the pipeline; 20 takes half as much CPU again."""

    def services(self) -> dict[Stage, ServiceSettings]:
        """The three services by stage."""
        return {Stage.STT: self.stt, Stage.LLM: self.llm, Stage.TTS: self.tts}


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingKey:
    """A key that a service needs and the environment does not have."""

    stage: Stage
    service: str
    variable: str

    def __str__(self) -> str:
        return (
            f"{self.stage} service {self.service} needs {self.variable}: "
            "set it in the server's environment or .env"
        )


def validate_pipeline(row: Mapping[str, object]) -> PipelineSettings:
    """The settings in ``row``, checked as far as that goes without importing a service.

    Raises:
        ConfigError: a field is wrong, unknown or missing, a service has no such name, or a key
            stands in the row; ``field`` names the first.
    """
    try:
        settings = PipelineSettings.model_validate(row)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"pipeline.{field}: {first['msg']}", field=f"pipeline.{field}") from None
    for stage, service in settings.services().items():
        class_path(stage, service.service)
        for name in service.options:
            if "api_key" in name or name in ("token", "secret", "credentials"):
                raise ConfigError(
                    f"pipeline.{stage}.{name}: keys do not belong in an agent; "
                    "set the service's environment variable "
                    f"(or name another one in {stage}.api_key_env)",
                    field=f"pipeline.{stage}.{name}",
                )
    return settings


def missing_keys(settings: PipelineSettings, environment: Mapping[str, str]) -> list[MissingKey]:
    """Keys that the agent's services are known to need and ``environment`` lacks (or has empty)."""
    found: list[MissingKey] = []
    for stage, service in settings.services().items():
        variables = key_variables(class_path(stage, service.service)) or {}
        wanted = [service.api_key_env] if service.api_key_env else sorted(variables.values())
        found += [
            MissingKey(stage=stage, service=service.service, variable=variable)
            for variable in wanted
            if not environment.get(variable, "").strip()
        ]
    return found
