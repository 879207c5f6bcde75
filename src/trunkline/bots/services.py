"""Builds a Pipecat service from its entry in an agent's row.

What the row gives besides the name goes where the class has a place for it: into the service's
``Settings`` (model, voice, language, temperature, …) or its constructor. A name that has no place
is refused, not ignored.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import cast

from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.llm_service import LLMService
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService

from trunkline.bots.catalogue import (
    Stage,
    class_path,
    fallback_variable,
    key_variables,
    package_extra,
)
from trunkline.bots.pipeline import MissingKey, PipelineSettings, ServiceSettings
from trunkline.errors import ConfigError

__all__ = ["Services", "build_service", "build_services", "import_named"]

_BASES: dict[Stage, type[FrameProcessor]] = {
    Stage.STT: STTService,
    Stage.LLM: LLMService,
    Stage.TTS: TTSService,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The three services of one call, in the order of the pipeline."""

    stt: FrameProcessor
    llm: FrameProcessor
    tts: FrameProcessor
    has_prompt: bool
    """The LLM service was given the prompt; otherwise it belongs in the conversation."""


def build_services(
    settings: PipelineSettings, environment: Mapping[str, str], *, prompt: str
) -> Services:
    """One instance of each service.

    Raises:
        ConfigError: see ``build_service``.
    """
    has_prompt = _takes_prompt(settings.llm)
    if has_prompt:
        # A system message in the conversation is deprecated where the service has a place for it.
        llm = settings.llm.model_copy(update={"system_instruction": prompt})
    else:
        llm = settings.llm
    return Services(
        stt=build_service(Stage.STT, settings.stt, environment),
        llm=build_service(Stage.LLM, llm, environment),
        tts=build_service(Stage.TTS, settings.tts, environment),
        has_prompt=has_prompt,
    )


def _takes_prompt(service: ServiceSettings) -> bool:
    path = class_path(Stage.LLM, service.service)
    cls = import_named(path, field="pipeline.llm.service", install=package_extra(path))
    if not inspect.isclass(cls):
        return False
    settings_class = cast("object", getattr(cls, "Settings", None))
    return "settings" in _parameters(cls) and "system_instruction" in _field_names(settings_class)


def build_service(
    stage: Stage, service: ServiceSettings, environment: Mapping[str, str]
) -> FrameProcessor:
    """An instance of the class that ``service`` names.

    Raises:
        ConfigError: no such class, not of that kind, its package is not installed, a key is
            missing, or an option has no place in it.
    """
    path = class_path(stage, service.service)
    cls = import_named(path, field=f"pipeline.{stage}.service", install=package_extra(path))
    if not (inspect.isclass(cls) and issubclass(cls, _BASES[stage])):
        raise ConfigError(
            f"pipeline.{stage}.service: {service.service} "
            f"is not a Pipecat {_BASES[stage].__name__}",
            field=f"pipeline.{stage}.service",
        )
    try:
        make = cast("Callable[..., FrameProcessor]", cls)
        return make(**_arguments(stage, service, cls, path, environment))
    except ConfigError:
        raise
    except Exception as error:
        # A class of any make is called with a person's settings: whatever it raises, these settings
        # do not work with it.
        raise ConfigError(
            f"pipeline.{stage}: {service.service} cannot be made of these settings: "
            f"{type(error).__name__}: {error}",
            field=f"pipeline.{stage}",
        ) from error


def import_named(path: str, *, field: str, install: str | None = None) -> object:
    """What ``module.path:name`` names.

    Raises:
        ConfigError: the module or the name does not exist, or a package that the module needs is
            not installed.
    """
    module_name, _, name = path.partition(":")
    try:
        return cast(object, getattr(importlib.import_module(module_name), name))
    except ImportError as error:
        hint = f"; install it with: pip install {install}" if install else ""
        raise ConfigError(
            f"{field}: {path} needs a package that is missing ({error}){hint}", field=field
        ) from error
    except AttributeError:
        raise ConfigError(f"{field}: {module_name} has no {name}", field=field) from None


def _arguments(
    stage: Stage,
    service: ServiceSettings,
    cls: type[FrameProcessor],
    path: str,
    environment: Mapping[str, str],
) -> dict[str, object]:
    """Constructor arguments: the row's options, and keys from the environment."""
    parameters = _parameters(cls)
    settings_class = cast(Callable[..., object] | None, getattr(cls, "Settings", None))
    settings_fields = _field_names(settings_class)
    arguments: dict[str, object] = {}
    settings: dict[str, object] = {}
    for name, value in service.options.items():
        if name in settings_fields and "settings" in parameters:
            settings[name] = value
        elif name in parameters:
            arguments[name] = value
        else:
            known = ", ".join(sorted((settings_fields | parameters) - _NOT_FOR_ROWS))
            raise ConfigError(
                f"pipeline.{stage}.{name}: {service.service} has no such setting; it has {known}",
                field=f"pipeline.{stage}.{name}",
            )
    if settings and settings_class is not None:
        arguments["settings"] = settings_class(**settings)
    arguments.update(_keys(stage, service, cls, path, environment))
    if stage is Stage.STT:
        # Caller audio ends at the recogniser: nothing behind it listens, and each processor costs
        # CPU for each frame.
        arguments["audio_passthrough"] = False
    return arguments


_NOT_FOR_ROWS = {
    "settings",
    "params",
    "api_key",
    "kwargs",
    "extra",
    "name",
    "aiohttp_session",
    "http_client",
}


def _parameters(cls: type) -> set[str]:
    """Names that the constructor takes, also for its base classes by ``**kwargs``."""
    names: set[str] = set()
    for ancestor in cls.__mro__:
        if "__init__" not in ancestor.__dict__:
            continue
        parameters = inspect.signature(ancestor.__init__).parameters.values()
        names |= {
            parameter.name
            for parameter in parameters
            if parameter.name != "self"
            and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        }
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return names


def _field_names(settings_class: object) -> set[str]:
    if not (inspect.isclass(settings_class) and is_dataclass(settings_class)):
        return set()
    return {field.name for field in fields(settings_class)}


def _keys(
    stage: Stage, service: ServiceSettings, cls: type, path: str, environment: Mapping[str, str]
) -> dict[str, str]:
    variables = key_variables(path)
    if variables is None:
        variables = {"api_key": fallback_variable(path)} if _needs_api_key(cls) else {}
    if service.api_key_env:
        variables = {**dict.fromkeys(variables or ("api_key",), service.api_key_env)}
    found: dict[str, str] = {}
    for parameter, variable in variables.items():
        value = environment.get(variable, "").strip()
        if not value:
            missing = MissingKey(stage=stage, service=service.service, variable=variable)
            raise ConfigError(f"pipeline.{missing}", field=f"pipeline.{stage}")
        found[parameter] = value
    return found


def _needs_api_key(cls: type) -> bool:
    """Whether the constructor of a class from elsewhere takes an ``api_key`` without a default."""
    parameter = inspect.signature(cls).parameters.get("api_key")
    return parameter is not None and parameter.default is parameter.empty
