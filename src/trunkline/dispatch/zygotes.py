"""The pool's side of zygotes: starting the base zygote, and asking it for agents' zygotes.

Every wait has an end, and a zygote that does not keep it is killed by its parent.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import structlog

from trunkline.dispatch.channel import Channel
from trunkline.dispatch.loading import DEFAULT_LOADER
from trunkline.dispatch.messages import (
    AgentSpec,
    Hello,
    Message,
    ZygoteEnd,
    ZygoteExited,
    ZygoteFailed,
    ZygoteFork,
    ZygoteForked,
    ZygoteReady,
    ZygoteRetire,
    ZygoteStart,
)
from trunkline.dispatch.service import Child, Command
from trunkline.dispatch.unix_socket import listen, peer_pid, unlink
from trunkline.errors import ChannelError, ConfigError, WorkerFailed

__all__ = ["AgentZygoteLink", "ZygoteEvents", "ZygoteHost", "ZygoteOptions"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZygoteOptions:
    """How zygotes are started."""

    run_dir: Path
    """Private folder of the sockets."""
    environment: Mapping[str, str] = field(repr=False)
    """All that zygotes and bots see of the environment."""
    loader: str = DEFAULT_LOADER
    """``module:function`` that loads an agent."""
    log_level: str = "INFO"
    log_format: str = "auto"
    ready_s: float = 60.0
    """For importing Pipecat, and again for loading an agent."""
    fork_s: float = 5.0
    """For a fork, of a zygote or a worker."""
    cold_s: float = 60.0
    """For a worker that is a fresh process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZygoteEvents:
    """What an agent zygote tells its owner. Plain functions on the loop."""

    forked: Callable[[AgentZygoteLink, ZygoteForked], None]
    exited: Callable[[AgentZygoteLink, ZygoteExited], None]
    closed: Callable[[AgentZygoteLink], None]

    @classmethod
    def ignored(cls) -> ZygoteEvents:
        """For a zygote that is only to show that its agent can be loaded."""

        def ignore(_link: AgentZygoteLink, _message: Message | None = None) -> None:
            return

        return cls(forked=ignore, exited=ignore, closed=ignore)


class AgentZygoteLink:
    """The channel to one agent's zygote.

    Args:
        events: Called from the moment the zygote is ready.
    """

    def __init__(self, zygote_id: str, agent: AgentSpec, events: ZygoteEvents) -> None:
        self.zygote_id = zygote_id
        self.agent = agent
        self.pid = 0
        self.warnings: list[str] = []
        self.is_cold = False
        self._events = events
        self._ready: asyncio.Future[ZygoteReady] = asyncio.get_running_loop().create_future()
        self._channel = Channel(on_message=self._receive, on_closed=self._lose, sender="pool")

    @property
    def is_usable(self) -> bool:
        """It can be asked for workers."""
        return self._ready.done() and not self._channel.is_closed

    def fork(self, worker_id: str, address: str) -> None:
        """Ask for a worker; ``events`` tells what became of it."""
        self._channel.send(ZygoteFork(worker_id=worker_id, address=address))

    def end(self, worker_id: str, *, force: bool = False) -> None:
        """End a worker."""
        self._channel.send(ZygoteEnd(worker_id=worker_id, force=force))

    def retire(self) -> None:
        """Let it go once its last worker is gone."""
        self._channel.send(ZygoteRetire())

    def close(self) -> None:
        """Close the channel without being told of it; the zygote takes it as ``retire``."""
        self._channel.close()

    def fail(self, error: WorkerFailed) -> None:
        """Close the channel because of ``error``; ``events.closed`` is called."""
        self._channel.fail(error)

    async def accept(self, listener: socket.socket) -> None:
        """Take the zygote's connection and wait until its agent is loaded.

        Raises:
            ConfigError, WorkerFailed: the agent cannot be loaded.
        """
        loop = asyncio.get_running_loop()
        connection, _ = await loop.sock_accept(listener)
        pid = peer_pid(connection)
        if pid is None:
            connection.close()
            raise WorkerFailed("a process of another user connected as a zygote")
        self.pid = pid
        await loop.connect_accepted_socket(lambda: self._channel, connection)

    async def wait_ready(self) -> None:
        """Return when the agent is loaded.

        Raises:
            ConfigError, WorkerFailed: it cannot be.
        """
        ready = await self._ready
        self.warnings, self.is_cold = list(ready.warnings), ready.cold

    def _receive(self, message: Message) -> None:
        match message:
            case ZygoteReady() if not self._ready.done():
                self._ready.set_result(message)
            case ZygoteFailed() if not self._ready.done():
                failure = ConfigError if message.code == ConfigError.code else WorkerFailed
                self._ready.set_exception(failure(message.reason))
                self._ready.exception()  # may come after the wait was given up
            case ZygoteForked():
                self._events.forked(self, message)
            case ZygoteExited():
                self._events.exited(self, message)
            case Hello():
                return
            case _:
                self._channel.fail(ChannelError(f"{type(message).__name__} from a zygote"))

    def _lose(self, error: Exception | None) -> None:
        if self._ready.done():
            self._events.closed(self)
            return
        self._ready.set_exception(WorkerFailed("the process ended while the agent was loaded"))
        self._ready.exception()


class ZygoteHost:
    """Owns the base zygote and makes agent zygotes with it; starts a new one when it has died."""

    def __init__(self, options: ZygoteOptions) -> None:
        self.options = options
        self._base: _Base | None = None
        self._starting = asyncio.Lock()
        self._numbers = count(1)

    @property
    def pid(self) -> int:
        """The base zygote's process id; 0 while there is none."""
        return self._base.process.pid if self._base is not None else 0

    async def start(self, agent: AgentSpec, events: ZygoteEvents) -> AgentZygoteLink:
        """Return a zygote that has ``agent`` loaded.

        Raises:
            ConfigError, WorkerFailed: it cannot be loaded, or not in time.
        """
        base = await self._ensure_base()
        zygote_id = f"z{os.getpid()}-{next(self._numbers)}"
        address = str(self.options.run_dir / f"{zygote_id}.sock")
        link = AgentZygoteLink(zygote_id, agent, events)
        listener = listen(address, backlog=1)
        listener.setblocking(False)
        base.channel.send(ZygoteStart(zygote_id=zygote_id, agent=agent, address=address))
        try:
            with listener:
                async with asyncio.timeout(self.options.fork_s):
                    await link.accept(listener)
            async with asyncio.timeout(self.options.ready_s):
                await link.wait_ready()
        except TimeoutError:
            base.channel.send(ZygoteEnd(worker_id=zygote_id, force=True))
            link.close()
            raise WorkerFailed(
                f"agent {agent.name} was not loaded within {self.options.ready_s:g} s"
            ) from None
        except BaseException:
            base.channel.send(ZygoteEnd(worker_id=zygote_id, force=True))
            link.close()
            raise
        finally:
            unlink(address)
        log.info("zygote is ready", agent=agent.name, pid=link.pid, cold=link.is_cold)
        return link

    def kill(self, link: AgentZygoteLink) -> None:
        """End a zygote that hangs; its idle workers end with it."""
        if self._base is not None and not self._base.channel.is_closed:
            self._base.channel.send(ZygoteEnd(worker_id=link.zygote_id, force=True))
        link.fail(WorkerFailed("the zygote hangs"))

    async def close(self) -> None:
        """Let the base zygote go; it stays until its last child is gone."""
        base, self._base = self._base, None
        if base is not None:
            base.channel.close()
            base.process.disown()

    async def _ensure_base(self) -> _Base:
        async with self._starting:
            if self._base is not None and not self._base.channel.is_closed:
                return self._base
            self._base = await self._start_base()
            return self._base

    async def _start_base(self) -> _Base:
        ours, theirs = socket.socketpair()
        options = self.options
        command = [sys.executable, "-m", "trunkline.dispatch.zygote", "--loader", options.loader]
        command += ["--control-fd", str(theirs.fileno())]
        command += ["--log-level", options.log_level, "--log-format", options.log_format]
        with theirs:
            process = Child(
                Command(
                    name="zygote",
                    arguments=command,
                    environment=options.environment,
                    descriptors=(theirs.fileno(),),
                    outlives_us=True,
                )
            )
        base = _Base(process)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: base.channel, ours)
        try:
            async with asyncio.timeout(options.ready_s):
                await base.ready
        except TimeoutError:
            raise WorkerFailed("the base zygote was not ready in time") from None
        finally:
            if not base.ready.done() or base.ready.exception() is not None:
                base.kill()
        log.info("base zygote is ready", pid=process.pid)
        return base


class _Base:
    """The base zygote's process and channel."""

    def __init__(self, process: Child) -> None:
        self.process = process
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.channel = Channel(on_message=self._receive, on_closed=self._lose, sender="pool")

    def kill(self) -> None:
        self.channel.abort()
        self.process.signal(signal.SIGKILL)

    def _receive(self, message: Message) -> None:
        if isinstance(message, ZygoteReady) and not self.ready.done():
            self.ready.set_result(None)
        elif isinstance(message, ZygoteExited):
            log.info("zygote has ended", zygote=message.worker_id, status=message.status)

    def _lose(self, error: Exception | None) -> None:
        log.warning("base zygote is gone", pid=self.process.pid)
        if not self.ready.done():
            self.ready.set_exception(WorkerFailed("the base zygote ended while it was started"))
