"""One server and one Twilio for the tests of a module; each test makes its own agents and calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.server import World, running_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A fresh server and Twilio."""
    async with running_world(tmp_path / "home") as found:
        yield found
