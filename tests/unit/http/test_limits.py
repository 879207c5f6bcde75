from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI, Request

from tests.support.front import client_of
from trunkline.http.errors import add_error_handlers
from trunkline.http.limits import MAX_BODY_BYTES, BodyLimit


def app_with(deadline_s: float = 10.0) -> FastAPI:
    app = FastAPI()
    app.state.trusted_proxies = ()
    add_error_handlers(app)

    @app.post("/length")
    async def length(request: Request) -> int:
        return len(await request.body())

    app.add_middleware(BodyLimit, deadline_s=deadline_s)
    return app


async def in_pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * 1024


async def test_a_body_up_to_the_limit_is_read() -> None:
    async with client_of(app_with()) as client:
        answer = await client.post("/length", content=b"x" * MAX_BODY_BYTES)
        assert answer.json() == MAX_BODY_BYTES
        answer = await client.post("/length", content=in_pieces(MAX_BODY_BYTES // 1024))
        assert answer.json() == MAX_BODY_BYTES


async def test_one_that_announces_more_is_not_read() -> None:
    async with client_of(app_with()) as client:
        answer = await client.post("/length", content=b"x" * (MAX_BODY_BYTES + 1))
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "body_too_large"
    assert answer.headers["connection"] == "close"


async def test_one_that_announces_nothing_is_read_up_to_the_limit() -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while taken < 10 * MAX_BODY_BYTES:
            taken += 1024
            yield b"x" * 1024

    async with client_of(app_with()) as client:
        answer = await client.post("/length", content=endless())
    assert answer.status_code == 413
    assert taken <= MAX_BODY_BYTES + 2048


@pytest.mark.parametrize("length", ["9" * 5000, "many"])
async def test_a_length_that_is_nonsense_does_no_harm(length: str) -> None:
    async with client_of(app_with()) as client:
        answer = await client.post("/length", content=b"", headers={"Content-Length": length})
    assert answer.status_code in (200, 413)


async def test_a_body_that_never_comes_is_not_waited_for() -> None:
    async def stalled() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    async with client_of(app_with(deadline_s=0.05)) as client:
        answer = await client.post("/length", content=stalled())
    assert answer.status_code == 408
    assert answer.json()["error"]["code"] == "request_timeout"
    assert answer.headers["connection"] == "close"


async def test_after_the_body_nothing_is_timed() -> None:
    """A response that lasts for hours waits for the disconnect through the same ``receive``."""
    messages = [{"type": "http.request", "body": b"", "more_body": False}]
    disconnected = asyncio.Event()
    seen: list[str] = []

    async def receive() -> dict[str, object]:
        if messages:
            return dict(messages.pop(0))
        await disconnected.wait()
        return {"type": "http.disconnect"}

    async def slow_app(_scope: object, receive: object, _send: object) -> None:
        assert callable(receive)
        seen.append((await receive())["type"])
        loop = asyncio.get_running_loop()
        loop.call_later(0.05, disconnected.set)
        seen.append((await receive())["type"])

    async def send(_message: object) -> None:
        raise AssertionError("nothing is sent")

    limit = BodyLimit(slow_app, deadline_s=0.01)
    await limit({"type": "http", "headers": []}, receive, send)  # type: ignore[arg-type]
    assert seen == ["http.request", "http.disconnect"]


async def test_other_scopes_pass() -> None:
    scopes: list[str] = []

    async def inner(scope: dict[str, object], _receive: object, _send: object) -> None:
        scopes.append(str(scope["type"]))

    await BodyLimit(inner)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert scopes == ["lifespan"]
