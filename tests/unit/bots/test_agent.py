"""Loading; what a loaded agent does on a call is in tests/integration/bots."""

from __future__ import annotations

import pytest

from trunkline.bots.agent import load_pipeline_agent
from trunkline.dispatch.messages import AgentSpec
from trunkline.errors import ConfigError

OFFLINE: dict[str, object] = {
    "prompt": "You are the front desk.",
    "stt": {"service": "offline", "phrases": ["yes"]},
    "llm": {"service": "offline", "rules": [{"heard": ["yes"], "say": "no"}]},
    "tts": {"service": "offline"},
}


def load(**changes: object) -> object:
    spec = AgentSpec(name="a", kind="pipeline", pipeline={**OFFLINE, **changes})
    return load_pipeline_agent(spec)


def test_agent_that_has_everything_is_loaded() -> None:
    assert load()


def test_row_without_settings() -> None:
    with pytest.raises(ConfigError, match=r"pipeline\.prompt"):
        load_pipeline_agent(AgentSpec(name="a", kind="pipeline"))


def test_missing_key_is_named_and_where_to_set_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CARTESIA_API_KEY", raising=False)
    with pytest.raises(ConfigError, match=r"needs CARTESIA_API_KEY: set it in .* \.env"):
        load(tts={"service": "cartesia", "voice": "v"})


def test_missing_function_is_named() -> None:
    with pytest.raises(ConfigError, match=r"os\.path has no no_such"):
        load(functions=["os.path:no_such"])


def test_word_that_the_recogniser_does_not_know_is_named() -> None:
    with pytest.raises(ConfigError, match="flurbel"):
        load(stt={"service": "offline", "phrases": ["flurbel"]})
