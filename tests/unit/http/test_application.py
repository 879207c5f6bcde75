"""The whole application: every route has a role, one error shape, and a place in the docs."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from tests.support.front import FrontWorld, app_of, client_of
from trunkline.store import InMemoryStore, Role

ROLES = {
    ("GET", "/api/agents"): Role.VIEWER,
    ("POST", "/api/agents"): Role.ADMIN,
    ("GET", "/api/agents/{name}"): Role.VIEWER,
    ("PUT", "/api/agents/{name}"): Role.ADMIN,
    ("PATCH", "/api/agents/{name}"): Role.ADMIN,
    ("DELETE", "/api/agents/{name}"): Role.ADMIN,
    ("POST", "/api/calls/outbound"): Role.OPERATOR,
    ("GET", "/api/calls"): Role.VIEWER,
    ("GET", "/api/calls/{call_id}"): Role.VIEWER,
    ("POST", "/api/calls/{call_id}/hangup"): Role.OPERATOR,
    ("GET", "/api/calls/{call_id}/transcript"): Role.VIEWER,
    ("GET", "/api/calls/{call_id}/recording"): Role.VIEWER,
    ("GET", "/api/calls/{call_id}/events"): Role.VIEWER,
    ("GET", "/api/settings/telephony"): Role.VIEWER,
    ("PUT", "/api/settings/telephony"): Role.ADMIN,
    ("GET", "/api/providers"): Role.VIEWER,
    ("GET", "/metrics"): Role.VIEWER,
}
OPEN = {("GET", "/healthz"), ("GET", "/readyz")}
RANKS = [Role.VIEWER, Role.OPERATOR, Role.ADMIN]


def routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Method and path of everything that the application answers."""
    for path, methods in app.openapi()["paths"].items():
        for method in methods:
            yield method.upper(), path


def filled(path: str) -> str:
    return path.replace("{name}", "nobody").replace("{call_id}", "nobody")


async def test_every_route_is_in_the_matrix(app: FastAPI) -> None:
    assert sorted(routes(app)) == sorted({*ROLES, *OPEN})


async def test_the_matrix_sees_every_route_of_the_application(app: FastAPI) -> None:
    """The OpenAPI document hides carriers' routes and nothing else."""
    hidden = {
        route.path
        for route in _flat(app.routes)
        if isinstance(route, APIRoute) and not route.include_in_schema
    }
    assert all(path.startswith("/telephony/{carrier_name}/") for path in hidden)
    assert len(hidden) == 4


def _flat(found: list[object]) -> Iterator[object]:
    for route in found:
        inner = getattr(route, "original_router", None) or getattr(route, "router", None)
        if inner is not None and not isinstance(route, APIRoute):
            yield from _flat(list(inner.routes))
        else:
            yield route


@pytest.mark.parametrize(("route", "needed"), ROLES.items(), ids=lambda value: str(value))
async def test_each_role_may_do_what_it_may(
    app: FastAPI, route: tuple[str, str], needed: Role
) -> None:
    method, path = route
    async with client_of(app) as client:
        assert (await client.request(method, filled(path))).status_code == 401
    for role in RANKS:
        async with client_of(app, role=role) as client:
            answer = await client.request(method, filled(path), json={})
        if RANKS.index(role) < RANKS.index(needed):
            assert answer.status_code == 403, role
            assert answer.json()["error"]["code"] == "access_denied"
        else:
            assert answer.status_code not in (401, 403), role


def assert_error_shape(answer: httpx.Response) -> None:
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    error = answer.json()["error"]
    assert sorted(error) == ["code", "details", "message"]
    assert isinstance(error["code"], str)
    assert error["code"]
    assert isinstance(error["message"], str)
    assert isinstance(error["details"], dict)


@pytest.mark.parametrize("route", sorted({*ROLES, *OPEN}), ids=str)
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"nonsense": 1}'])
async def test_one_error_shape_whatever_is_sent(
    admin: httpx.AsyncClient, route: tuple[str, str], content: bytes
) -> None:
    method, path = route
    for verb in (method, "TRACE"):
        answer = await admin.request(
            verb, filled(path), content=content, headers={"content-type": "application/json"}
        )
        assert answer.status_code < 500
        if answer.status_code >= 400:
            assert_error_shape(answer)


@pytest.mark.parametrize("route", sorted(ROLES), ids=str)
async def test_one_error_shape_while_the_database_is_away(
    admin: httpx.AsyncClient, world: FrontWorld, route: tuple[str, str]
) -> None:
    assert isinstance(world.store, InMemoryStore)
    world.store.is_available = False
    method, path = route
    answer = await admin.request(method, filled(path), json={})
    assert answer.status_code == 503
    assert_error_shape(answer)
    assert answer.json()["error"]["code"] == "store_unavailable"


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/api", "/api/nothing", "/ws", "/telephony/acme"]
)
async def test_what_is_not_there(anyone: httpx.AsyncClient, path: str) -> None:
    answer = await anyone.get(path)
    assert answer.status_code == 404
    assert_error_shape(answer)
    assert answer.json()["error"]["code"] == "not_found"


async def test_the_api_document_has_examples(app: FastAPI) -> None:
    schemas = app.openapi()["components"]["schemas"]
    for name in ("NewAgent", "DialRequest", "TelephonyChange", "Call", "Agent"):
        assert schemas[name].get("examples"), name


async def test_the_api_document_names_no_secret(world: FrontWorld) -> None:
    assert "0123456789abcdef" not in str(app_of(world).openapi())
