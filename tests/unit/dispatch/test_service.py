from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from tests.support.descriptors import open_descriptors
from tests.support.waiting import eventually
from trunkline.dispatch.service import Child, Command, keep_running


def command(source: str, **fields: object) -> Command:
    return Command(
        name="test",
        arguments=[sys.executable, "-c", source],
        environment=dict(os.environ),
        **fields,  # type: ignore[arg-type]
    )


async def test_a_child_is_reaped_with_its_status() -> None:
    before = open_descriptors()
    child = Child(command("raise SystemExit(3)"))
    assert child.status is None
    await asyncio.wait_for(child.ended.wait(), 10)
    assert child.status == 3
    assert not child.was_steady
    child.signal(signal.SIGTERM)
    assert open_descriptors() == before


async def test_it_inherits_what_it_is_given_and_leads_its_session() -> None:
    read, write = os.pipe()
    child = Child(
        command(
            f"import os; os.write({write}, str(os.getsid(0) == os.getpid()).encode())",
            descriptors=(write,),
        )
    )
    os.close(write)
    await asyncio.wait_for(child.ended.wait(), 10)
    assert os.read(read, 10) == b"True"
    os.close(read)


async def test_one_that_does_not_stop_is_killed() -> None:
    read, write = os.pipe()
    child = Child(
        command(
            "import os, signal; signal.signal(15, signal.SIG_IGN);"
            f"os.write({write}, b'x'); signal.pause()",
            descriptors=(write,),
        )
    )
    assert await asyncio.to_thread(os.read, read, 1) == b"x"
    os.close(read)
    os.close(write)
    await child.stop(signal.SIGTERM, within_s=0.05)
    assert child.status == -signal.SIGKILL


async def test_a_disowned_child_goes_on() -> None:
    before = open_descriptors()
    child = Child(command("import signal; signal.pause()", outlives_us=True))
    child.disown()
    assert open_descriptors() == before
    os.kill(child.pid, signal.SIGKILL)
    _, status = await asyncio.to_thread(os.waitpid, child.pid, 0)
    assert status == signal.SIGKILL


async def test_what_ends_is_started_again_until_we_stop() -> None:
    stopping, children = asyncio.Event(), list[Child]()
    async with asyncio.TaskGroup() as group:
        group.create_task(keep_running(command("pass"), stopping=stopping, started=children.append))
        await eventually(lambda: len(children) == 3)
        stopping.set()
    assert len(children) == 3
    assert children[-1].status is not None


async def test_a_program_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        Child(Command(name="x", arguments=["/nowhere/x"], environment={}))
