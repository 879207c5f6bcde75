"""The front's process, wired for real: its own home, database, keys; no gateway and no pool."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.stores import migrated_sqlite, sqlite_template  # noqa: F401 - fixtures
from tests.support.waiting import eventually
from trunkline.app import open_front
from trunkline.settings import Settings

READY_WITHIN_S = 30.0


@pytest.fixture
def settings(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    migrated_sqlite: str,  # noqa: F811 - the fixture
) -> Settings:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRUNKLINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DATABASE_URL", migrated_sqlite)
    monkeypatch.setenv("PUBLIC_BASE_URL", "https://voice.example.com")
    return Settings()


async def test_a_front_is_wired_and_leaves_nothing_behind(settings: Settings) -> None:
    before = asyncio.all_tasks()
    async with open_front(settings, no_auth=True, port=8000) as front:
        transport = httpx.ASGITransport(front.app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            assert (await client.get("/healthz")).status_code == 200
            answer = await client.get("/readyz")
            assert answer.json()["problems"] == ["gateway not connected"]
            assert (await client.get("/api/calls")).json() == {"calls": [], "next_cursor": None}
            front.draining.is_on = True
            assert "draining" in (await client.get("/readyz")).json()["problems"]
        assert front.context.urls.stream("acme", "desk").startswith("wss://voice.example.com/ws/")
    assert asyncio.all_tasks() == before
    assert (settings.trunkline_home / "secret.key").is_file()


async def test_without_a_public_url_the_bound_port_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PUBLIC_BASE_URL")
    async with open_front(Settings(), no_auth=False, port=8123) as front:
        assert front.context.urls.base == "http://127.0.0.1:8123"
        assert not front.context.urls.is_configured


@asynccontextmanager
async def running_front() -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """``python -m trunkline.app`` on a listener of ours, once it has said that it is ready."""
    ready, told = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd, port = listener.fileno(), listener.getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "trunkline.app", "--listen-fd", str(fd), "--ready-fd", str(told),
            "--no-auth", pass_fds=(fd, told), stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        os.close(told)
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                assert await asyncio.to_thread(os.read, ready, 1) == b"1"
            yield process, f"http://127.0.0.1:{port}"
        finally:
            os.close(ready)
            if process.returncode is None:
                process.kill()
            await process.communicate()


@pytest.mark.usefixtures("settings")
async def test_sigterm_drains_and_then_it_ends() -> None:
    async with (
        running_front() as (process, base_url),
        httpx.AsyncClient(base_url=base_url) as client,
    ):
        assert (await client.get("/healthz")).status_code == 200
        process.send_signal(signal.SIGTERM)
        await eventually(lambda: process.returncode is not None, within_s=20, what="the end")
        assert process.returncode == 0


@pytest.mark.usefixtures("settings")
async def test_a_front_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUNKLINE_SECRET_KEY", "short")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "trunkline.app", "--listen-fd", str(fd),
            pass_fds=(fd,), stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, log = await process.communicate()
    assert process.returncode == 1
    assert b"TRUNKLINE_SECRET_KEY" in log
    assert b"Traceback" not in log
