"""A real pool with real zygotes and workers for each test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.integration.dispatch.rig import PoolRig


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A short path: AF_UNIX addresses are limited to 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="tl-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def rig(run_dir: Path, tmp_path: Path) -> AsyncIterator[PoolRig]:
    async with PoolRig.started(run_dir, tmp_path) as rig:
        yield rig
