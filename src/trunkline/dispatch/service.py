"""One process that the supervisor starts, watches and starts again."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

__all__ = ["FIRST_PAUSE_S", "LONGEST_PAUSE_S", "Child", "Command", "keep_running"]

log = structlog.get_logger(__name__)

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
STEADY_S = 10.0
"""A process that ran for so long starts again at once when it dies."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How a process is started."""

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    descriptors: Sequence[int] = ()
    """Descriptors of ours that it inherits under the same number."""
    outlives_us: bool = False
    """It holds calls: it goes on when the supervisor is killed. Others end with the supervisor."""


class Child:
    """A running process; ``ended`` is set once it has been reaped."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        # Safe in this process, because it has no other thread that could hold a lock at the fork.
        at_start = None if command.outlives_us else _end_with_parent
        self._process = subprocess.Popen(  # noqa: S603 - our own programs
            command.arguments,
            env=dict(command.environment),
            stdin=subprocess.DEVNULL,
            pass_fds=command.descriptors,
            start_new_session=True,  # Ctrl-C at the terminal is the supervisor's alone
            preexec_fn=at_start,
        )
        self._started_s = self._loop.time()
        self._pidfd = os.pidfd_open(self._process.pid)
        self._loop.add_reader(self._pidfd, self._reap)
        log.info("process started", name=command.name, pid=self.pid)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._process.returncode

    @property
    def was_steady(self) -> bool:
        """It has run for long enough that its end is no crash loop."""
        return self._loop.time() - self._started_s >= STEADY_S

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def stop(self, number: signal.Signals, *, within_s: float | None) -> None:
        """Send ``number`` and wait; after ``within_s`` seconds it is killed."""
        self.signal(number)
        try:
            async with asyncio.timeout(within_s):
                await self.ended.wait()
        except TimeoutError:
            log.error("process did not end in time", name=self.command.name, pid=self.pid)
            self.signal(signal.SIGKILL)
            await self.ended.wait()

    def disown(self) -> None:
        """Watch it no more; it goes on by itself."""
        if self.status is None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._process.returncode = 0  # else subprocess warns that nobody waited for it

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._process.wait()  # returns at once: the pidfd is readable when it has ended
        log.info("process ended", name=self.command.name, pid=self.pid, status=self.status)
        self.ended.set()


def _end_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


async def keep_running(
    command: Command, *, stopping: asyncio.Event, started: Callable[[Child], None]
) -> None:
    """Start a process, and again whenever it ends; pauses grow while it keeps dying.

    Args:
        command: What to run.
        stopping: Once set, it is not started again; it is not stopped here either.
        started: Told of each new process.
    """
    pause_s = FIRST_PAUSE_S
    while not stopping.is_set():
        child = Child(command)
        started(child)
        await child.ended.wait()
        if child.was_steady:
            pause_s = FIRST_PAUSE_S
        if not stopping.is_set():
            log.error("process died", name=command.name, status=child.status, again_in_s=pause_s)
        await sleep_unless(stopping, pause_s)
        pause_s = min(pause_s * 2, LONGEST_PAUSE_S)


async def sleep_unless(event: asyncio.Event, pause_s: float) -> None:
    """Sleep, but not longer than until ``event`` is set."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(pause_s):
            await event.wait()
