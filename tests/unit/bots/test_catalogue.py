from __future__ import annotations

from importlib import import_module

import pytest

from trunkline.bots.catalogue import (
    SHORT_NAMES,
    Stage,
    class_path,
    fallback_variable,
    key_variables,
    package_extra,
)
from trunkline.errors import ConfigError


@pytest.mark.parametrize(
    "path", [path for names in SHORT_NAMES.values() for path in names.values()]
)
def test_every_short_name_is_a_class_that_is_there(path: str) -> None:
    module, _, name = path.partition(":")
    assert isinstance(getattr(import_module(module), name), type)


def test_class_paths_are_taken_as_they_are() -> None:
    path = "pipecat.services.elevenlabs.tts:ElevenLabsTTSService"
    assert class_path(Stage.TTS, path) == path


@pytest.mark.parametrize("name", ["elevenlabs", "os.system", "a:b:c", ":x", "a.b:", "deepgram "])
def test_unknown_service_is_refused_and_says_what_there_is(name: str) -> None:
    with pytest.raises(
        ConfigError, match="use one of cartesia, deepgram, offline, openai"
    ) as caught:
        class_path(Stage.STT, name)
    assert caught.value.field == "stt.service"


def test_a_name_belongs_to_its_stage() -> None:
    with pytest.raises(ConfigError, match="there is no llm service 'deepgram'"):
        class_path(Stage.LLM, "deepgram")


def test_keys() -> None:
    assert key_variables("pipecat.services.deepgram.stt:DeepgramSTTService") == {
        "api_key": "DEEPGRAM_API_KEY"
    }
    assert key_variables("pipecat.services.piper.tts:PiperTTSService") == {}
    assert key_variables("trunkline.bots.offline.tts:OfflineTTSService") == {}
    assert key_variables("pipecat.services.hume.tts:HumeTTSService") is None
    assert key_variables("my.own:Service") is None


def test_key_of_a_class_that_is_in_no_table() -> None:
    assert fallback_variable("pipecat.services.hume.tts:HumeTTSService") == "HUME_API_KEY"
    assert fallback_variable("acme.speech:Service") == "ACME_API_KEY"


def test_what_to_install() -> None:
    assert package_extra("pipecat.services.rime.tts:RimeTTSService") == "'pipecat-ai[rime]'"
    assert package_extra("trunkline.bots.offline.tts:X") == "'trunkline[offline]'"
    assert package_extra("acme.speech:Service") == "acme"
