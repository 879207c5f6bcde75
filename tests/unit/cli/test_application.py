from __future__ import annotations

from pathlib import Path

import pytest
import typer.main

from trunkline import __version__
from trunkline.cli.application import app

from .conftest import Run


def test_the_version_is_said(run: Run) -> None:
    assert run("--version").stdout.strip() == f"trunkline {__version__}"


@pytest.mark.parametrize("command", ["serve", "call", "doctor", "demo", "agents", "calls", "keys"])
def test_every_command_explains_itself(run: Run, command: str) -> None:
    result = run(command, "--help")

    assert result.exit_code == 0
    assert "Usage" in result.stdout


def test_an_error_is_one_line_with_its_code(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUNKLINE_URL", "http://127.0.0.1:1")
    result = run("agents", "list")

    assert result.exit_code == 1
    assert result.stderr.startswith("error (server_unreachable): no Trunkline server answers at")
    assert "Traceback" not in result.output


def test_every_command_has_its_heading_in_the_documentation() -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "cli.md"
    headings = {
        line.lstrip("#").strip()
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith("#")
    }
    wanted: set[str] = set()
    for name, command in typer.main.get_group(app).commands.items():
        wanted.add(f"trunkline {name}")
        wanted |= {f"trunkline {name} {below}" for below in getattr(command, "commands", ())}

    assert wanted - headings == set()
    assert len(wanted) > 20
