"""The fork server in a process of its own, because it owns its process's signals and forks."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.integration.dispatch.rig import children_of
from trunkline.dispatch.channel import BlockingChannel
from trunkline.dispatch.messages import (
    Message,
    ZygoteEnd,
    ZygoteExited,
    ZygoteFork,
    ZygoteForked,
    ZygoteRetire,
)

# Forks a child for each request: one that waits, or one that exits with the status in ``address``.
SERVER = """
import os, signal, socket, sys
from trunkline.dispatch.channel import BlockingChannel
from trunkline.dispatch.children import ForkServer
from trunkline.dispatch.messages import ZygoteFork, ZygoteForked

class Server(ForkServer):
    def receive(self, message):
        if isinstance(message, ZygoteFork):
            def run():
                if message.address == "wait":
                    signal.pause()
                if message.address == "raise":
                    raise RuntimeError
                os._exit(int(message.address))
            pid = self.fork(message.worker_id, run)
            self.send(ZygoteForked(worker_id=message.worker_id, pid=pid))

sock = socket.socket(fileno=int(sys.argv[1]))
Server(BlockingChannel(sock, sender="server")).run()
"""


class Server:
    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SERVER, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        ours.settimeout(10)
        self.channel = BlockingChannel(ours, sender="pool")
        self._received: list[Message] = []

    def fork(self, worker_id: str, what: str) -> int:
        self.channel.send(ZygoteFork(worker_id=worker_id, address=what))
        forked = self.next(ZygoteForked)
        assert isinstance(forked, ZygoteForked)
        return forked.pid

    def next(self, kind: type[Message]) -> Message:
        while True:
            for message in self._received:
                if isinstance(message, kind):
                    self._received.remove(message)
                    return message
            self._received += self.channel.receive() or []


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    if server.process.poll() is None:
        for child in children_of(server.process.pid):
            os.kill(child, signal.SIGKILL)
    server.channel.close()
    server.process.kill()
    server.process.wait()


@pytest.mark.parametrize(("what", "status"), [("0", 0), ("7", 7), ("raise", 1)])
def test_a_childs_end_is_told_with_its_status(server: Server, what: str, status: int) -> None:
    pid = server.fork("w1", what)
    assert server.next(ZygoteExited) == ZygoteExited(worker_id="w1", pid=pid, status=status)


@pytest.mark.parametrize(("force", "number"), [(False, signal.SIGTERM), (True, signal.SIGKILL)])
def test_a_child_is_ended_by_its_parent(
    server: Server, force: bool, number: signal.Signals
) -> None:
    pid = server.fork("w1", "wait")
    server.channel.send(ZygoteEnd(worker_id="unknown", force=True))
    server.channel.send(ZygoteEnd(worker_id="w1", force=force))
    assert server.next(ZygoteExited) == ZygoteExited(worker_id="w1", pid=pid, status=-number)


def test_retired_it_stays_until_its_last_child_is_gone(server: Server) -> None:
    pid = server.fork("w1", "wait")
    server.channel.send(ZygoteRetire())
    server.channel.send(ZygoteEnd(worker_id="w1"))
    assert server.next(ZygoteExited) == ZygoteExited(worker_id="w1", pid=pid, status=-15)
    assert server.process.wait(10) == 0


@pytest.mark.parametrize("how", ["pool gone", "nonsense", "SIGTERM"])
def test_without_children_it_ends_at_once(server: Server, how: str) -> None:
    server.fork("w1", "0")
    server.next(ZygoteExited)
    match how:
        case "pool gone":
            server.channel.close()
        case "nonsense":
            os.write(server.channel.fileno(), b"\0\0\0\0\0")
        case _:
            server.process.terminate()
    assert server.process.wait(10) == 0
