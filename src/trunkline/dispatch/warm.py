"""One agent's workers: its zygote, the warm ones, and what happens when either fails."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import Enum, auto
from itertools import count
from pathlib import Path

import structlog

from trunkline.dispatch.messages import AgentSpec, ZygoteExited, ZygoteForked
from trunkline.dispatch.unix_socket import unlink
from trunkline.dispatch.worker import WorkerExit
from trunkline.dispatch.zygotes import AgentZygoteLink, ZygoteEvents, ZygoteHost
from trunkline.errors import ConfigError, DispatchError, WorkerFailed

__all__ = ["AgentPool", "BackOff", "Worker", "WorkerState", "module_stamp"]

log = structlog.get_logger(__name__)

_worker_numbers = count(1)


class WorkerState(Enum):
    """Where a worker is in its one life."""

    STARTING = auto()
    WARM = auto()
    RESERVED = auto()
    CLAIMED = auto()
    ENDING = auto()
    GONE = auto()


@dataclass(slots=True, kw_only=True, eq=False)
class Worker:
    """One worker process as the pool knows it."""

    worker_id: str
    address: str
    zygote: AgentZygoteLink
    state: WorkerState = WorkerState.STARTING
    pid: int = 0
    deadline: asyncio.TimerHandle | None = None
    """While starting: when it is given up."""
    orphan_fd: int | None = None
    """Its pidfd, once its zygote is dead."""

    @property
    def awaits_gateway(self) -> bool:
        """Nobody has connected to it yet: a worker removes its socket's file when it accepts."""
        return self.state is not WorkerState.GONE and Path(self.address).exists()


@dataclass(slots=True, kw_only=True)
class BackOff:
    """Refuses for a while after too many failures in a row, each time for twice as long.

    Times are seconds of one monotonic clock.
    """

    allowed: int = 5
    window_s: float = 60.0
    first_s: float = 1.0
    longest_s: float = 60.0
    failures: int = 0
    """In a row, ever since the last success."""
    reason: DispatchError | ConfigError | None = None
    blocked_until_s: float = 0.0
    _last_s: float = float("-inf")

    def fail(self, error: DispatchError | ConfigError, now_s: float, *, at_once: bool) -> None:
        """Count a failure; ``at_once`` blocks after this one already."""
        if now_s - self._last_s > self.window_s + self.longest_s:
            self.failures = 0
        self.failures += 1
        self.reason, self._last_s = error, now_s
        beyond = self.failures - (1 if at_once else self.allowed)
        if beyond >= 0:
            pause_s = min(self.first_s * 2 ** min(beyond, 16), self.longest_s)
            self.blocked_until_s = now_s + pause_s

    def succeed(self) -> None:
        """Forget all failures."""
        self.failures, self.reason, self.blocked_until_s = 0, None, 0.0

    def is_blocked(self, now_s: float) -> bool:
        """Nothing is to be tried before ``blocked_until_s``."""
        return now_s < self.blocked_until_s


def module_stamp(agent: AgentSpec) -> tuple[int, int, int] | None:
    """Return what changes when an agent's module file changes: its time, size and inode."""
    if agent.module is None:
        return None
    path, colon, function = agent.module.rpartition(":")
    try:
        found = Path(path if colon and function.isidentifier() else agent.module).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


_Key = tuple[tuple[str, str, int], tuple[int, int, int] | None]
"""``AgentSpec.zygote_key`` and ``module_stamp``: equal keys, equal code."""


class AgentPool:
    """Keeps ``target`` warm workers of one agent and gives them out, newest code first.

    Args:
        spawn: Runs a coroutine in the background, in a task group.
        on_exit: Called with each worker that is gone, and the state that it was in.
    """

    def __init__(
        self,
        agent: AgentSpec,
        host: ZygoteHost,
        *,
        default_warm: int,
        back_off: BackOff,
        spawn: Callable[[Coroutine[None, None, None]], object],
        on_exit: Callable[[Worker, WorkerState], None],
    ) -> None:
        self.agent = agent
        self.workers: dict[str, Worker] = {}
        self.cold_starts = 0
        self.back_off = back_off
        self._host = host
        self._default_warm = default_warm
        self._spawn = spawn
        self._on_exit = on_exit
        self._loop = asyncio.get_running_loop()
        self._zygote: AgentZygoteLink | None = None
        self._key: _Key | None = None
        """What the current zygote, or the last one, has loaded."""
        self._failed_key: _Key | None = None
        """What could not be loaded the last time."""
        self._loading = asyncio.Lock()
        self._reloading = False
        self._waiters: deque[asyncio.Future[Worker]] = deque()
        self._retry: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def target(self) -> int:
        """Warm workers to keep."""
        return self._default_warm if self.agent.warm is None else self.agent.warm

    @property
    def zygote_pid(self) -> int:
        """The current zygote's process id; 0 while there is none."""
        return self._zygote.pid if self._zygote is not None else 0

    def count(self, state: WorkerState) -> int:
        """Workers in ``state``, of whatever zygote."""
        return sum(worker.state is state for worker in self.workers.values())

    async def prepare(self, agent: AgentSpec) -> list[str]:
        """Have the zygote of ``agent`` up; a person asked, so earlier failures do not count.

        Returns:
            The zygote's warnings.

        Raises:
            ConfigError, WorkerFailed: it cannot be loaded.
        """
        self.back_off.succeed()
        zygote = await self._ensure_zygote(agent, tolerant=False)
        self._adjust()
        return zygote.warnings

    async def acquire(self, agent: AgentSpec) -> tuple[Worker, bool]:
        """Return a worker in state RESERVED, and whether it had to be made for this request.

        Raises:
            ConfigError, DispatchError: none can be had now.
        """
        await self._ensure_zygote(agent, tolerant=True)
        worker = self._take_warm()
        if worker is not None:
            self._adjust()
            return worker, False
        if self._is_blocked():
            raise self._refusal()
        self.cold_starts += 1
        waiter: asyncio.Future[Worker] = self._loop.create_future()
        self._waiters.append(waiter)
        self._adjust()
        try:
            return await waiter, True
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.give_back(waiter.result())
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def give_back(self, worker: Worker) -> None:
        """A reserved worker is not needed after all."""
        if worker.state is not WorkerState.RESERVED:
            return
        if worker.zygote is self._zygote:
            worker.state = WorkerState.WARM
            self._adjust()
        else:
            self._end_idle(worker)

    def kill(self, worker: Worker) -> None:
        """End a worker whatever it does: through its parent, or by its pidfd when that is dead."""
        if worker.state is WorkerState.GONE:
            return
        if worker.orphan_fd is not None:
            signal.pidfd_send_signal(worker.orphan_fd, signal.SIGKILL)
        else:
            worker.zygote.end(worker.worker_id, force=True)

    def _end_idle(self, worker: Worker) -> None:
        worker.state = WorkerState.ENDING  # it must not be given out meanwhile
        worker.zygote.end(worker.worker_id)

    def close(self) -> None:
        """End what is idle; calls go on, and their zygotes stay until the last one is over."""
        self._closed = True
        if self._retry is not None:
            self._retry.cancel()
        self._fail_waiters(WorkerFailed(f"agent {self.agent.name} is not served any more"))
        self._set_zygote(None)

    def disconnect(self) -> None:
        """Let all zygotes go, for the pool's own end: they see it as ``retire``."""
        self.close()
        for zygote in {worker.zygote for worker in self.workers.values()}:
            zygote.close()

    # zygotes

    async def _ensure_zygote(self, agent: AgentSpec, *, tolerant: bool) -> AgentZygoteLink:
        """Return the zygote for ``agent`` as it and its module are now.

        ``tolerant``: when only the module's file has changed and cannot be loaded, the old code
        goes on serving, so that a half-saved file costs no call.
        """
        async with self._loading:
            if self._closed:
                raise WorkerFailed(f"agent {agent.name} is not served any more")
            if agent.revision < self.agent.revision:  # a call that was admitted before the change
                agent = self.agent
            zygote = self._zygote if self._zygote and self._zygote.is_usable else None
            key = (agent.zygote_key, module_stamp(agent))
            if zygote is not None and key == self._key:
                self.agent = agent  # ``warm`` may differ
                return zygote
            same_row = self._key is not None and key[0] == self._key[0]
            fallback = zygote if tolerant and same_row else None
            if key in (self._key, self._failed_key) and self._is_blocked():
                if fallback is not None:
                    return fallback
                raise self._refusal()
            try:
                return await self._load(agent, key)
            except (ConfigError, DispatchError) as error:
                self._failed_key = key
                self.back_off.fail(error, self._loop.time(), at_once=True)
                if fallback is None or not fallback.is_usable:
                    raise
                log.error("changed module cannot be loaded", agent=agent.name, code=error.code)
                return fallback

    async def _load(self, agent: AgentSpec, key: _Key) -> AgentZygoteLink:
        events = ZygoteEvents(
            forked=self._worker_forked, exited=self._worker_exited, closed=self._zygote_closed
        )
        zygote = await self._host.start(agent, events)
        if self._closed:
            zygote.close()
            raise WorkerFailed(f"agent {agent.name} is not served any more")
        if key != self._key:
            self.back_off.succeed()
        self.agent, self._key, self._failed_key = agent, key, None
        self._set_zygote(zygote)
        return zygote

    def _set_zygote(self, zygote: AgentZygoteLink | None) -> None:
        old, self._zygote = self._zygote, zygote
        if old is None:
            return
        for worker in self._workers_of(old):
            if worker.state is WorkerState.WARM:
                self._end_idle(worker)
        self._retire_if_empty(old)

    def _retire_if_empty(self, zygote: AgentZygoteLink) -> None:
        if zygote is not self._zygote and not self._workers_of(zygote):
            zygote.retire()

    def _workers_of(self, zygote: AgentZygoteLink) -> list[Worker]:
        return [worker for worker in self.workers.values() if worker.zygote is zygote]

    def _zygote_closed(self, zygote: AgentZygoteLink) -> None:
        """Its idle workers end with it; those with a call live on without a parent."""
        current = zygote is self._zygote
        orphans = self._workers_of(zygote)
        if current:
            self._zygote = None
            log.error("zygote is gone", agent=self.agent.name, workers=len(orphans))
        for worker in orphans:
            if worker.state is not WorkerState.CLAIMED or not self._watch_orphan(worker):
                self._remove(worker)
        if current and not self._closed:
            error = WorkerFailed(f"the zygote of agent {self.agent.name} died")
            self.back_off.fail(error, self._loop.time(), at_once=False)
            self._adjust()

    def _watch_orphan(self, worker: Worker) -> bool:
        """See the end of a worker that is nobody's child any more; False if it has ended."""
        try:
            worker.orphan_fd = os.pidfd_open(worker.pid)
        except OSError:
            return False
        self._loop.add_reader(worker.orphan_fd, self._remove, worker)
        return True

    # workers

    def _take_warm(self) -> Worker | None:
        for worker in self.workers.values():
            if worker.state is WorkerState.WARM and worker.zygote is self._zygote:
                worker.state = WorkerState.RESERVED
                return worker
        return None

    def _adjust(self) -> None:
        """Start or end workers until there are as many as wanted."""
        zygote = self._zygote
        if self._closed:
            return
        if self._is_blocked():
            self._fail_waiters(self._refusal())
            self._schedule_retry()
            return
        if zygote is None or not zygote.is_usable:
            self._reload()
            return
        current = self._workers_of(zygote)
        ready = [worker for worker in current if worker.state is WorkerState.WARM]
        starting = sum(worker.state is WorkerState.STARTING for worker in current)
        surplus = len(ready) + starting - self.target - len(self._waiters)
        for worker in ready[: max(surplus, 0)]:
            self._end_idle(worker)
        for _ in range(-surplus):
            self._start_worker(zygote)

    def _schedule_retry(self) -> None:
        """Try again by ourselves when the back-off is over, so that workers are warm by then."""
        if self._retry is not None:
            self._retry.cancel()
        self._retry = self._loop.call_at(self.back_off.blocked_until_s, self._adjust)

    def _reload(self) -> None:
        """Have a zygote again, in the background."""
        if not self._reloading and self._key is not None and (self.target or self._waiters):
            self._reloading = True
            self._spawn(self._load_again())

    async def _load_again(self) -> None:
        try:
            await self._ensure_zygote(self.agent, tolerant=True)
        except (ConfigError, DispatchError) as error:
            log.warning("agent cannot be loaded again", agent=self.agent.name, code=error.code)
            self._fail_waiters(error)
        finally:
            self._reloading = False
        self._adjust()

    def _is_blocked(self) -> bool:
        return self.back_off.is_blocked(self._loop.time())

    def _refusal(self) -> ConfigError | DispatchError:
        return self.back_off.reason or WorkerFailed(f"agent {self.agent.name} keeps failing")

    def _start_worker(self, zygote: AgentZygoteLink) -> None:
        worker_id = f"w{os.getpid()}-{next(_worker_numbers)}"
        options = self._host.options
        worker = Worker(
            worker_id=worker_id,
            address=str(options.run_dir / f"{worker_id}.sock"),
            zygote=zygote,
        )
        self.workers[worker_id] = worker
        wait_s = options.cold_s if zygote.is_cold else options.fork_s
        worker.deadline = self._loop.call_later(wait_s, self._give_up, worker)
        zygote.fork(worker_id, worker.address)

    def _give_up(self, worker: Worker) -> None:
        if worker.state is WorkerState.STARTING:
            log.error("worker was not started in time", agent=self.agent.name)
            self._start_failed(worker, "was not started in time")
            if worker.zygote.is_cold:
                worker.zygote.end(worker.worker_id, force=True)
            else:  # a fork takes milliseconds: the zygote itself hangs
                self._host.kill(worker.zygote)
            self._adjust()

    def _worker_forked(self, _zygote: AgentZygoteLink, message: ZygoteForked) -> None:
        worker = self.workers.get(message.worker_id)
        if worker is None or worker.state is not WorkerState.STARTING:
            return
        worker.pid = message.pid
        if worker.deadline is not None:
            worker.deadline.cancel()
        while self._waiters and worker.zygote is self._zygote:
            waiter = self._waiters.popleft()
            if not waiter.done():
                worker.state = WorkerState.RESERVED
                waiter.set_result(worker)
                return
        if worker.zygote is self._zygote:
            worker.state = WorkerState.WARM
        else:
            self._end_idle(worker)

    def _worker_exited(self, zygote: AgentZygoteLink, message: ZygoteExited) -> None:
        worker = self.workers.get(message.worker_id)
        if worker is None:
            return
        state, status = worker.state, message.status
        failed = status not in (WorkerExit.OK, WorkerExit.NO_CALL)
        if failed or state is WorkerState.STARTING:
            log.warning(
                "worker died", agent=self.agent.name, pid=message.pid, status=status, was=state.name
            )
        if state is WorkerState.STARTING:
            self._start_failed(worker, f"died at its start (status {status})")
        else:
            if failed:
                error = WorkerFailed(f"workers of agent {self.agent.name} die (status {status})")
                self.back_off.fail(error, self._loop.time(), at_once=False)
            elif state is WorkerState.CLAIMED:
                self.back_off.succeed()
            self._remove(worker)
        self._retire_if_empty(zygote)
        self._adjust()

    def _start_failed(self, worker: Worker, how: str) -> None:
        error = WorkerFailed(f"a worker of agent {self.agent.name} {how}")
        self.back_off.fail(error, self._loop.time(), at_once=False)
        self._remove(worker)
        if self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error)

    def _remove(self, worker: Worker) -> None:
        state, worker.state = worker.state, WorkerState.GONE
        if worker.deadline is not None:
            worker.deadline.cancel()
        if worker.orphan_fd is not None:
            self._loop.remove_reader(worker.orphan_fd)
            os.close(worker.orphan_fd)
            worker.orphan_fd = None
        if self.workers.pop(worker.worker_id, None) is not None:
            unlink(worker.address)
            self._on_exit(worker, state)

    def _fail_waiters(self, error: ConfigError | DispatchError) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error)
