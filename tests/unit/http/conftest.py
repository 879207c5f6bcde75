"""A front's world for each test of a route."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import stamina
from fastapi import FastAPI

from tests.support.front import FrontWorld, app_of, client_of, create_keys, open_world
from trunkline.store import Role


@pytest.fixture(autouse=True)
def _no_backoff() -> Iterator[None]:
    """One attempt for each request: how often Twilio's client repeats is tested beside it."""
    with stamina.set_testing(True, attempts=1):
        yield


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[FrontWorld]:
    async with open_world(tmp_path / "recordings") as opened:
        yield opened


@pytest.fixture
async def app(world: FrontWorld) -> FastAPI:
    """The application with an API key for each role."""
    await create_keys(world.store)
    return app_of(world)


@pytest.fixture
async def anyone(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key."""
    async with client_of(app) as client:
        yield client


@pytest.fixture
async def admin(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client with an admin's key."""
    async with client_of(app, role=Role.ADMIN) as client:
        yield client
