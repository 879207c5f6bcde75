"""Starting zygotes, real ones; what becomes of their workers is in tests/integration/dispatch."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.dispatch.rig import is_alive, parent_of
from tests.integration.dispatch.trivial_agents import LOADER
from tests.support.descriptors import open_descriptors
from tests.support.waiting import eventually
from trunkline.dispatch.messages import AgentSpec
from trunkline.dispatch.zygotes import AgentZygoteLink, ZygoteEvents, ZygoteHost, ZygoteOptions
from trunkline.errors import ConfigError, WorkerFailed

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
async def host() -> AsyncIterator[ZygoteHost]:
    folder = Path(tempfile.mkdtemp(prefix="tl-"))
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
    }
    host = ZygoteHost(ZygoteOptions(run_dir=folder, environment=environment, loader=LOADER))
    yield host
    pid = host.pid
    await host.close()
    await eventually(lambda: not is_alive(pid), what="the base zygote's end")
    shutil.rmtree(folder)


def agent(folder: Path, source: str = "async def bot(session): pass") -> AgentSpec:
    (folder / "bot.py").write_text(source)
    return AgentSpec(name="a", kind="module", module=str(folder / "bot.py"))


async def test_a_zygote_is_a_child_of_the_base_zygote(host: ZygoteHost, tmp_path: Path) -> None:
    link = await host.start(agent(tmp_path), ZygoteEvents.ignored())
    assert parent_of(link.pid) == host.pid
    assert link.is_usable
    assert not link.is_cold
    link.close()
    await eventually(lambda: not is_alive(link.pid), what="the zygote's end")


async def test_agents_that_cannot_be_loaded_leave_nothing(host: ZygoteHost, tmp_path: Path) -> None:
    good = await host.start(agent(tmp_path), ZygoteEvents.ignored())
    before = open_descriptors()
    for _ in range(10):
        with pytest.raises(ConfigError, match="has no function bot"):
            await host.start(agent(tmp_path, "x = 1"), ZygoteEvents.ignored())
    await eventually(lambda: open_descriptors() == before, what="descriptors are closed")
    assert list(host.options.run_dir.iterdir()) == []
    good.close()


async def test_the_owner_is_told_of_a_zygotes_end(host: ZygoteHost, tmp_path: Path) -> None:
    closed: list[AgentZygoteLink] = []
    quiet = ZygoteEvents.ignored()
    events = ZygoteEvents(forked=quiet.forked, exited=quiet.exited, closed=closed.append)
    link = await host.start(agent(tmp_path), events)
    os.kill(link.pid, signal.SIGKILL)
    await eventually(lambda: closed == [link])
    assert not link.is_usable


async def test_a_base_zygote_that_cannot_start_is_a_worker_failure(tmp_path: Path) -> None:
    options = ZygoteOptions(
        run_dir=tmp_path, environment={"PATH": os.environ["PATH"]}, loader="no_such_module:load"
    )
    broken = ZygoteHost(options)
    with pytest.raises(WorkerFailed, match="base zygote ended"):
        await broken.start(AgentSpec(name="a", kind="module"), ZygoteEvents.ignored())
    assert broken.pid == 0
