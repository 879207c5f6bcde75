"""A public address for a laptop: starts the tunnel program that is installed and reads its address.

cloudflared writes ``https://….trycloudflare.com`` to standard error
(https://developers.cloudflare.com/cloudflare-one/connections/connect-networks/do-more-with-tunnels/trycloudflare/);
ngrok logs JSON lines with ``url`` (https://ngrok.com/docs/agent/cli/).
"""

from __future__ import annotations

import json
import queue
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import IO, cast

import structlog

from trunkline.cli.server import Json, as_object
from trunkline.errors import ConfigError

__all__ = ["TunnelName", "find_address", "open_tunnel"]

log = structlog.get_logger(__name__)

_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 5.0
_LINES_KEPT = 5

# The API's own host is named in the program's errors.
_TRYCLOUDFLARE = re.compile(r"https://(?!api\.)[a-z0-9][a-z0-9.-]*\.trycloudflare\.com")


class TunnelName(StrEnum):
    """A tunnel program that we know how to start."""

    NGROK = "ngrok"
    CLOUDFLARED = "cloudflared"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Program:
    arguments: Callable[[int], Sequence[str]]
    read_address: Callable[[str], str | None]


def _read_cloudflared(line: str) -> str | None:
    found = _TRYCLOUDFLARE.search(line)
    return None if found is None else found[0]


def _read_ngrok(line: str) -> str | None:
    try:
        fields = as_object(cast("Json", json.loads(line)))
    except ValueError:
        return None
    url = fields.get("url")
    return url if isinstance(url, str) and url.startswith("https://") else None


_PROGRAMS = {
    TunnelName.NGROK: _Program(
        arguments=lambda port: ("http", str(port), "--log", "stdout", "--log-format", "json"),
        read_address=_read_ngrok,
    ),
    TunnelName.CLOUDFLARED: _Program(
        arguments=lambda port: ("tunnel", "--no-autoupdate", "--url", f"http://127.0.0.1:{port}"),
        read_address=_read_cloudflared,
    ),
}


def find_address(name: TunnelName, line: str) -> str | None:
    """Return the public address that a line of the program's output tells, if it tells one."""
    return _PROGRAMS[name].read_address(line)


@contextmanager
def open_tunnel(name: TunnelName, port: int) -> Generator[str]:
    """Run a tunnel to loopback port ``port`` while in the context; give its public address.

    Raises:
        ConfigError: the program is not installed, ended, or told no address within 30 s.
    """
    executable = shutil.which(name.value)
    if executable is None:
        raise ConfigError(f"{name.value} is not installed; see docs/public-url.md", field="tunnel")
    # Own session: Ctrl-C is for the server, which drains; the tunnel must outlive the last call.
    process = subprocess.Popen(  # noqa: S603 - the program was asked for by name
        [executable, *_PROGRAMS[name].arguments(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    with process:
        try:
            yield _wait_for_address(name, process)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for_address(name: TunnelName, process: subprocess.Popen[str]) -> str:
    lines: queue.Queue[str | None] = queue.Queue()
    output = process.stdout
    if output is None:
        raise AssertionError("the tunnel was started with a pipe")
    reader = threading.Thread(target=_read_all, args=(name, output, lines), daemon=True)
    reader.start()
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    recent: list[str] = []
    while (left_s := deadline_s - time.monotonic()) > 0:
        try:
            line = lines.get(timeout=left_s)
        except queue.Empty:
            break
        if line is None:
            raise ConfigError(
                f"{name.value} ended: {' '.join(recent) or 'it said nothing'}", field="tunnel"
            )
        address = find_address(name, line)
        if address is not None:
            return address.rstrip("/")
        recent = [*recent, line.strip()][-_LINES_KEPT:]
    raise ConfigError(f"{name.value} told no public address within 30 s", field="tunnel")


def _read_all(name: TunnelName, output: IO[str], lines: queue.Queue[str | None]) -> None:
    """Read to the end, also after the address is known: a full pipe would stop the program."""
    with output:
        for line in output:
            lines.put(line)
            if lines.qsize() > 1000:
                lines.get()
    lines.put(None)
    log.info("tunnel ended", tunnel=name.value)
