from __future__ import annotations

import pytest
from pipecat.services.cartesia.tts import CartesiaTTSService
from pipecat.services.deepgram.stt import DeepgramSTTService
from pipecat.services.openai.llm import OpenAILLMService

from trunkline.bots.catalogue import Stage
from trunkline.bots.pipeline import ServiceSettings
from trunkline.bots.services import build_service, import_named
from trunkline.errors import ConfigError

KEYS = {"DEEPGRAM_API_KEY": "d", "OPENAI_API_KEY": "o", "CARTESIA_API_KEY": "c"}


def settings(service: str, **options: object) -> ServiceSettings:
    return ServiceSettings.model_validate({"service": service, **options})


def test_options_go_where_the_class_has_a_place_for_them() -> None:
    stt = build_service(Stage.STT, settings("deepgram", model="nova-2", channels=1), KEYS)
    llm = build_service(Stage.LLM, settings("openai", model="gpt-4.1", temperature=0.2), KEYS)
    tts = build_service(Stage.TTS, settings("cartesia", voice="v", url="wss://localhost/x"), KEYS)
    assert isinstance(stt, DeepgramSTTService)
    assert stt._settings.model == "nova-2"  # noqa: SLF001 - Pipecat has no public reader
    assert stt._audio_passthrough is False  # noqa: SLF001
    assert isinstance(llm, OpenAILLMService)
    assert llm._settings.temperature == 0.2  # noqa: SLF001
    assert isinstance(tts, CartesiaTTSService)
    assert tts._settings.voice == "v"  # noqa: SLF001


@pytest.mark.parametrize(
    ("stage", "service", "variable"),
    [
        (Stage.STT, "deepgram", "DEEPGRAM_API_KEY"),
        (Stage.LLM, "openai", "OPENAI_API_KEY"),
        (Stage.TTS, "cartesia", "CARTESIA_API_KEY"),
        (Stage.TTS, "openai", "OPENAI_API_KEY"),
    ],
)
def test_missing_key_is_named(stage: Stage, service: str, variable: str) -> None:
    with pytest.raises(ConfigError, match=f"{stage} service {service} needs {variable}"):
        build_service(stage, settings(service), {})


def test_key_of_a_class_that_is_in_no_table_is_asked_for() -> None:
    class_path = "pipecat.services.fish.tts:FishAudioTTSService"
    with pytest.raises(ConfigError, match=r"FISH_API_KEY|pip install"):
        build_service(Stage.TTS, settings(class_path), {})


def test_option_without_a_place_is_refused_and_says_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"has no such setting; it has .*model") as caught:
        build_service(Stage.LLM, settings("openai", temprature=1), KEYS)
    assert caught.value.field == "pipeline.llm.temprature"


def test_missing_package_says_what_to_install() -> None:
    with pytest.raises(ConfigError, match=r"pip install 'pipecat-ai\[nowhere\]'"):
        build_service(Stage.TTS, settings("pipecat.services.nowhere.tts:X"), KEYS)


def test_missing_class_is_named() -> None:
    with pytest.raises(ConfigError, match=r"pipecat\.services\.openai\.llm has no Nothing"):
        build_service(Stage.LLM, settings("pipecat.services.openai.llm:Nothing"), KEYS)


@pytest.mark.parametrize(
    "path", ["collections:OrderedDict", "pipecat.services.openai.tts:OpenAITTSService", "os:getcwd"]
)
def test_class_of_another_kind_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="is not a Pipecat LLMService"):
        build_service(Stage.LLM, settings(path), KEYS)


def test_settings_that_the_class_refuses() -> None:
    with pytest.raises(ConfigError, match="either phrases or grammar"):
        build_service(Stage.STT, settings("offline"), {})


def test_functions_are_found_by_name() -> None:
    assert import_named("os.path:join", field="f") is __import__("os").path.join
