from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.api_server import ApiServer, refusal
from trunkline.cli.agents import definition
from trunkline.errors import ConfigError

from .conftest import Run

AGENT = {
    "name": "desk",
    "kind": "pipeline",
    "enabled": True,
    "revision": 3,
    "pipeline": {"prompt": "p", "llm": {"service": "openai"}},
}
NOTHING = dict.fromkeys(("file", "module", "prompt", "greeting", "stt", "llm", "tts"))


def test_agents_are_listed(run: Run, api: ApiServer) -> None:
    api.answers["GET", "/api/agents"] = (200, [AGENT])

    assert "desk" in run("agents", "list").stdout
    assert json.loads(run("agents", "list", "--json").stdout) == [AGENT]


def test_one_agent_is_shown(run: Run, api: ApiServer) -> None:
    api.answers["GET", "/api/agents/desk"] = (200, AGENT)

    assert json.loads(run("agents", "show", "desk", "--json").stdout) == AGENT
    assert "openai" in run("agents", "show", "desk").stdout


def test_a_name_cannot_leave_its_place_in_the_path(run: Run, api: ApiServer) -> None:
    run("agents", "show", "../calls")

    assert api.requests[0][1] == "/api/agents/..%2Fcalls"


def test_an_agent_is_created_from_a_prompt_and_services(run: Run, api: ApiServer) -> None:
    api.answers["POST", "/api/agents"] = (201, {**AGENT, "warnings": ["slow to load"]})
    options = ("--prompt", "Be kind", "--stt", "deepgram", "--llm", "openai", "--tts", "cartesia")
    result = run("agents", "create", "desk", *options)

    assert result.exit_code == 0
    assert "slow to load" in result.stderr
    assert api.bodies("POST", "/api/agents") == [
        {
            "name": "desk",
            "pipeline": {
                "prompt": "Be kind",
                "stt": {"service": "deepgram"},
                "llm": {"service": "openai"},
                "tts": {"service": "cartesia"},
            },
        }
    ]


@pytest.mark.parametrize("by_stdin", [True, False])
def test_an_agent_is_created_from_a_file(
    run: Run, api: ApiServer, tmp_path: Path, by_stdin: bool
) -> None:
    api.answers["POST", "/api/agents"] = (201, AGENT)
    text = json.dumps({"name": "other", "module": "bot.py", "warm": 2})
    file = tmp_path / "agent.json"
    file.write_text(text)
    if by_stdin:
        run("agents", "create", "desk", "--file", "-", stdin=text)
    else:
        run("agents", "create", "desk", "--file", str(file))

    assert api.bodies("POST", "/api/agents") == [{"name": "desk", "module": "bot.py", "warm": 2}]


def test_an_agent_is_created_from_a_module(run: Run, api: ApiServer) -> None:
    api.answers["POST", "/api/agents"] = (201, AGENT)
    run("agents", "create", "desk", "--module", "bots/bot.py")

    assert api.bodies("POST", "/api/agents") == [{"name": "desk", "module": "bots/bot.py"}]


def test_what_the_server_refuses_is_said(run: Run, api: ApiServer) -> None:
    api.answers["POST", "/api/agents"] = refusal(
        422, "config_error", "llm service openai needs OPENAI_API_KEY"
    )
    result = run("agents", "create", "desk", "--module", "x.py")

    assert result.exit_code == 1
    assert "error (config_error): llm service openai needs OPENAI_API_KEY" in result.stderr


def test_a_change_keeps_the_rest_of_the_pipeline(run: Run, api: ApiServer) -> None:
    api.answers["GET", "/api/agents/desk"] = (200, AGENT)
    api.answers["PUT", "/api/agents/desk"] = (200, AGENT)
    run("agents", "update", "desk", "--prompt", "new")

    assert api.bodies("PUT", "/api/agents/desk") == [
        {"pipeline": {"prompt": "new", "llm": {"service": "openai"}}}
    ]


@pytest.mark.parametrize(("command", "enabled"), [("enable", True), ("disable", False)])
def test_an_agent_is_switched(run: Run, api: ApiServer, command: str, enabled: bool) -> None:
    api.answers["PUT", "/api/agents/desk"] = (200, AGENT)
    assert run("agents", command, "desk").exit_code == 0

    assert api.bodies("PUT", "/api/agents/desk") == [{"enabled": enabled}]


def test_an_agent_is_deleted(run: Run, api: ApiServer) -> None:
    api.answers["DELETE", "/api/agents/desk"] = (204, None)

    assert run("agents", "delete", "desk").stdout == "desk is deleted\n"


def test_nothing_to_create_or_change_is_refused_before_anything_is_sent(
    run: Run, api: ApiServer
) -> None:
    assert run("agents", "create", "desk").exit_code == 1
    assert run("agents", "update", "desk").exit_code == 1
    assert api.requests == []


@pytest.mark.parametrize(
    "given",
    [
        {"module": "a.py", "prompt": "p"},
        {"file": "a.json", "module": "a.py"},
        {"file": "there-is-none.json"},
    ],
)
def test_a_definition_that_cannot_be(given: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        definition(**{**NOTHING, **given})


@pytest.mark.parametrize("text", ["nonsense", "[]"])
def test_a_file_must_hold_an_object(tmp_path: Path, text: str) -> None:
    file = tmp_path / "agent.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"JSON"):
        definition(**{**NOTHING, "file": str(file)})
