"""``trunkline serve``: the parent of front, gateways and pool. No database, no HTTP, no user code.

It binds the listening socket and keeps it open, so that a front that restarts finds waiting
connections in the backlog and no request is refused; the other processes find each other by Unix
sockets in one private folder. What dies is started again.

SIGTERM, SIGINT
    Drain. The front gets SIGTERM first and answers until the last call is closed; then the
    gateways, then the pool. A second signal ends everything at once.
SIGHUP
    Rolling restart of the front: the new one is ready before the old one gets SIGUSR2, which means:
    accept nothing more.

Gateways and workers outlive a killed supervisor, because calls do; front and pool end with it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import IO

import structlog
from pydantic import SecretStr

from trunkline.dispatch.environment import carrier_prefixes, without_secrets
from trunkline.dispatch.output import configure_logging
from trunkline.dispatch.service import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    Child,
    Command,
    keep_running,
    sleep_unless,
)
from trunkline.dispatch.unix_socket import prepare_folder
from trunkline.errors import ConfigError
from trunkline.settings import Settings

__all__ = ["ExitStatus", "Programs", "run", "settings_environment"]

log = structlog.get_logger(__name__)

MIGRATION_S = 600.0
READY_S = 60.0
"""From a front's start to its readiness."""
STOP_S = 10.0
"""For gateways and pool, which have nothing left to do when the front has drained."""
RETIRE_S = 30.0
"""For the requests that an old front still has at a rolling restart."""
DRAIN_MARGIN_S = 15.0
"""A front that drains longer than ``DRAIN_TIMEOUT_S`` and this is killed."""
BACKLOG = 2048


class ExitStatus(IntEnum):
    """Why ``trunkline serve`` has ended."""

    OK = 0
    """Drained, every call's record is closed."""
    NOT_CONFIGURED = 2
    """A setting is wrong; the log's last line says which."""
    ALREADY_RUNNING = 3
    """Another ``serve`` uses this home."""
    ADDRESS_UNAVAILABLE = 4
    """The listening address is in use, or not ours."""
    MIGRATION_FAILED = 5
    FRONT_FAILED = 6
    """The first front did not become ready."""
    FORCED = 7
    """A second signal ended it at once."""
    DRAIN_FAILED = 8
    """The front ended during the drain with an error."""


def _module(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """Command lines; tests put stand-ins in their place."""

    migrate: Sequence[str] = _module("trunkline.store.migrate")
    gateway: Sequence[str] = _module("trunkline.gateway")
    pool: Sequence[str] = _module("trunkline.dispatch.pool")
    front: Sequence[str] = _module("trunkline.app")


class _Refusal(Exception):
    def __init__(self, status: ExitStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


def settings_environment(settings: Settings) -> dict[str, str]:
    """Return the variables from which another process reads the same settings."""
    found: dict[str, str] = {}
    for name, field in type(settings).model_fields.items():
        value: object = getattr(settings, name)
        alias = field.validation_alias
        variable = alias if isinstance(alias, str) else name.upper()
        if isinstance(value, SecretStr):
            found[variable] = value.get_secret_value()
        elif isinstance(value, tuple):
            found[variable] = ",".join(map(str, settings.trusted_proxies))  # the only tuple
        elif value is not None:
            found[variable] = str(value)
    return found


def run(
    settings: Settings,
    *,
    no_auth: bool = False,
    programs: Programs | None = None,
    on_ready: Callable[[int], None] = lambda port: None,
) -> ExitStatus:
    """Serve until a signal ends it.

    Args:
        settings: Passed on to every process through its environment.
        no_auth: The front asks for no API key.
        programs: Other command lines than Trunkline's own.
        on_ready: Told the port once the first front is ready.

    Returns:
        Why it ended; the caller exits with it.
    """
    configure_logging(
        level=settings.log_level, log_format=settings.log_format, process="supervisor"
    )
    with ExitStack() as stack:
        try:
            stack.enter_context(_lock(settings))
            prepare_folder(settings.run_dir)
            listener = stack.enter_context(_listen(settings))
            supervisor = _Supervisor(
                settings, listener, programs or Programs(), no_auth=no_auth, on_ready=on_ready
            )
            return asyncio.run(supervisor.run())
        except _Refusal as refusal:
            log.error("cannot serve", reason=str(refusal))
            return refusal.status
        except ConfigError as error:
            log.error("cannot serve", reason=str(error))
            return ExitStatus.NOT_CONFIGURED


def _lock(settings: Settings) -> IO[str]:
    """Return the open lock file; closing it, or our death, lets the next ``serve`` in."""
    home = settings.trunkline_home
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = (home / "serve.lock").open("a+", encoding="ascii")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise _Refusal(
            ExitStatus.ALREADY_RUNNING, f"trunkline serve already runs in {home} (process {holder})"
        ) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server(  # sets SO_REUSEADDR
            (settings.host, settings.port), family=family, backlog=BACKLOG
        )
    except OSError as error:
        raise _Refusal(
            ExitStatus.ADDRESS_UNAVAILABLE,
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror}",
        ) from error


class _Supervisor:
    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        programs: Programs,
        *,
        no_auth: bool,
        on_ready: Callable[[int], None],
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._programs = programs
        self._no_auth = no_auth
        self._on_ready = on_ready
        self._environment = {**os.environ, **settings_environment(settings)}
        self._bare_environment = without_secrets(self._environment, prefixes=carrier_prefixes())
        self._stopping = asyncio.Event()
        self._forced = asyncio.Event()
        self._roll = asyncio.Event()
        self._services: dict[str, Child] = {}
        self._front: Child | None = None

    async def run(self) -> ExitStatus:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._roll.set)
        await self._migrate()
        if self._stopping.is_set():
            return ExitStatus.OK
        try:
            async with asyncio.TaskGroup() as group:
                for command in self._service_commands():
                    group.create_task(
                        keep_running(command, stopping=self._stopping, started=self._started)
                    )
                forcing = group.create_task(self._force())
                try:
                    return await self._serve(group)
                finally:
                    self._stopping.set()
                    await self._stop_services()
                    forcing.cancel()
        finally:
            self._remove_sockets()

    def _stop(self) -> None:
        (self._forced if self._stopping.is_set() else self._stopping).set()

    async def _force(self) -> None:
        await self._forced.wait()
        log.warning("ending at once")
        for child in (self._front, *self._services.values()):
            if child is not None:
                child.signal(signal.SIGKILL)

    def _started(self, child: Child) -> None:
        self._services[child.command.name] = child

    def _service_commands(self) -> list[Command]:
        programs, environment = self._programs, self._bare_environment
        gateways = [
            Command(
                name=f"gateway-{index}",
                arguments=[*programs.gateway, "--index", str(index)],
                environment=environment,
                outlives_us=True,
            )
            for index in range(self._settings.gateways)
        ]
        return [
            *gateways,
            Command(name="pool", arguments=programs.pool, environment=environment),
        ]

    async def _migrate(self) -> None:
        child = Child(
            Command(
                name="migrate",
                arguments=self._programs.migrate,
                environment=self._environment,
            )
        )
        try:
            async with asyncio.timeout(MIGRATION_S):
                await child.ended.wait()
        except TimeoutError:
            await child.stop(signal.SIGTERM, within_s=STOP_S)
        if child.status != 0:
            raise _Refusal(
                ExitStatus.MIGRATION_FAILED,
                f"the database's migrations failed (status {child.status})",
            )

    # the front

    async def _serve(self, group: asyncio.TaskGroup) -> ExitStatus:
        """Keep a front until we stop, then drain it."""
        front = await self._start_front()
        if front is None and not self._stopping.is_set():
            log.error("cannot serve", reason="the front did not become ready")
            return ExitStatus.FRONT_FAILED
        if front is not None:
            self._on_ready(self._listener.getsockname()[1])
            front = await self._keep_front(front, group)
        return await self._drain(front)

    async def _keep_front(self, front: Child, group: asyncio.TaskGroup) -> Child | None:
        pause_s = FIRST_PAUSE_S
        while True:
            await _first(front.ended, self._stopping, self._roll)
            if self._stopping.is_set():
                return front
            if front.ended.is_set():
                log.error("front died", status=front.status, again_in_s=pause_s)
                pause_s = FIRST_PAUSE_S if front.was_steady else pause_s
                await sleep_unless(self._stopping, pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                if self._stopping.is_set():
                    return front
                front = await self._start_front() or front
                continue
            self._roll.clear()
            new = await self._start_front()
            if new is None:
                log.error("the new front did not become ready, the old one goes on")
                self._front = front
                continue
            group.create_task(front.stop(signal.SIGUSR2, within_s=RETIRE_S))
            front = new

    async def _start_front(self) -> Child | None:
        """Return a front that is ready, or None when it ended or took too long."""
        ready_read, ready_write = os.pipe2(os.O_CLOEXEC)
        listen_fd = self._listener.fileno()
        arguments = [*self._programs.front, "--listen-fd", str(listen_fd)]
        arguments += ["--ready-fd", str(ready_write)]
        arguments += ["--no-auth"] if self._no_auth else []
        try:
            child = self._front = Child(
                Command(
                    name="front",
                    arguments=arguments,
                    environment=self._environment,
                    descriptors=(listen_fd, ready_write),
                )
            )
        finally:
            os.close(ready_write)
        try:
            async with asyncio.timeout(READY_S):
                if await _read_byte(ready_read, unless=self._stopping):
                    return child
        except TimeoutError:
            log.error("front was not ready in time", pid=child.pid)
        finally:
            os.close(ready_read)
        await child.stop(signal.SIGTERM, within_s=STOP_S)
        return None

    async def _drain(self, front: Child | None) -> ExitStatus:
        if front is None or front.ended.is_set():
            return ExitStatus.FORCED if self._forced.is_set() else ExitStatus.OK
        log.info("draining")
        limit_s = self._settings.drain_timeout_s
        await front.stop(
            signal.SIGTERM, within_s=None if limit_s is None else limit_s + DRAIN_MARGIN_S
        )
        if self._forced.is_set():
            return ExitStatus.FORCED
        return ExitStatus.OK if front.status == 0 else ExitStatus.DRAIN_FAILED

    # the end

    async def _stop_services(self) -> None:
        """Gateways first: they may still want a worker."""
        gateways = [child for name, child in self._services.items() if name != "pool"]
        await asyncio.gather(*(child.stop(signal.SIGTERM, within_s=STOP_S) for child in gateways))
        if "pool" in self._services:
            await self._services["pool"].stop(signal.SIGTERM, within_s=STOP_S)

    def _remove_sockets(self) -> None:
        """The processes are gone; one that was killed leaves its files behind."""
        run_dir: Path = self._settings.run_dir
        for pattern in ("gateway-*.*", "pool.sock"):
            for stale in run_dir.glob(pattern):
                with suppress(OSError):
                    stale.unlink()


async def _first(*events: asyncio.Event) -> None:
    """Return when one of ``events`` is set."""
    async with asyncio.TaskGroup() as group:
        waits = [group.create_task(event.wait()) for event in events]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()


async def _read_byte(fd: int, *, unless: asyncio.Event) -> bool:
    """Return True for a byte, False for the end of the pipe or once ``unless`` is set."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(fd, readable.set)
    try:
        await _first(readable, unless)
    finally:
        loop.remove_reader(fd)
    return readable.is_set() and bool(os.read(fd, 1))
