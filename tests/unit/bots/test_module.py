"""Loading; what a loaded bot does on a call is in tests/integration/bots."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trunkline.bots.module import load_module_agent as load
from trunkline.dispatch.messages import AgentSpec
from trunkline.errors import ConfigError

BOTS = Path(__file__).parents[2] / "integration" / "bots" / "bot_files"


@pytest.fixture(autouse=True)
def own_process() -> Iterator[None]:
    """Loading a bot changes the process, which in production is the bot's own."""
    folder, path, environment = Path.cwd(), list(sys.path), dict(os.environ)
    yield
    os.chdir(folder)
    sys.path[:] = path
    os.environ.clear()
    os.environ.update(environment)


def agent(module: str | Path, **changes: object) -> AgentSpec:
    return AgentSpec(name="own", kind="module", module=str(module), **changes)


def test_bot_is_loaded_in_its_own_folder_and_not_as_main(tmp_path: Path) -> None:
    text = "import os, sys\nasync def bot(args): ...\nif __name__ == '__main__': sys.exit(1)\n"
    (tmp_path / "bot-own.py").write_text(text + "FOLDER = os.getcwd()\n")
    assert load(agent(tmp_path / "bot-own.py"))
    assert str(tmp_path) == sys.modules["trunkline_bot_bot_own"].FOLDER
    assert sys.path[0] == str(tmp_path)


def test_stand_in_credentials_do_not_replace_real_ones(tmp_path: Path) -> None:
    (tmp_path / "bot.py").write_text("async def bot(args): ...\n")
    os.environ["TWILIO_AUTH_TOKEN"] = "its-own"
    os.environ.pop("TWILIO_ACCOUNT_SID", None)
    load(agent(tmp_path / "bot.py"))
    assert os.environ["TWILIO_AUTH_TOKEN"] == "its-own"
    assert os.environ["TWILIO_ACCOUNT_SID"] == "AC" + "0" * 32


def test_bot_may_take_more_with_a_default(tmp_path: Path) -> None:
    (tmp_path / "bot.py").write_text("async def talk(args, testing=False): ...\n")
    assert load(agent(f"{tmp_path / 'bot.py'}:talk"))


def test_env_file_of_a_bot_does_not_replace_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OPENAI_API_KEY=from-file\nONLY_IN_FILE=1\n")
    (tmp_path / "bot.py").write_text((BOTS / "odd.py").read_text() + "\nbot = returns\n")
    os.environ["OPENAI_API_KEY"] = "from-environment"
    load(agent(tmp_path / "bot.py"))
    assert os.environ["OPENAI_API_KEY"] == "from-environment"
    assert os.environ["ONLY_IN_FILE"] == "1"


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("", "module must be path/to/bot.py"),
        ("bot", "module must be path/to/bot.py"),
        ("nowhere/bot.py", "there is no file"),
        (f"{BOTS / 'odd.py'}", r"has no bot\(\)"),
        (f"{BOTS / 'odd.py'}:not_async", "is not an async function"),
        (f"{BOTS / 'odd.py'}:takes_nothing", "does not take one argument"),
    ],
)
def test_what_cannot_be_a_bot_is_refused(module: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(agent(module))


def test_missing_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "bot.py").write_text("import no_such_package\n")
    with pytest.raises(ConfigError, match="no_such_package"):
        load(agent(tmp_path / "bot.py"))


def test_unknown_dialect_is_refused() -> None:
    with pytest.raises(ConfigError, match="bots can be shown twilio"):
        load(agent(BOTS / "mirror.py", present_as="carrier-pigeon"))
