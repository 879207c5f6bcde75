"""What the three offline services have in common: options that come as JSON from an agent's row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from trunkline.errors import ConfigError

__all__ = ["Options"]


class Options(BaseModel):
    """Options of an offline service, checked when an agent is saved and again when it starts."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    service: ClassVar[str]
    """Prefix of the field names in errors: ``tts``, ``stt`` or ``llm``."""

    @classmethod
    def parse(cls, values: Mapping[str, object]) -> Self:
        """Read the options from an agent's row.

        Raises:
            ConfigError: An option is unknown, missing or bad; ``field`` names it: ``stt.phrases``.
        """
        try:
            # As JSON, because strict models take arrays for tuples from there only.
            return cls.model_validate_json(json.dumps(values))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            field = ".".join((cls.service, *(str(part) for part in first["loc"])))
            reason = first["msg"].removeprefix("Value error, ")
            raise ConfigError(f"{field}: {reason}", field=field) from error
