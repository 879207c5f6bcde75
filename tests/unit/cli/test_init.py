from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
import structlog

from trunkline import cli


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Whatever a command sets up is gone afterwards."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def test_main_runs_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["trunkline", "--version"])
    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("trunkline ")


def test_logs_of_a_command_stay_off_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["trunkline", "--version"])
    with pytest.raises(SystemExit):
        cli.main()
    capsys.readouterr()
    structlog.get_logger("test").warning("a retry")
    structlog.get_logger("test").error("a failure")
    printed = capsys.readouterr()

    assert printed.out == ""
    assert "a failure" in printed.err
    assert "a retry" not in printed.err
