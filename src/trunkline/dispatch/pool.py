"""The pool: a process without user code that keeps warm workers and gives each call its own.

``python -m trunkline.dispatch.pool`` serves front and gateways on a Unix socket. It is in no path
that a live call needs: when it dies, calls go on, and the next pool starts with an empty book. So
every request may come twice, and a claim for a call that nobody reserved gets a worker all the
same.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from trunkline.dispatch.channel import Channel
from trunkline.dispatch.environment import bot_environment, carrier_prefixes, process_environment
from trunkline.dispatch.messages import (
    AgentSpec,
    Claim,
    Forget,
    Hello,
    Message,
    PoolState,
    PoolStateRequest,
    Prepare,
    Prepared,
    Refused,
    Release,
    Reserve,
    Reserved,
)
from trunkline.dispatch.output import configure_logging
from trunkline.dispatch.unix_socket import listen, peer_pid, prepare_folder, unlink
from trunkline.dispatch.warm import AgentPool, BackOff, Worker, WorkerState
from trunkline.dispatch.zygotes import (
    ZygoteEvents,
    ZygoteHost,
    ZygoteOptions,
)
from trunkline.errors import ChannelError, ConfigError, DispatchError, WorkerFailed
from trunkline.settings import Settings

__all__ = ["Pool", "main", "serve_pool"]

log = structlog.get_logger(__name__)

LONGEST_RESERVATION_S = 3600.0
ENDED_CALL_GRACE_S = 15.0
"""A worker whose call was released, and that is still there after so long, is killed."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Assignment:
    """What one call has."""

    call_id: str
    agent: AgentSpec
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One request of a call at a time."""
    worker: Worker | None = None
    cold: bool = False
    attempt: int = 0
    """0 while reserved only."""
    timer: asyncio.TimerHandle | None = None

    def set_timer(self, timer: asyncio.TimerHandle | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.timer = timer


class Pool:
    """Agents, their workers, and which call has which. Lives on one event loop."""

    def __init__(
        self,
        host: ZygoteHost,
        *,
        warm_workers: int,
        spawn: Callable[[Coroutine[None, None, None]], object],
        new_back_off: Callable[[], BackOff] = BackOff,
    ) -> None:
        self._host = host
        self._warm_workers = warm_workers
        self._spawn = spawn
        self._new_back_off = new_back_off
        self._loop = asyncio.get_running_loop()
        self._agents: dict[str, AgentPool] = {}
        self._leaving: list[AgentPool] = []
        self._assignments: dict[str, _Assignment] = {}

    async def reserve(self, message: Reserve) -> Reserved:
        """Have a worker ready; the same call gets the same one."""
        assignment = self._assignment(message.call_id, message.agent)
        async with assignment.lock:
            worker = assignment.worker or await self._assign(assignment)
            if assignment.attempt == 0:
                wait_s = min(max(message.expires_s, 0.0), LONGEST_RESERVATION_S)
                assignment.set_timer(self._loop.call_later(wait_s, self._expire, assignment))
            return _answer(message.request_id, assignment, worker)

    async def claim(self, message: Claim) -> Reserved:
        """Give the call's worker away; a new one when that has failed or served a stream."""
        assignment = self._assignment(message.call_id, message.agent)
        async with assignment.lock:
            worker, fresh = assignment.worker, assignment.attempt == 0
            repeated = message.attempt <= assignment.attempt and worker and worker.awaits_gateway
            if worker is None or not (fresh or repeated):
                if worker is not None and message.attempt > assignment.attempt:
                    self._kill_later(worker)
                worker = await self._assign(assignment)
            worker.state = WorkerState.CLAIMED
            assignment.attempt = max(assignment.attempt, message.attempt)
            assignment.set_timer(None)
            return _answer(message.request_id, assignment, worker)

    def release(self, call_id: str) -> None:
        """Take a reserved worker back; see that the worker of a claimed call ends."""
        assignment = self._assignments.get(call_id)
        if assignment is None or assignment.worker is None:
            return
        if assignment.attempt == 0:
            self._expire(assignment)
        else:
            self._kill_later(assignment.worker)

    async def prepare(self, message: Prepare) -> Prepared:
        """Load an agent, to keep it or only to see whether it can be loaded."""
        if message.check_only:
            zygote = await self._host.start(message.agent, ZygoteEvents.ignored())
            zygote.close()
            return Prepared(request_id=message.request_id, warnings=zygote.warnings)
        warnings = await self._agent(message.agent).prepare(message.agent)
        return Prepared(request_id=message.request_id, warnings=warnings)

    def forget(self, name: str) -> None:
        """Stop serving an agent; its live calls go on."""
        agent = self._agents.pop(name, None)
        if agent is not None:
            agent.close()
            if agent.workers:
                self._leaving.append(agent)

    def state(self, request_id: int) -> PoolState:
        """Count."""
        return PoolState(
            request_id=request_id,
            agents={
                name: {
                    "warm": agent.count(WorkerState.WARM),
                    "reserved": agent.count(WorkerState.RESERVED),
                    "busy": agent.count(WorkerState.CLAIMED),
                    "target": agent.target,
                    "cold_starts": agent.cold_starts,
                    "failures": agent.back_off.failures,
                    "zygote_pid": agent.zygote_pid,
                }
                for name, agent in self._agents.items()
            },
        )

    async def close(self) -> None:
        """Let everything idle end; calls go on by themselves."""
        for assignment in self._assignments.values():
            assignment.set_timer(None)
        for agent in (*self._agents.values(), *self._leaving):
            agent.disconnect()
        await self._host.close()

    def _agent(self, spec: AgentSpec) -> AgentPool:
        agent = self._agents.get(spec.name)
        if agent is None:
            agent = self._agents[spec.name] = AgentPool(
                spec,
                self._host,
                default_warm=self._warm_workers,
                back_off=self._new_back_off(),
                spawn=self._spawn,
                on_exit=self._worker_gone,
            )
        return agent

    def _assignment(self, call_id: str, agent: AgentSpec) -> _Assignment:
        return self._assignments.setdefault(call_id, _Assignment(call_id=call_id, agent=agent))

    async def _assign(self, assignment: _Assignment) -> Worker:
        agent = self._agent(assignment.agent)
        try:
            worker, cold = await agent.acquire(assignment.agent)
        except BaseException:
            if assignment.attempt == 0:
                self._drop(assignment)
            raise
        assignment.worker, assignment.cold = worker, cold
        self._assignments[assignment.call_id] = assignment
        return worker

    def _drop(self, assignment: _Assignment) -> None:
        assignment.set_timer(None)
        if self._assignments.get(assignment.call_id) is assignment:
            del self._assignments[assignment.call_id]

    def _expire(self, assignment: _Assignment) -> None:
        """The reservation lapses, unless a claim is being answered right now."""
        worker = assignment.worker
        if assignment.attempt > 0 or assignment.lock.locked():
            return
        self._drop(assignment)
        owner = self._owner(worker)
        if worker is not None and owner is not None:
            owner.give_back(worker)

    def _kill_later(self, worker: Worker) -> None:
        """A worker ends by itself when its gateway is gone; one that hangs does not."""
        owner = self._owner(worker)
        if owner is not None:
            self._loop.call_later(ENDED_CALL_GRACE_S, owner.kill, worker)

    def _owner(self, worker: Worker | None) -> AgentPool | None:
        for agent in (*self._agents.values(), *self._leaving):
            if worker is not None and agent.workers.get(worker.worker_id) is worker:
                return agent
        return None

    def _worker_gone(self, worker: Worker, was: WorkerState) -> None:
        self._leaving = [agent for agent in self._leaving if agent.workers]
        for assignment in list(self._assignments.values()):
            if assignment.worker is not worker:
                continue
            assignment.worker = None
            if was is WorkerState.CLAIMED:
                self._drop(assignment)
            else:
                self._spawn(self._replace(assignment))

    async def _replace(self, assignment: _Assignment) -> None:
        """A reserved worker died before its call came: get another, so that nobody notices."""
        async with assignment.lock:
            if assignment.worker is None and assignment.attempt == 0:
                try:
                    await self._assign(assignment)
                except (ConfigError, DispatchError) as error:
                    log.error(
                        "reserved worker not replaced", call_id=assignment.call_id, code=error.code
                    )


def _answer(request_id: int, assignment: _Assignment, worker: Worker) -> Reserved:
    return Reserved(
        request_id=request_id,
        call_id=assignment.call_id,
        worker_id=worker.worker_id,
        address=worker.address,
        cold=assignment.cold,
    )


class _PeerChannel(Channel):
    """Refuses processes of other users, which the folder's mode keeps out already."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if peer_pid(transport.get_extra_info("socket")) is None:
            self.fail(ChannelError("a process of another user connected"))


class _Peer:
    """One connection from a front or a gateway."""

    def __init__(self, pool: Pool, spawn: Callable[[Coroutine[None, None, None]], object]) -> None:
        self._pool = pool
        self._spawn = spawn
        self._name = ""
        self.channel = _PeerChannel(on_message=self._receive, on_closed=self._lose, sender="pool")

    def _receive(self, message: Message) -> None:
        match message:
            case Hello():
                self._name = message.sender
            case Reserve():
                self._start(message, self._pool.reserve(message))
            case Claim():
                self._start(message, self._pool.claim(message))
            case Prepare():
                self._start(message, self._pool.prepare(message))
            case Release():
                self._pool.release(message.call_id)
            case Forget():
                self._pool.forget(message.name)
            case PoolStateRequest():
                self.channel.send(self._pool.state(message.request_id))
            case _:
                self.channel.fail(ChannelError(f"{type(message).__name__} at the pool"))

    def _start(self, request: Reserve | Claim | Prepare, answer: Awaitable[Message]) -> None:
        self._spawn(self._answer(request, answer))

    async def _answer(self, request: Reserve | Claim | Prepare, answer: Awaitable[Message]) -> None:
        try:
            self.channel.send(await answer)
        except (ConfigError, DispatchError) as error:
            self._refuse(request, error.code, str(error))
        except Exception as error:
            log.exception("request failed", request=type(request).__name__)
            self._refuse(request, WorkerFailed.code, f"the pool failed: {type(error).__name__}")

    def _refuse(self, request: Reserve | Claim | Prepare, code: str, reason: str) -> None:
        log.warning(
            "request refused",
            request=type(request).__name__,
            agent=request.agent.name,
            code=code,
            peer=self._name,
        )
        self.channel.send(Refused(request_id=request.request_id, code=code, reason=reason))

    def _lose(self, error: Exception | None) -> None:
        if error is not None:
            log.warning("connection lost", peer=self._name, error=str(error))


async def serve_pool(
    options: ZygoteOptions,
    socket_path: Path,
    *,
    warm_workers: int,
    stop: asyncio.Event,
    on_listening: Callable[[], None] = lambda: None,
    new_back_off: Callable[[], BackOff] = BackOff,
) -> None:
    """Serve until ``stop`` is set; then idle workers end, and calls go on without us."""
    prepare_folder(options.run_dir)
    for stale in options.run_dir.glob("[wz][0-9]*-*.sock"):
        unlink(stale)
    try:
        async with asyncio.TaskGroup() as group:
            background = _Background(group)
            host = ZygoteHost(options)
            pool = Pool(
                host,
                warm_workers=warm_workers,
                spawn=background.start,
                new_back_off=new_back_off,
            )
            peers: set[Channel] = set()

            def accept() -> Channel:
                peers.difference_update([peer for peer in peers if peer.is_closed])
                peer = _Peer(pool, background.start)
                peers.add(peer.channel)
                return peer.channel

            loop = asyncio.get_running_loop()
            server = await loop.create_unix_server(accept, sock=listen(socket_path))
            log.info("pool is ready")
            on_listening()
            await stop.wait()
            background.is_stopping = True
            server.close()
            unlink(socket_path)
            for channel in peers:
                channel.close()
            await pool.close()
            raise _StopServing
    except* _StopServing:
        log.info("pool has stopped")


class _StopServing(Exception):
    pass


class _Background:
    """Coroutines of the pool's own; what one raises is logged and ends nothing else."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self.is_stopping = False

    def start(self, work: Coroutine[None, None, None]) -> None:
        if self.is_stopping:
            work.close()
        else:
            self._group.create_task(self._run(work))

    async def _run(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except Exception as error:
            log.exception("background work failed", error=type(error).__name__)


def main() -> None:
    """Run the pool of this machine with the settings of the environment."""
    settings = Settings()
    configure_logging(level=settings.log_level, log_format=settings.log_format, process="pool")
    options = ZygoteOptions(
        run_dir=settings.run_dir,
        environment=bot_environment(process_environment(), prefixes=carrier_prefixes()),
        log_level=settings.log_level,
        log_format=settings.log_format,
    )

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await serve_pool(
            options, settings.pool_socket, warm_workers=settings.warm_workers, stop=stop
        )

    asyncio.run(run())


if __name__ == "__main__":
    main()
