"""The base zygote as the pool starts it; workers are tested in tests/integration/dispatch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.dispatch.trivial_agents import LOADER
from trunkline.dispatch.channel import BlockingChannel
from trunkline.dispatch.environment import bot_environment
from trunkline.dispatch.messages import Hello, ZygoteReady

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def base() -> Iterator[tuple[BlockingChannel, subprocess.Popen[bytes]]]:
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "trunkline.dispatch.zygote"),
                *("--control-fd", str(theirs.fileno()), "--loader", LOADER),
            ],
            pass_fds=(theirs.fileno(),),
            env=bot_environment(
                {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
                prefixes=(),
            ),
        )
    ours.settimeout(20)
    channel = BlockingChannel(ours, sender="pool")
    yield channel, process
    channel.close()
    process.kill()
    process.wait()


def test_it_says_when_it_is_ready_and_ends_with_the_pool(
    base: tuple[BlockingChannel, subprocess.Popen[bytes]],
) -> None:
    channel, process = base
    received = []
    while len(received) < 2:
        received += channel.receive() or []
    assert received == [Hello(sender="base zygote"), ZygoteReady()]
    tasks = list(Path(f"/proc/{process.pid}/task").iterdir())
    assert len(tasks) == 1, "a process that forks has one thread"
    channel.close()
    assert process.wait(10) == 0
