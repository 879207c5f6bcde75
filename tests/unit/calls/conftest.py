"""A front's world for each test of a use case."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import stamina

from tests.support.front import FrontWorld, open_world


@pytest.fixture(autouse=True)
def _no_backoff() -> Iterator[None]:
    """One attempt for each request: how often Twilio's client repeats is tested beside it."""
    with stamina.set_testing(True, attempts=1):
        yield


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[FrontWorld]:
    async with open_world(tmp_path / "recordings") as opened:
        yield opened
