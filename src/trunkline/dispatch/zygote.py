"""Processes that have everything imported and fork workers in milliseconds.

``python -m trunkline.dispatch.zygote`` is the base zygote: exec'ed by the pool with an explicit
environment and one control socket, it imports what all bots share. For each agent it forks an agent
zygote, which loads the agent, freezes the heap and forks that agent's workers (findings: 12 to 15
ms and 14 MB each). Neither runs an event loop or a thread: both would be lost, or worse half kept,
in a fork.

An agent whose module starts threads, processes or connections at import cannot be forked safely.
Its zygote says so and starts each worker as a fresh process instead.
"""

from __future__ import annotations

import argparse
import gc
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import IO, cast

import msgspec
import structlog

from trunkline.dispatch.channel import BlockingChannel, FrameReader
from trunkline.dispatch.children import SEND_TIMEOUT_S, ForkServer, connect
from trunkline.dispatch.loading import DEFAULT_LOADER, Leftovers, load_agent, preload
from trunkline.dispatch.messages import (
    AgentSpec,
    Hello,
    Message,
    ZygoteFailed,
    ZygoteFork,
    ZygoteForked,
    ZygoteReady,
    ZygoteStart,
    decode,
)
from trunkline.dispatch.output import capture_loguru, capture_streams, configure_logging
from trunkline.dispatch.session import LoadedAgent
from trunkline.dispatch.tls import SpareContexts
from trunkline.dispatch.unix_socket import listen, unlink
from trunkline.errors import ConfigError, DispatchError

__all__ = ["AgentZygote", "BaseZygote", "main"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    loader: str
    log_level: str
    log_format: str


class BaseZygote(ForkServer):
    """Forks agent zygotes."""

    def __init__(self, control: BlockingChannel, options: _Options, spares: SpareContexts) -> None:
        super().__init__(control)
        self._options = options
        self._spares = spares

    def receive(self, message: Message) -> None:
        """See ``ForkServer.receive``."""
        if isinstance(message, ZygoteStart) and not self._retiring:
            self.fork(message.zygote_id, partial(self._become_agent_zygote, message))
        elif not isinstance(message, Hello):
            log.warning("unexpected message", message=type(message).__name__)

    def _become_agent_zygote(self, start: ZygoteStart) -> None:
        """Load the agent and serve; runs in the fork."""
        agent, options = start.agent, self._options
        configure_logging(
            level=options.log_level,
            log_format=options.log_format,
            process=f"zygote {agent.name}",
        )
        control = BlockingChannel(connect(start.address), sender=f"zygote {start.zygote_id}")
        capture_streams(agent=agent.name)
        try:
            loaded = load_agent(options.loader, agent)
        except (ConfigError, DispatchError) as error:
            control.send(ZygoteFailed(code=error.code, reason=str(error)))
            control.finish()
            return
        capture_loguru(agent=agent.name)
        leftovers = Leftovers.count()
        self._spares.fill()
        gc.collect()
        # Without this a worker's first full collection touches, and so copies, the whole heap.
        gc.freeze()
        AgentZygote(control, agent, loaded, options, leftovers).run()


class AgentZygote(ForkServer):
    """Forks the workers of one agent."""

    def __init__(
        self,
        control: BlockingChannel,
        agent: AgentSpec,
        loaded: LoadedAgent,
        options: _Options,
        leftovers: Leftovers,
    ) -> None:
        super().__init__(control)
        self._agent = agent
        self._loaded = loaded
        self._options = options
        self._addresses: dict[str, str] = {}
        self._lifeline_read, self._lifeline_write = os.pipe2(os.O_CLOEXEC)
        reasons = leftovers.reasons()
        self._cold = bool(reasons)
        warnings = [
            f"the module starts {reason} at import, so each call waits for a fresh process"
            for reason in reasons
        ]
        if warnings:
            log.warning("agent is started cold", agent=agent.name, reasons=reasons)
        self.send(ZygoteReady(threads=leftovers.threads, warnings=warnings, cold=self._cold))

    def receive(self, message: Message) -> None:
        """See ``ForkServer.receive``."""
        if isinstance(message, ZygoteFork) and not self._retiring:
            self._addresses[message.worker_id] = message.address
            listener = listen(message.address, backlog=1)
            with listener:
                start = self._start_cold if self._cold else self._start_fork
                start(message.worker_id, listener)
        elif not isinstance(message, Hello):
            log.warning("unexpected message", message=type(message).__name__)

    def retire(self) -> None:
        """Idle workers see the end of the lifeline and exit; those with a call finish it."""
        super().retire()
        if self._lifeline_write >= 0:
            os.close(self._lifeline_write)
            self._lifeline_write = -1

    def exited(self, child_id: str) -> None:
        """Remove the socket of a worker that nobody connected to."""
        address = self._addresses.pop(child_id, None)
        if address is not None:
            unlink(address)

    def _start_fork(self, worker_id: str, listener: socket.socket) -> None:
        pid = self.fork(worker_id, partial(self._become_worker, worker_id, listener))
        if pid is not None:
            self.send(ZygoteForked(worker_id=worker_id, pid=pid))

    def _become_worker(self, worker_id: str, listener: socket.socket) -> None:
        """Run the agent's next call; runs in the fork."""
        from trunkline.dispatch.worker import run_worker

        os.close(self._lifeline_write)  # ours would keep the lifeline open after the zygote's end
        options = self._options
        configure_logging(
            level=options.log_level,
            log_format=options.log_format,
            process=f"worker {worker_id}",
        )
        if "numpy" in sys.modules:  # random reseeds itself after a fork, numpy does not
            import numpy as np

            np.random.seed()
        run_worker(listener, self._lifeline_read, self._loaded, worker_id=worker_id)

    def _start_cold(self, worker_id: str, listener: socket.socket) -> None:
        """Start a fresh process; it tells on a pipe when its agent is loaded."""
        status_read, status_write = os.pipe2(os.O_CLOEXEC)
        options = self._options
        command = [sys.executable, "-m", "trunkline.dispatch.worker"]
        command += ["--worker-id", worker_id, "--loader", options.loader]
        command += ["--listen-fd", str(listener.fileno())]
        command += ["--lifeline-fd", str(self._lifeline_read), "--status-fd", str(status_write)]
        command += ["--log-level", options.log_level, "--log-format", options.log_format]
        try:
            process = subprocess.Popen(  # noqa: S603 - our own program
                command,
                stdin=subprocess.PIPE,
                pass_fds=(listener.fileno(), self._lifeline_read, status_write),
                process_group=0,
            )
        finally:
            os.close(status_write)
        with cast("IO[bytes]", process.stdin) as spec:
            spec.write(msgspec.msgpack.encode(self._agent))
        process.returncode = 0  # reaped by us, not by subprocess, which would warn
        self.adopt(process.pid, worker_id)
        self.watch(status_read, partial(self._read_status, status_read, worker_id, process.pid))

    def _read_status(self, status_fd: int, worker_id: str, pid: int) -> None:
        """Pass on that a cold worker is ready; one that failed exits, which is told by its end."""
        data = os.read(status_fd, 65536)
        self.unwatch(status_fd)
        os.close(status_fd)
        for kind, payload in FrameReader().feed(data):
            message = decode(kind, payload)
            if isinstance(message, ZygoteReady):
                self.send(ZygoteForked(worker_id=worker_id, pid=pid))
            elif isinstance(message, ZygoteFailed):
                log.error("cold worker is not loaded", worker_id=worker_id, code=message.code)


def main(arguments: list[str] | None = None) -> None:
    """Run the base zygote."""
    parser = argparse.ArgumentParser(prog="python -m trunkline.dispatch.zygote")
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--loader", default=DEFAULT_LOADER)
    parser.add_argument("--log-level", default="INFO")
    parser.add_argument("--log-format", default="auto")
    found = parser.parse_args(arguments)
    options = _Options(loader=found.loader, log_level=found.log_level, log_format=found.log_format)
    configure_logging(level=options.log_level, log_format=options.log_format, process="zygote")
    sock = socket.socket(fileno=found.control_fd)
    sock.settimeout(SEND_TIMEOUT_S)
    control = BlockingChannel(sock, sender="base zygote")
    capture_streams()
    spares = SpareContexts()
    spares.install()
    preload(options.loader)
    # Imported before the fork so that no worker pays for it.
    import_module("trunkline.dispatch.worker")
    control.send(ZygoteReady())
    BaseZygote(control, options, spares).run()


if __name__ == "__main__":
    main()
