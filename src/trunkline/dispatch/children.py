"""The loop of a process that forks and has no event loop: control socket, children, signals.

Both kinds of zygote are built on it. It is careful where an event loop would get in the way: after
``fork`` the child must hold nothing of its parent's but what it was given.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
from abc import abstractmethod
from collections.abc import Callable

import structlog

from trunkline.dispatch.channel import BlockingChannel
from trunkline.dispatch.messages import Message, ZygoteEnd, ZygoteExited, ZygoteRetire
from trunkline.errors import ChannelError

__all__ = ["SEND_TIMEOUT_S", "ForkServer"]

log = structlog.get_logger(__name__)

SEND_TIMEOUT_S = 10.0
"""A pool that does not read for so long is taken for gone."""


class ForkServer:
    """Waits for messages from the pool and for the end of children. Subclasses fork.

    The control socket's end means that the pool is gone: nothing is forked any more, idle workers
    end, and this process stays until it has reaped its last child.
    """

    def __init__(self, control: BlockingChannel) -> None:
        self._control: BlockingChannel | None = control
        self._children: dict[int, str] = {}
        self._retiring = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(control.fileno(), selectors.EVENT_READ, self._read_control)
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._read_wake)

    def run(self) -> None:
        """Serve until there is nothing left to do."""
        self._own_signals()
        while not (self._retiring and not self._children):
            for key, _ in self._selector.select():
                handle: Callable[[], None] = key.data
                handle()

    @abstractmethod
    def receive(self, message: Message) -> None:
        """Handle what the pool asks for."""

    def retire(self) -> None:
        """Fork no more. Called once or more often."""
        self._retiring = True

    def exited(self, child_id: str) -> None:
        """Clean up after a child that was reaped; its end has not been told yet."""

    def send(self, message: Message) -> None:
        """Tell the pool, if it is there."""
        if self._control is None:
            return
        try:
            self._control.send(message)
        except OSError as error:  # TimeoutError is one
            log.warning("pool is lost", error=type(error).__name__)
            self._lose_control()

    def fork(self, child_id: str, run: Callable[[], None]) -> int | None:
        """Fork a child that calls ``run`` and exits; return its pid, or None if there is no room.

        In the child the control socket, the selector and the signals are already put away.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        # A child told to end before it has put our handlers away must still hear of it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            pid = os.fork()
        except OSError as error:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            log.error("fork failed", errno=error.errno)
            self.send(ZygoteExited(worker_id=child_id, pid=0, status=1))
            return None
        if pid == 0:
            status = 1
            try:
                self._put_away()
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
                run()
                status = 0
            except BaseException:
                log.exception("child failed", child_id=child_id)
            finally:
                os._exit(status)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        self._children[pid] = child_id
        return pid

    def adopt(self, pid: int, child_id: str) -> None:
        """Watch a child that was started by other means."""
        self._children[pid] = child_id

    def watch(self, fd: int, handle: Callable[[], None]) -> None:
        """Call ``handle`` whenever ``fd`` is readable."""
        self._selector.register(fd, selectors.EVENT_READ, handle)

    def unwatch(self, fd: int) -> None:
        """Undo ``watch``."""
        self._selector.unregister(fd)

    def _own_signals(self) -> None:
        """Bots' modules may have set handlers of their own at import; these win."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)
        signal.signal(signal.SIGTERM, lambda _signal, _frame: self.retire())
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _put_away(self) -> None:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.setpgid(0, 0)
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
        if self._control is not None:
            self._control.close()

    def _read_control(self) -> None:
        if self._control is None:
            return
        try:
            messages = self._control.receive()
        except (ChannelError, OSError) as error:
            log.warning("pool is lost", error=str(error))
            messages = None
        if messages is None:
            self._lose_control()
            return
        for message in messages:
            match message:
                case ZygoteEnd():
                    self._end(message)
                case ZygoteRetire():
                    self.retire()
                case _:
                    self.receive(message)

    def _lose_control(self) -> None:
        if self._control is not None:
            self._selector.unregister(self._control.fileno())
            self._control.close()
            self._control = None
        self.retire()

    def _read_wake(self) -> None:
        os.read(self._wake_read, 4096)
        while self._children:
            try:
                pid, wait_status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child_id = self._children.pop(pid, None)
            if child_id is None:
                continue  # a process that a bot's module started at import
            self.exited(child_id)
            status = os.waitstatus_to_exitcode(wait_status)
            self.send(ZygoteExited(worker_id=child_id, pid=pid, status=status))

    def _end(self, order: ZygoteEnd) -> None:
        for pid, child_id in self._children.items():
            if child_id == order.worker_id:
                # Not reaped yet, so the number is still its own.
                os.kill(pid, signal.SIGKILL if order.force else signal.SIGTERM)


def connect(address: str) -> socket.socket:
    """Return a connection to the pool with a bounded wait for every send."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(SEND_TIMEOUT_S)
    sock.connect(address)
    return sock
