from __future__ import annotations

import subprocess
import sys

import pytest

from trunkline.bots.pipeline import missing_keys, validate_pipeline
from trunkline.errors import ConfigError

ROW: dict[str, object] = {
    "prompt": "You are the front desk.",
    "stt": {"service": "deepgram", "model": "nova-3-general"},
    "llm": {"service": "openai", "model": "gpt-4.1"},
    "tts": {"service": "cartesia", "voice": "a-voice"},
}


def test_settings_have_their_defaults() -> None:
    settings = validate_pipeline(ROW)
    assert settings.greeting is None
    assert settings.turns.user_speech_timeout_s == 0.6
    assert settings.dtmf.template == "[dtmf {digits}]"
    assert settings.audio_frame_ms == 40
    assert settings.tts.options == {"voice": "a-voice"}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"prompt": ""}, "pipeline.prompt"),
        ({"greetings": "Hi"}, "pipeline.greetings"),
        ({"llm": {}}, "pipeline.llm.service"),
        ({"llm": {"service": "gpt"}}, "llm.service"),
        ({"llm": "openai"}, "pipeline.llm"),
        ({"turns": {"user_speech_timeout_s": 0}}, "pipeline.turns.user_speech_timeout_s"),
        ({"turns": {"vad": 1}}, "pipeline.turns.vad"),
        ({"dtmf": {"template": "keys"}}, "pipeline.dtmf.template"),
        ({"dtmf": {"terminator": "x"}}, "pipeline.dtmf.terminator"),
        ({"functions": ["os.system"]}, "pipeline.functions.0"),
        ({"audio_frame_ms": 30}, "pipeline.audio_frame_ms"),
        ({"stt": {"service": "deepgram", "api_key": "sk-1"}}, "pipeline.stt.api_key"),
        ({"stt": {"service": "deepgram", "api_key_env": "a b"}}, "pipeline.stt.api_key_env"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, object], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate_pipeline({**ROW, **change})
    assert caught.value.field == field
    assert "sk-1" not in str(caught.value)


def test_row_without_anything_names_the_prompt() -> None:
    with pytest.raises(ConfigError, match=r"pipeline\.prompt"):
        validate_pipeline({})


def test_missing_keys_are_listed_by_stage() -> None:
    settings = validate_pipeline(ROW)
    found = missing_keys(settings, {"OPENAI_API_KEY": "x", "CARTESIA_API_KEY": "  "})
    assert [(key.stage, key.variable) for key in found] == [
        ("stt", "DEEPGRAM_API_KEY"),
        ("tts", "CARTESIA_API_KEY"),
    ]
    assert str(found[0]) == (
        "stt service deepgram needs DEEPGRAM_API_KEY: set it in the server's environment or .env"
    )


def test_another_variable_may_hold_the_key() -> None:
    settings = validate_pipeline({**ROW, "stt": {"service": "deepgram", "api_key_env": "TEAM_KEY"}})
    environment = {"OPENAI_API_KEY": "x", "CARTESIA_API_KEY": "x"}
    assert [key.variable for key in missing_keys(settings, environment)] == ["TEAM_KEY"]
    assert missing_keys(settings, {**environment, "TEAM_KEY": "x"}) == []


def test_the_front_can_check_settings_without_loading_pipecat() -> None:
    program = "import sys, trunkline.bots.pipeline; sys.exit('pipecat' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
