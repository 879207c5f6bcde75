from __future__ import annotations

import socket
from pathlib import Path

import pytest

from trunkline.cli.demo_server import demo_environment, free_port, running_server
from trunkline.errors import ConfigError


def test_a_free_port_can_be_listened_on() -> None:
    with socket.create_server(("127.0.0.1", free_port())):
        pass


def test_the_environment_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("DATABASE_URL", "postgresql+asyncpg://elsewhere/db")
    monkeypatch.setenv("PYTHONPATH", "src")
    found = demo_environment(tmp_path, 8123, {"TWILIO_API_BASE": "http://127.0.0.1:9"})

    assert "OPENAI_API_KEY" not in found
    assert "DATABASE_URL" not in found
    assert found["TRUNKLINE_HOME"] == str(tmp_path)
    assert found["PUBLIC_BASE_URL"] == "http://127.0.0.1:8123"
    assert found["TWILIO_API_BASE"] == "http://127.0.0.1:9"
    assert found["PYTHONPATH"] == str(Path("src").absolute())


async def test_a_server_that_cannot_start_shows_its_log(tmp_path: Path) -> None:
    environment = demo_environment(tmp_path, 8123, {"TRUNKLINE_GATEWAYS": "many"})
    log = tmp_path / "server.log"
    with pytest.raises(ConfigError, match="TRUNKLINE_GATEWAYS"):
        async with running_server(port=free_port(), environment=environment, log=log):
            pass
