"""A gateway process with a pool and a front, ready for calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from tests.integration.gateway.peers import Front, GatewayProcess, Pool

_NUMBERS = count(1)


@dataclass
class Stage:
    gateway: GatewayProcess
    pool: Pool
    front: Front
    call_id: str = field(default_factory=lambda: f"call-{next(_NUMBERS)}")
    """No other test's."""


@asynccontextmanager
async def set_up(gateway: GatewayProcess) -> AsyncIterator[Stage]:
    pool = Pool(gateway.settings)
    front = Front(gateway.settings)
    try:
        await pool.open()
        await front.open()
        yield Stage(gateway, pool, front)
    finally:
        front.close()
        await pool.close()


@pytest.fixture(scope="module")
def shared_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    gateway = GatewayProcess(tmp_path_factory.mktemp("gateway") / "home")
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.stop()


@pytest.fixture
async def stage(shared_gateway: GatewayProcess) -> AsyncIterator[Stage]:
    """Peers of a gateway that a module's tests share."""
    async with set_up(shared_gateway) as stage:
        yield stage


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway of the test's own, for what others would disturb."""
    gateway = GatewayProcess(tmp_path / "home")
    try:
        gateway.start()
        yield gateway
    finally:
        gateway.stop()


@pytest.fixture
async def own_stage(gateway: GatewayProcess) -> AsyncIterator[Stage]:
    async with set_up(gateway) as stage:
        yield stage
