"""The pool's own door; what it does with real workers is in tests/integration/dispatch."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from trunkline.dispatch.messages import AgentSpec, Claim, PoolState, Release
from trunkline.dispatch.pool import Pool, serve_pool
from trunkline.dispatch.zygotes import ZygoteHost, ZygoteOptions
from trunkline.errors import WorkerFailed


@pytest.fixture
def options(tmp_path: Path) -> ZygoteOptions:
    """Zygotes that cannot start: their environment lacks everything."""
    return ZygoteOptions(run_dir=tmp_path, environment={}, loader="no_such_module:load")


async def test_it_takes_what_a_killed_pool_left_and_leaves_nothing(
    options: ZygoteOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # AF_UNIX paths are short
    for name in ("pool.sock", "w123-1.sock", "z123-2.sock", "gateway-0.control"):
        (tmp_path / name).touch()
    stop, listening = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(
            serve_pool(
                options, Path("pool.sock"), warm_workers=1, stop=stop, on_listening=listening.set
            )
        )
        await listening.wait()
        assert sorted(p.name for p in tmp_path.iterdir()) == ["gateway-0.control", "pool.sock"]
        stop.set()
    assert [p.name for p in tmp_path.iterdir()] == ["gateway-0.control"]


async def test_a_claim_that_fails_leaves_no_trace(options: ZygoteOptions) -> None:
    async with asyncio.TaskGroup() as group:
        pool = Pool(ZygoteHost(options), warm_workers=0, spawn=group.create_task)
        claim = Claim(request_id=1, call_id="c1", agent=AgentSpec(name="a", kind="module"))
        for _ in range(2):
            with pytest.raises(WorkerFailed):
                await pool.claim(claim)
        pool.release(Release(call_id="c1").call_id)
        pool.release("unknown")
        pool.forget("unknown")
        figures = pool.state(7)
        assert isinstance(figures, PoolState)
        assert figures.agents["a"]["busy"] == figures.agents["a"]["reserved"] == 0
        await pool.close()
