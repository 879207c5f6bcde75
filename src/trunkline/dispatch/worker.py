"""A worker: one process that runs one bot for one call.

It is forked by its agent's zygote (or exec'ed, ``python -m trunkline.dispatch.worker``, when the
agent cannot be forked), with a Unix socket that listens already. It waits, accepts exactly one
gateway, runs the agent for the one ``CallStarted`` and exits.

- Idle, it ends when its zygote or the pool is gone, or at SIGTERM.
- With a call, it ends when the bot has returned, or ``exit_s`` after the call ended or the gateway
  was lost. SIGTERM, the zygote's end and the pool's end do not touch it: calls outlive those who
  started them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import NoReturn, cast

import msgspec
import structlog
import uvloop

from trunkline.dispatch.channel import pack
from trunkline.dispatch.environment import redact
from trunkline.dispatch.heartbeat import HeartbeatThread
from trunkline.dispatch.loading import load_agent
from trunkline.dispatch.messages import (
    AgentSpec,
    BotFinished,
    CallStarted,
    Hello,
    Message,
    SessionEnding,
    ZygoteFailed,
    ZygoteReady,
)
from trunkline.dispatch.output import capture_loguru, capture_streams, configure_logging
from trunkline.dispatch.session import LoadedAgent, WorkerSession
from trunkline.dispatch.transport import WorkerChannel
from trunkline.dispatch.unix_socket import peer_pid, unlink
from trunkline.errors import ChannelError, ConfigError, DispatchError

__all__ = ["WorkerExit", "WorkerLimits", "main", "run_worker", "serve"]

log = structlog.get_logger(__name__)


class WorkerExit(IntEnum):
    """Exit status of a worker; a negative one, or one not listed: the process died."""

    OK = 0
    """The bot returned, or the worker was never used."""
    BOT_RAISED = 10
    """``bot()`` raised; the gateway was told by ``BotFinished``."""
    NO_CALL = 11
    """A gateway connected but did not start a call in time, or spoke nonsense."""
    STUCK = 12
    """The bot did not end in time after its call had ended."""
    NOT_LOADED = 13
    """The agent of a cold worker could not be loaded."""
    CRASHED = 14
    """An exception outside the bot; a traceback is in the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLimits:
    """How long a worker waits, in seconds."""

    call_s: float = 10.0
    """From the gateway's connection to its CallStarted."""
    finish_s: float = 8.0
    """From the end of the call until the bot is cancelled."""
    exit_s: float = 10.0
    """From the end of the call until the process ends, whatever the bot does."""
    flush_s: float = 1.0
    """For the last messages to leave."""


async def serve(
    listener: socket.socket,
    lifeline_fd: int,
    agent: LoadedAgent,
    *,
    worker_id: str,
    limits: WorkerLimits,
    end_process: Callable[[WorkerExit], None],
) -> WorkerExit:
    """Wait for a gateway and run its call.

    Args:
        listener: Listening Unix socket; closed, its file removed, once a gateway has connected.
        lifeline_fd: Pipe whose other end only the zygote holds: end of file says that it is gone.
        agent: What to run.
        worker_id: For the log and our Hello.
        limits: Seconds for each wait.
        end_process: Ends the process at once; called from a thread when the bot does not end.
    """
    connection = await _accept(listener, lifeline_fd)
    if connection is None:
        return WorkerExit.OK
    with structlog.contextvars.bound_contextvars(worker_id=worker_id):
        return await _Call(agent, worker_id, limits, end_process).run(connection)


async def _accept(listener: socket.socket, lifeline_fd: int) -> socket.socket | None:
    """Return the gateway's connection, or None when the worker is not needed any more."""
    loop = asyncio.get_running_loop()
    decided: asyncio.Future[socket.socket | None] = loop.create_future()
    address = listener.getsockname()

    def take(*, last_chance: bool) -> None:
        connection = _take_connection(listener)
        if not decided.done() and (connection is not None or last_chance):
            decided.set_result(connection)
        elif connection is not None:
            connection.close()

    listener.setblocking(False)
    loop.add_reader(listener.fileno(), lambda: take(last_chance=False))
    loop.add_reader(lifeline_fd, lambda: take(last_chance=True))
    loop.add_signal_handler(signal.SIGTERM, lambda: take(last_chance=True))
    try:
        return await decided
    finally:
        loop.remove_reader(listener.fileno())
        loop.remove_reader(lifeline_fd)
        # From here on SIGTERM means: when the call is over. Replaced, not removed: in between, the
        # default would end the call.
        loop.add_signal_handler(signal.SIGTERM, log.info, "worker finishes its call first")
        unlink(address)
        listener.close()


def _take_connection(listener: socket.socket) -> socket.socket | None:
    try:
        connection, _ = listener.accept()
    except (BlockingIOError, ConnectionAbortedError):
        return None
    if peer_pid(connection) is None:
        log.warning("connection of another user refused")
        connection.close()
        return None
    return connection


class _Call:
    """One connection from a gateway, from its first byte to the end of the process."""

    def __init__(
        self,
        agent: LoadedAgent,
        worker_id: str,
        limits: WorkerLimits,
        end_process: Callable[[WorkerExit], None],
    ) -> None:
        self._agent = agent
        self._limits = limits
        self._end_process = end_process
        self._loop = asyncio.get_running_loop()
        self._started: asyncio.Future[CallStarted] = self._loop.create_future()
        self._ending = asyncio.Event()
        self._cancelled = False
        self._session: WorkerSession | None = None
        self._heartbeat: HeartbeatThread | None = None
        self._channel = WorkerChannel(
            on_message=self._receive_message,
            on_audio=self._receive_audio,
            on_closed=self._receive_close,
            sender=f"worker {worker_id}",
        )

    async def run(self, connection: socket.socket) -> WorkerExit:
        await self._loop.connect_accepted_socket(lambda: self._channel, connection)
        try:
            async with asyncio.timeout(self._limits.call_s):
                call = await self._started
        except (TimeoutError, ChannelError) as error:
            log.warning("gateway started no call", error=type(error).__name__)
            self._channel.abort()
            return WorkerExit.NO_CALL
        structlog.contextvars.bind_contextvars(call_id=call.facts.call_id)
        streams = capture_streams(call_id=call.facts.call_id, agent=call.facts.agent.name)
        capture_loguru(call_id=call.facts.call_id, agent=call.facts.agent.name)
        try:
            return await self._run_agent(call)
        finally:
            for stream in streams:
                stream.finish()

    async def _run_agent(self, call: CallStarted) -> WorkerExit:
        self._heartbeat = HeartbeatThread(
            self._channel,
            self._loop,
            exit_s=self._limits.exit_s,
            give_up=self._give_up,
        )
        if self._ending.is_set():
            self._heartbeat.call_ended()
        self._heartbeat.start()
        log.info(
            "worker has its call",
            agent=call.facts.agent.name,
            attempt=call.attempt,
            pid=os.getpid(),
        )
        session = cast("WorkerSession", self._session)  # made with ``call``
        try:
            async with asyncio.TaskGroup() as group:
                bot = group.create_task(self._run_bot(session))
                cancelling = group.create_task(self._cancel_late(bot))
                bot.add_done_callback(lambda _: cancelling.cancel())
            return await self._finish(bot.result())
        finally:
            self._heartbeat.stop()

    async def _run_bot(self, session: WorkerSession) -> str:
        """Return what went wrong, or nothing."""
        try:
            await self._agent.run(session)
        except asyncio.CancelledError:
            if not self._cancelled:
                return "CancelledError: the bot cancelled itself"
        except (Exception, SystemExit) as error:
            log.exception("bot raised", error=type(error).__name__)
            return redact(f"{type(error).__name__}: {error}")
        return ""

    async def _cancel_late(self, bot: asyncio.Task[str]) -> None:
        await self._ending.wait()
        await asyncio.sleep(self._limits.finish_s)
        log.warning("bot is cancelled: its call has ended")
        self._cancelled = True
        bot.cancel()

    async def _finish(self, error: str) -> WorkerExit:
        self._channel.send(BotFinished(error=error))
        log.info("bot finished", failed=bool(error))
        try:
            async with asyncio.timeout(self._limits.flush_s):
                await self._channel.finish()
        except TimeoutError:
            log.warning("gateway took the last messages too slowly")
        return WorkerExit.BOT_RAISED if error else WorkerExit.OK

    def _give_up(self) -> None:
        log.error("bot did not end, its process does")
        self._end_process(WorkerExit.STUCK)

    # the channel's callbacks

    def _receive_message(self, message: Message) -> None:
        match message:
            case Hello():
                return
            case CallStarted() if self._session is None:
                self._session = WorkerSession(message, self._channel)
                if not self._started.done():
                    self._started.set_result(message)
            case CallStarted():
                self._channel.fail(ChannelError("a second call was started on one worker"))
            case _ if self._session is None:
                self._channel.fail(ChannelError("a message came before the call was started"))
            case SessionEnding():
                self._end_session(message)
            case _:
                self._session.deliver(message)

    def _receive_audio(self, payload: bytes) -> None:
        if self._session is None:
            raise ChannelError("audio came before the call was started")
        self._session.deliver(payload)

    def _receive_close(self, error: Exception | None) -> None:
        if not self._started.done():
            self._started.set_exception(ChannelError(f"gateway is gone: {error}"))
        self._end_session(SessionEnding(reason="lost"))

    def _end_session(self, ending: SessionEnding) -> None:
        """Tell the bot, once, that its call is over, and give it its last seconds."""
        if self._ending.is_set():
            return
        self._ending.set()
        if self._heartbeat is not None:
            self._heartbeat.call_ended()
        if self._session is not None:
            self._session.deliver(ending)


def run_worker(
    listener: socket.socket, lifeline_fd: int, agent: LoadedAgent, *, worker_id: str
) -> NoReturn:
    """Serve, then end this process without running what the zygote registered for its own exit."""
    status = WorkerExit.CRASHED
    try:
        loop = uvloop.new_event_loop()
        asyncio.set_event_loop(loop)
        status = loop.run_until_complete(
            serve(
                listener,
                lifeline_fd,
                agent,
                worker_id=worker_id,
                limits=WorkerLimits(),
                end_process=lambda reason: os._exit(reason),
            )
        )
    except BaseException as error:
        log.exception("worker crashed", worker_id=worker_id, error=type(error).__name__)
    finally:
        os._exit(status)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a cold worker: load the agent described on standard input, report, serve."""
    parser = argparse.ArgumentParser(prog="python -m trunkline.dispatch.worker")
    parser.add_argument("--worker-id", required=True)
    parser.add_argument("--loader", required=True)
    parser.add_argument("--listen-fd", type=int, required=True)
    parser.add_argument("--lifeline-fd", type=int, required=True)
    parser.add_argument("--status-fd", type=int, required=True)
    parser.add_argument("--log-level", default="INFO")
    parser.add_argument("--log-format", default="auto")
    options = parser.parse_args(arguments)
    configure_logging(
        level=options.log_level,
        log_format=options.log_format,
        process=f"worker {options.worker_id}",
    )
    listener = socket.socket(fileno=options.listen_fd)
    spec = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=AgentSpec)
    capture_streams(agent=spec.name)
    try:
        agent = load_agent(options.loader, spec)
    except (ConfigError, DispatchError) as error:
        os.write(options.status_fd, pack(ZygoteFailed(code=error.code, reason=str(error))))
        os._exit(WorkerExit.NOT_LOADED)
    os.write(options.status_fd, pack(ZygoteReady()))
    os.close(options.status_fd)
    run_worker(listener, options.lifeline_fd, agent, worker_id=options.worker_id)


if __name__ == "__main__":
    main()
