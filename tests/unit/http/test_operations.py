from __future__ import annotations

import httpx

from tests.support.front import KEYS, FrontWorld
from tests.support.stores import admitted
from trunkline.store import InMemoryStore, Role


async def test_the_process_answers(anyone: httpx.AsyncClient, world: FrontWorld) -> None:
    world.draining.append(True)
    assert (await anyone.get("/healthz")).json() == {"status": "ok"}


async def test_ready_is_ready_for_calls(anyone: httpx.AsyncClient, world: FrontWorld) -> None:
    answer = await anyone.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "problems": []})
    world.draining.append(True)
    world.gateways.connected = False
    assert isinstance(world.store, InMemoryStore)
    world.store.is_available = False
    answer = await anyone.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["problems"] == ["draining", "gateway not connected", "database away"]


async def test_metrics_count_slots_and_streams(
    anyone: httpx.AsyncClient, world: FrontWorld
) -> None:
    assert (await anyone.get("/metrics")).status_code == 401
    call = await admitted(world.store, "carrier:acme", "machine")
    world.gateways.live.add(call.id)
    answer = await anyone.get("/metrics", headers={"X-API-Key": KEYS[Role.VIEWER]})
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    assert 'trunkline_slots_in_use{scope="carrier:acme"} 1.0' in lines
    assert "trunkline_live_streams 1.0" in lines
    assert "trunkline_draining 0.0" in lines
