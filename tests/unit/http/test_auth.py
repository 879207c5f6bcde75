from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import httpx
import pytest
from fastapi import FastAPI

from tests.support.front import KEYS, FrontWorld, app_of, client_of, create_keys
from trunkline.http.auth import digest_of
from trunkline.store import Role


async def ask(
    app: FastAPI, headers: Mapping[str, str], *, base_url: str = "http://localhost:8000", peer: str
) -> httpx.Response:
    async with client_of(app, base_url=base_url, peer=peer) as client:
        return await client.get("/api/calls", headers=headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEYS[Role.VIEWER]}"},
        {"Authorization": f"bearer  {KEYS[Role.VIEWER]}"},
        {"X-API-Key": KEYS[Role.VIEWER]},
    ],
)
async def test_a_key_opens(anyone: httpx.AsyncClient, headers: dict[str, str]) -> None:
    assert (await anyone.get("/api/calls", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "missing_proof"),
        ({"Authorization": "Basic eDp5"}, "missing_proof"),
        ({"Authorization": "Bearer "}, "missing_proof"),
        ({"Authorization": "Bearer wrong"}, "invalid_key"),
        ({"Authorization": "Bearer " + digest_of(KEYS[Role.ADMIN])}, "invalid_key"),
        ({"X-API-Key": ""}, "invalid_key"),
    ],
)
async def test_anything_else_does_not(
    anyone: httpx.AsyncClient, headers: dict[str, str], code: str
) -> None:
    answer = await anyone.get("/api/calls", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == code
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_revoked_key_does_not_open(world: FrontWorld, admin: httpx.AsyncClient) -> None:
    assert (await admin.get("/api/calls")).status_code == 200
    await world.store.revoke_api_key(Role.ADMIN.value)
    assert (await admin.get("/api/calls")).status_code == 401


async def test_its_use_is_noted_now_and_then(world: FrontWorld, admin: httpx.AsyncClient) -> None:
    before = datetime.now(UTC)
    await admin.get("/api/calls")
    first = await _last_used(world)
    assert first is not None
    assert first >= before
    await admin.get("/api/calls")
    assert await _last_used(world) == first


async def _last_used(world: FrontWorld) -> datetime | None:
    keys = {key.id: key for key in await world.store.fetch_api_keys()}
    return keys[Role.ADMIN.value].last_used_at


async def test_no_auth_opens_to_this_machine_only(world: FrontWorld) -> None:
    app = app_of(world, no_auth=True)
    assert (await ask(app, {}, peer="127.0.0.1")).status_code == 200
    assert (await ask(app, {}, base_url="http://[::1]:8000", peer="::1")).status_code == 200
    assert (await ask(app, {}, peer="192.0.2.1")).status_code == 401


@pytest.mark.parametrize(
    ("base_url", "headers"),
    [
        ("https://abc.ngrok.app", {}),
        ("http://localhost:8000", {"X-Forwarded-For": "192.0.2.1"}),
        ("http://localhost:8000", {"X-Forwarded-Proto": "https"}),
        ("http://localhost:8000", {"Forwarded": "for=192.0.2.1"}),
        ("http://localhost:8000", {"Cf-Ray": "1"}),
        ("http://localhost:8000", {"Origin": "https://evil.example"}),
    ],
)
async def test_a_tunnel_or_a_web_page_still_needs_a_key(
    world: FrontWorld, base_url: str, headers: dict[str, str]
) -> None:
    await create_keys(world.store)
    app = app_of(world, no_auth=True)
    answer = await ask(app, headers, base_url=base_url, peer="127.0.0.1")
    assert answer.status_code == 401
    keyed = {**headers, "X-API-Key": KEYS[Role.VIEWER]}
    assert (await ask(app, keyed, base_url=base_url, peer="127.0.0.1")).status_code == 200
