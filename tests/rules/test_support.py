"""The helpers in tests/support do what the tests that lean on them believe."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys

import pytest

from tests.support.descriptors import descriptors_of, open_descriptors
from tests.support.waiting import eventually


async def test_eventually_returns_once_the_condition_holds() -> None:
    happened = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, happened.set)

    await eventually(happened.is_set, what="the timer fired")

    assert happened.is_set()


async def test_eventually_names_what_did_not_happen() -> None:
    with pytest.raises(AssertionError, match=r"the moon is cheese: not within 0\.02 s"):
        await eventually(lambda: False, within_s=0.02, what="the moon is cheese")


async def test_eventually_asks_at_least_once_even_without_time() -> None:
    await eventually(lambda: True, within_s=0.0)


async def test_eventually_lets_an_error_of_the_predicate_through() -> None:
    with pytest.raises(ZeroDivisionError):
        await eventually(lambda: 1 // 0)


def test_descriptors_are_counted_up_and_down() -> None:
    before = open_descriptors()
    left, right = socket.socketpair()
    with left, right:
        assert open_descriptors() == before + 2
        assert descriptors_of(os.getpid())[left.fileno()].startswith("socket:")
    assert open_descriptors() == before


def test_descriptors_of_another_process_are_seen() -> None:
    program = "import sys; sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as child:
        assert descriptors_of(child.pid)[0].startswith("pipe:")
        child.communicate(timeout=10)
    with pytest.raises(ProcessLookupError):
        descriptors_of(child.pid)
