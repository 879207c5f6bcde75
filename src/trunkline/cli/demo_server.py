"""The demo's server: ``trunkline serve`` as a child, with its own home and environment."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from trunkline.errors import ConfigError

__all__ = ["demo_environment", "free_port", "running_server"]

_READY_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 15.0
_LOG_BYTES = 3000

# What a program needs of the machine; everything else of the person's environment stays out.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "LD_LIBRARY_PATH")


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def demo_environment(home: Path, port: int, carrier: Mapping[str, str]) -> dict[str, str]:
    """Return the server's whole environment.

    Args:
        home: Its ``TRUNKLINE_HOME``.
        port: Where it listens.
        carrier: Variables of the simulated carrier.
    """
    found = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    python_path = os.environ.get("PYTHONPATH", "")
    if python_path:  # the server starts in its home, where relative paths mean nothing
        parts = (str(Path(part).absolute()) for part in python_path.split(os.pathsep) if part)
        found["PYTHONPATH"] = os.pathsep.join(parts)
    return {
        **found,
        **carrier,
        "TRUNKLINE_HOME": str(home),
        "PUBLIC_BASE_URL": f"http://127.0.0.1:{port}",
        "TRUNKLINE_LOG_FORMAT": "json",
    }


@asynccontextmanager
async def running_server(
    *, port: int, environment: Mapping[str, str], log: Path
) -> AsyncGenerator[str]:
    """Run ``trunkline serve`` until the context is left; give its address once it is ready.

    Raises:
        ConfigError: it ended, or was not ready within 60 s; the message ends with its log.
    """
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "trunkline.cli", "serve", "--host", "127.0.0.1", "--port", str(port)),
            cwd=environment["TRUNKLINE_HOME"],
            env=dict(environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the demo, which then stops the server in order
        )
    try:
        await _wait_until_ready(url, process, log)
        yield url
    finally:
        await _stop(process)


async def _wait_until_ready(url: str, process: asyncio.subprocess.Process, log: Path) -> None:
    try:
        async with asyncio.timeout(_READY_TIMEOUT_S), httpx.AsyncClient(trust_env=False) as http:
            while process.returncode is None:
                if await _is_ready(http, url):
                    return
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise ConfigError(f"the server was not ready within 60 s:\n{_tail(log)}") from None
    raise ConfigError(f"the server ended with status {process.returncode}:\n{_tail(log)}")


async def _is_ready(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(f"{url}/readyz", timeout=2.0)).is_success
    except httpx.HTTPError:
        return False


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _tail(log: Path) -> str:
    return log.read_bytes()[-_LOG_BYTES:].decode(errors="replace")
