"""What tests of commands share: a clean environment, a stand-in server, a way to run them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from tests.support.api_server import ApiServer, api_server
from trunkline.cli.application import app

Run = Callable[..., Result]

_OURS = ("TRUNKLINE_", "TWILIO_", "PUBLIC_", "DATABASE_", "TELEPHONY_", "OPENAI_", "DEEPGRAM_")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the machine's own settings; a home and a folder without ``.env``."""
    for name in list(os.environ):
        if name.startswith(_OURS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TRUNKLINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    with api_server() as server:
        monkeypatch.setenv("TRUNKLINE_URL", server.url)
        monkeypatch.setenv("TRUNKLINE_API_KEY", "tk_test")
        yield server


@pytest.fixture
def run() -> Run:
    def invoke(*arguments: str, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(app, list(arguments), input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke
