"""One server and one Twilio for all tests of a module; each test makes agents of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.postgres import postgres_server, postgres_url
from tests.support.server import World, running_world

__all__ = ["postgres_server", "postgres_url", "world"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A fresh server and Twilio. Its limit is out of the way of tests that are not about limits."""
    async with running_world(tmp_path_factory.mktemp("world") / "home") as found:
        settings = {"providers": {"twilio": {"max_concurrent_calls": 100}}}
        answer = await found.server.api.put("/api/settings/telephony", json=settings)
        assert answer.status_code == 200, answer.text
        yield found
