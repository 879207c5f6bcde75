"""Which class a service's name means, which package it needs, which variables hold its keys.

A service is named in an agent's row by a short name (``deepgram``) or by any class of Pipecat or of
one's own (``pipecat.services.elevenlabs.tts:ElevenLabsTTSService``). Keys never stand in the row:
rows are shown by the API. Class names are those of pipecat-ai 1.14
(https://docs.pipecat.ai/server/services/supported-services).
"""

from __future__ import annotations

import re
from enum import StrEnum

from trunkline.errors import ConfigError

__all__ = ["KEY_VARIABLES", "SHORT_NAMES", "Stage", "class_path", "key_variables", "package_extra"]


class Stage(StrEnum):
    """A place in the pipeline that a service fills."""

    STT = "stt"
    LLM = "llm"
    TTS = "tts"


SHORT_NAMES: dict[Stage, dict[str, str]] = {
    Stage.STT: {
        "cartesia": "pipecat.services.cartesia.stt:CartesiaSTTService",
        "deepgram": "pipecat.services.deepgram.stt:DeepgramSTTService",
        "offline": "trunkline.bots.offline.stt:OfflineSTTService",
        "openai": "pipecat.services.openai.stt:OpenAISTTService",
    },
    Stage.LLM: {
        "offline": "trunkline.bots.offline.llm:OfflineLLMService",
        "openai": "pipecat.services.openai.llm:OpenAILLMService",
    },
    Stage.TTS: {
        "cartesia": "pipecat.services.cartesia.tts:CartesiaTTSService",
        "deepgram": "pipecat.services.deepgram.tts:DeepgramTTSService",
        "offline": "trunkline.bots.offline.tts:OfflineTTSService",
        "openai": "pipecat.services.openai.tts:OpenAITTSService",
    },
}
"""Stage → short name → ``module:Class``."""

KEY_VARIABLES: dict[str, dict[str, str]] = {
    "anthropic": {"api_key": "ANTHROPIC_API_KEY"},
    "assemblyai": {"api_key": "ASSEMBLYAI_API_KEY"},
    "aws": {},
    "azure": {"api_key": "AZURE_API_KEY"},
    "cartesia": {"api_key": "CARTESIA_API_KEY"},
    "cerebras": {"api_key": "CEREBRAS_API_KEY"},
    "deepgram": {"api_key": "DEEPGRAM_API_KEY"},
    "deepseek": {"api_key": "DEEPSEEK_API_KEY"},
    "elevenlabs": {"api_key": "ELEVENLABS_API_KEY"},
    "fireworks": {"api_key": "FIREWORKS_API_KEY"},
    "gladia": {"api_key": "GLADIA_API_KEY"},
    "google": {"api_key": "GOOGLE_API_KEY"},
    "groq": {"api_key": "GROQ_API_KEY"},
    "kokoro": {},
    "mistral": {"api_key": "MISTRAL_API_KEY"},
    "moonshine": {},
    "ollama": {},
    "openai": {"api_key": "OPENAI_API_KEY"},
    "openrouter": {"api_key": "OPENROUTER_API_KEY"},
    "piper": {},
    "rime": {"api_key": "RIME_API_KEY"},
    "soniox": {"api_key": "SONIOX_API_KEY"},
    "speechmatics": {"api_key": "SPEECHMATICS_API_KEY"},
    "together": {"api_key": "TOGETHER_API_KEY"},
    "whisper": {},
    "xai": {"api_key": "XAI_API_KEY"},
    "xtts": {},
}
"""Package under ``pipecat.services`` → constructor parameter → environment variable. Other packages
that take an ``api_key`` get it from ``<PACKAGE>_API_KEY``; the row may name another
(``api_key_env``)."""

_CLASS_PATH = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")


def class_path(stage: Stage, name: str) -> str:
    """``module:Class`` of the service that ``name`` means at ``stage``.

    Raises:
        ConfigError: neither a short name of that stage nor a class path.
    """
    short = SHORT_NAMES[stage].get(name)
    if short is not None:
        return short
    if _CLASS_PATH.match(name):
        return name
    known = ", ".join(sorted(SHORT_NAMES[stage]))
    raise ConfigError(
        f"{stage}.service: there is no {stage} service {name!r}; use one of {known}, "
        "or a Pipecat class such as pipecat.services.elevenlabs.tts:ElevenLabsTTSService",
        field=f"{stage}.service",
    )


def _pipecat_package(path: str) -> str | None:
    """``deepgram`` of ``pipecat.services.deepgram.stt:…``; None for classes from elsewhere."""
    parts = path.partition(":")[0].split(".")
    return parts[2] if parts[:2] == ["pipecat", "services"] and len(parts) > 2 else None


def key_variables(path: str) -> dict[str, str] | None:
    """Constructor parameter → variable for the class; None where only the class can tell."""
    if path.startswith("trunkline."):
        return {}
    package = _pipecat_package(path)
    return None if package is None else KEY_VARIABLES.get(package)


def fallback_variable(path: str) -> str:
    """Variable of a class that takes an ``api_key`` and is in no table: ``<PACKAGE>_API_KEY``."""
    package = _pipecat_package(path) or path.split(".")[0].partition(":")[0]
    return f"{package.upper()}_API_KEY"


def package_extra(path: str) -> str:
    """What to install when the class's package is missing, as an argument of ``pip install``."""
    if path.startswith("trunkline."):
        return "'trunkline[offline]'"
    package = _pipecat_package(path)
    return f"'pipecat-ai[{package}]'" if package else path.split(".")[0].partition(":")[0]
