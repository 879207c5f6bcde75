"""Loading an agent in a process that has no event loop, and looking at what loading left behind."""

from __future__ import annotations

import os
import socket
import sys
import threading
import traceback
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast

import structlog

from trunkline.dispatch.environment import redact
from trunkline.dispatch.messages import AgentSpec
from trunkline.dispatch.session import AgentLoader, LoadedAgent
from trunkline.errors import ConfigError, WorkerFailed

__all__ = ["DEFAULT_LOADER", "PRELOADED", "Leftovers", "find_loader", "load_agent", "preload"]

DEFAULT_LOADER = "trunkline.bots:load"

PRELOADED = (
    "pipecat.pipeline.pipeline",
    "pipecat.pipeline.worker",
    "pipecat.processors.aggregators.llm_response_universal",
    "pipecat.turns.user_turn_strategies",
    "pipecat.workers.runner",
)
"""What nearly every bot imports; imported once, in the base zygote of ``DEFAULT_LOADER``."""

NATIVE_THREADS = {"onnxruntime": 1}
"""Threads that a library starts at import and that are not missed after a fork.

onnxruntime 1.24, 2026-11: sessions opened before a fork work in the children.
"""

LONGEST_REASON_CHARS = 500

log = structlog.get_logger(__name__)


def preload(loader: str) -> None:
    """Import what all agents share."""
    find_loader(loader)
    if loader == DEFAULT_LOADER:
        for module in PRELOADED:
            import_module(module)


def find_loader(loader: str) -> AgentLoader:
    """Return the function that ``module:name`` names."""
    module, _, name = loader.partition(":")
    return cast("AgentLoader", getattr(import_module(module), name))


def load_agent(loader: str, agent: AgentSpec) -> LoadedAgent:
    """Load ``agent``; whatever its module does at import becomes an error without secrets.

    Raises:
        ConfigError: a person must change something: no ``bot``, a missing key, a module that raises
        or exits.
    """
    try:
        return find_loader(loader)(agent)
    except ConfigError as error:
        raise ConfigError(_shorten(str(error)), field=error.field) from error
    except SystemExit as error:
        raise ConfigError(_shorten(f"the module exits at import (status {error.code})")) from error
    except KeyboardInterrupt as error:
        raise WorkerFailed("loading was interrupted") from error
    except BaseException as error:
        log.warning("agent cannot be loaded", agent=agent.name, exc_info=True)
        place = _last_place(error)
        raise ConfigError(_shorten(f"{type(error).__name__} at import: {error}{place}")) from error


def _shorten(text: str) -> str:
    return redact(text)[:LONGEST_REASON_CHARS]


def _last_place(error: BaseException) -> str:
    """Name the line that raised, for a person who looks at their own module."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftovers:
    """What of this process a fork would not carry over, or would share by mistake."""

    threads: int
    python_threads: int
    children: int
    connections: int

    @classmethod
    def count(cls) -> Leftovers:
        """Count threads, child processes and network connections of this process."""
        return cls(
            threads=sum(1 for _ in Path("/proc/self/task").iterdir()),
            python_threads=threading.active_count(),
            children=_count_children(),
            connections=_count_connections(),
        )

    def reasons(self) -> list[str]:
        """Return why a process in this state cannot be forked, in words; none means that it can."""
        known = 1 + sum(n for module, n in NATIVE_THREADS.items() if module in sys.modules)
        found: list[str] = []
        if self.python_threads > 1 or self.threads > known:
            found.append(f"{max(self.threads, self.python_threads) - 1} threads")
        if self.children:
            found.append(f"{self.children} child processes")
        if self.connections:
            found.append(f"{self.connections} network connections")
        return found


def _count_children() -> int:
    me = os.getpid()
    listing = Path(f"/proc/{me}/task/{me}/children")
    return len(listing.read_text().split()) if listing.exists() else 0


def _count_connections() -> int:
    """Count sockets connected over IP; Unix sockets and listeners are harmless in a fork."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if not str(entry.readlink()).startswith("socket:"):
                continue
            with closing(socket.socket(fileno=os.dup(int(entry.name)))) as sock:
                if sock.family in (socket.AF_INET, socket.AF_INET6):
                    sock.getpeername()
                    found += 1
        except OSError:  # closed since it was listed, or not connected
            continue
    return found
