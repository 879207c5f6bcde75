from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine

import pytest
import uvloop
import websockets
from fastapi import FastAPI, Request, WebSocket
from structlog.testing import capture_logs

from tests.support.descriptors import open_descriptors
from tests.support.uvicorn_server import connected, serving, upgrade_head
from tests.support.waiting import eventually
from trunkline.http import edge
from trunkline.http.edge import GuardedHttp, Refusal, Upgrade

Check = Callable[[Upgrade], Awaitable[Refusal | None]]


async def refuse(_upgrade: Upgrade) -> Refusal | None:
    return Refusal(403, "invalid_token", "the stream is not admitted")


def app() -> FastAPI:
    made = FastAPI()

    @made.post("/length")
    async def length(request: Request) -> int:
        return len(await request.body())

    @made.websocket("/other")
    async def other(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("echo " + await websocket.receive_text())

    return made


class Hasty(GuardedHttp):
    """A short deadline, so that the test need not wait for the real one."""

    head_deadline_s = 0.2


def body_of(answer: bytes) -> dict[str, object]:
    error: dict[str, object] = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    return error


# the request head


async def test_200_mb_of_headers_are_not_read() -> None:
    async with serving(app(), refuse) as port, connected(port) as peer:
        sent = 0
        with capture_logs() as lines:
            try:
                await peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
                while sent < 200_000_000:
                    await peer.send(b"X-More: " + b"y" * 65_000 + b"\r\n")
                    sent += 65_000
            except ConnectionError:
                pass
        assert sent < 20_000_000  # what fits the sockets' buffers
        assert [line["code"] for line in lines] == ["head_too_large"]
        async with connected(port) as next_one:
            await next_one.send(b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            assert (await next_one.read_head()).startswith(b"HTTP/1.1 200")


async def test_a_head_above_the_limit_is_told_so() -> None:
    async with serving(app(), refuse) as port, connected(port) as peer:
        await peer.send(b"GET / HTTP/1.1\r\nX: " + b"y" * edge.HEAD_LIMIT_BYTES)
        answer = await peer.read_to_end()
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert body_of(answer)["code"] == "head_too_large"


async def test_a_body_does_not_count_even_when_the_head_s_end_is_cut() -> None:
    body = b"x" * 2 * edge.HEAD_LIMIT_BYTES
    head = b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with serving(app(), refuse) as port, connected(port) as peer:
        await peer.send(head[:-1])
        await asyncio.sleep(0)  # two segments, unless the kernel joins them
        await peer.send(head[-1:] + body)
        assert (await peer.read_head()).startswith(b"HTTP/1.1 200")


async def test_a_slow_head_is_closed_at_the_deadline() -> None:
    async with serving(app(), refuse, http=Hasty) as port, connected(port) as peer:
        await peer.send(b"GET / HTTP/1.1\r\nHost: ")
        answer = await peer.read_to_end()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert body_of(answer)["code"] == "request_timeout"


async def test_fifty_slow_upgrades_are_all_closed() -> None:
    async def dribble(port: int) -> bytes:
        async with connected(port) as peer:
            await peer.send(upgrade_head("/ws/acme/desk")[:-3])
            return await peer.read_to_end()

    async with serving(app(), refuse, http=Hasty) as port:
        answers = await asyncio.gather(*(dribble(port) for _ in range(50)))
    assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in answers)


async def test_a_connection_that_asks_nothing_is_closed_silently() -> None:
    async with serving(app(), refuse, http=Hasty) as port, connected(port) as peer:
        assert await peer.read_to_end() == b""


async def test_the_second_request_of_a_connection_has_its_own_deadline() -> None:
    async with serving(app(), refuse, http=Hasty) as port, connected(port) as peer:
        await peer.send(b"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert (await peer.read_head()).startswith(b"HTTP/1.1 200")
        await peer.send(b"POST /length HTTP/1.1\r\n")
        assert b"HTTP/1.1 408 " in await peer.read_to_end()


# media upgrades


@pytest.mark.parametrize("status", [401, 403, 404, 503])
async def test_a_refused_upgrade_gets_plain_http(status: int) -> None:
    async def check(_upgrade: Upgrade) -> Refusal | None:
        return Refusal(status, "some_code", "some words", {"client": "192.0.2.1"})

    with capture_logs() as lines:
        async with serving(app(), check) as port, connected(port) as peer:
            await peer.send(upgrade_head("/ws/acme/desk"))
            answer = await peer.read_to_end()
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert body_of(answer) == {"code": "some_code", "message": "some words", "details": {}}
    assert [(line["event"], line["code"], line["client"]) for line in lines] == [
        ("media upgrade refused", "some_code", "192.0.2.1")
    ]


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (("Sec-WebSocket-Version: 8", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 426),
        (("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: short"), 400),
        (("Sec-WebSocket-Version: 13",), 400),
    ],
)
async def test_a_head_that_is_no_upgrade_is_not_checked(
    lines: tuple[str, ...], status: int
) -> None:
    async def check(_upgrade: Upgrade) -> Refusal | None:
        raise AssertionError("not to be asked")

    async with serving(app(), check) as port, connected(port) as peer:
        await peer.send(upgrade_head("/ws/acme/desk", *lines))
        assert (await peer.read_to_end()).startswith(f"HTTP/1.1 {status} ".encode())


async def test_what_the_check_sees() -> None:
    seen: list[Upgrade] = []

    async def check(upgrade: Upgrade) -> Refusal | None:
        seen.append(upgrade)
        return Refusal(403, "x", "x")

    async with serving(app(), check) as port, connected(port) as peer:
        await peer.send(upgrade_head("/ws/acme/desk/tok%2Fen?a=b%20c", host="voice.example.com"))
        await peer.read_to_end()
    [upgrade] = seen
    assert (upgrade.path, upgrade.query) == ("/ws/acme/desk/tok%2Fen", "a=b%20c")
    assert ("host", "voice.example.com") in upgrade.headers
    assert upgrade.client_host == "127.0.0.1"


def test_the_gateway_s_head_is_canonical_and_tells_nothing() -> None:
    upgrade = Upgrade(
        path="/ws/acme/desk/token",
        query="",
        headers=[
            ("connection", "keep-alive, Upgrade"),
            ("x-twilio-signature", "abc"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ],
        client_host="",
        take_descriptor=lambda: -1,
    )
    head = upgrade.canonical_head()
    assert b"\r\nConnection: Upgrade\r\n" in head
    assert b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" in head
    assert head.endswith(b"\r\n\r\n")
    assert b"token" not in head
    assert b"abc" not in head


class Taker:
    """Takes every socket, as a gateway would."""

    def __init__(self) -> None:
        self.taken: list[socket.socket] = []

    async def __call__(self, upgrade: Upgrade) -> Refusal | None:
        self.taken.append(socket.socket(fileno=upgrade.take_descriptor()))
        return None

    def close(self) -> None:
        for sock in self.taken:
            sock.close()


async def test_the_socket_lives_on_in_the_hands_of_the_gateway() -> None:
    taker = Taker()
    async with serving(app(), taker) as port, connected(port) as peer:
        await peer.send(upgrade_head("/ws/acme/desk"))
        await eventually(lambda: taker.taken, what="the hand-over")
        [theirs] = taker.taken
        await peer.send(b"a frame, sent early")
        theirs.setblocking(False)
        loop = asyncio.get_running_loop()
        assert await loop.sock_recv(theirs, 100) == b"a frame, sent early"
        await loop.sock_sendall(theirs, b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        assert (await peer.read_head()).startswith(b"HTTP/1.1 101")
        taker.close()
        assert await peer.read_to_end() == b""


async def test_a_gateway_that_took_a_refused_socket_cannot_use_it() -> None:
    taker = Taker()

    async def take_and_refuse(upgrade: Upgrade) -> Refusal | None:
        await taker(upgrade)
        return Refusal(503, "no_worker", "no gateway answered")

    async with serving(app(), take_and_refuse) as port, connected(port) as peer:
        await peer.send(upgrade_head("/ws/acme/desk"))
        # Ended although a duplicate is open: nothing of the late gateway's reaches the peer.
        assert (await peer.read_to_end()).startswith(b"HTTP/1.1 503 ")
        [theirs] = taker.taken
        with pytest.raises(BrokenPipeError):
            theirs.send(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        taker.close()


async def test_a_client_that_goes_away_during_the_check_does_no_harm() -> None:
    asked, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def check(upgrade: Upgrade) -> Refusal | None:
        asked.set()
        await go_on.wait()
        os.close(upgrade.take_descriptor())
        done.set()
        return Refusal(403, "x", "x")

    async with serving(app(), check) as port:
        async with connected(port) as peer:
            await peer.send(upgrade_head("/ws/acme/desk"))
            await asked.wait()
        go_on.set()
        await done.wait()
        async with connected(port) as peer:
            await peer.send(upgrade_head("/ws/acme/desk"))
            assert (await peer.read_to_end()).startswith(b"HTTP/1.1 403 ")


async def test_a_check_that_hangs_is_given_up() -> None:
    cancelled = asyncio.Event()

    async def check(_upgrade: Upgrade) -> Refusal | None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return None

    async with (
        serving(app(), check, check_timeout_s=0.05) as port,
        connected(port) as peer,
    ):
        await peer.send(upgrade_head("/ws/acme/desk"))
        answer = await peer.read_to_end()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert body_of(answer)["code"] == "overloaded"
    assert cancelled.is_set()


async def test_only_so_many_checks_run_at_once() -> None:
    running, go_on = 0, asyncio.Event()

    async def check(_upgrade: Upgrade) -> Refusal | None:
        nonlocal running
        running += 1
        await go_on.wait()
        return Refusal(403, "x", "x")

    async def knock(port: int) -> bytes:
        async with connected(port) as peer:
            await peer.send(upgrade_head("/ws/acme/desk"))
            return await peer.read_to_end()

    async with serving(app(), check) as port, asyncio.TaskGroup() as group:
        waiting = [group.create_task(knock(port)) for _ in range(edge.MAX_CHECKS)]
        await eventually(lambda: running == edge.MAX_CHECKS, what="all checks")
        answer = await knock(port)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert body_of(answer)["code"] == "overloaded"
        go_on.set()
        assert all(one.startswith(b"HTTP/1.1 403 ") for one in await asyncio.gather(*waiting))


async def test_a_check_that_fails_is_a_500_with_a_traceback_in_the_log() -> None:
    async def check(_upgrade: Upgrade) -> Refusal | None:
        raise RuntimeError("a bug")

    with capture_logs() as lines:
        async with serving(app(), check) as port, connected(port) as peer:
            await peer.send(upgrade_head("/ws/acme/desk"))
            answer = await peer.read_to_end()
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"a bug" not in answer
    assert lines[0]["event"] == "media upgrade check failed"


async def test_other_websocket_paths_are_the_application_s() -> None:
    async with (
        serving(app(), refuse) as port,
        websockets.connect(f"ws://127.0.0.1:{port}/other") as client,
    ):
        await client.send("hello")
        assert await client.recv() == "echo hello"


async def test_fifty_upgrades_leak_no_descriptor() -> None:
    taker = Taker()

    async def alternate(upgrade: Upgrade) -> Refusal | None:
        if upgrade.path.endswith("/in"):
            return await taker(upgrade)
        return await refuse(upgrade)

    async def visit(port: int, path: str) -> None:
        async with connected(port) as peer:
            before = len(taker.taken)
            await peer.send(upgrade_head(path))
            if path.endswith("/in"):
                await eventually(lambda: len(taker.taken) > before, what="the hand-over")
                taker.taken[-1].close()
            await peer.read_to_end()

    async with serving(app(), alternate) as port:
        await visit(port, "/ws/acme/in")
        await visit(port, "/ws/acme/out")
        before = open_descriptors()
        for number in range(50):
            await visit(port, "/ws/acme/in" if number % 2 else "/ws/acme/out")
        await eventually(lambda: open_descriptors() <= before, what="descriptors closed")


@pytest.mark.parametrize(
    "scenario",
    [
        test_a_head_above_the_limit_is_told_so,
        test_a_slow_head_is_closed_at_the_deadline,
        test_the_socket_lives_on_in_the_hands_of_the_gateway,
        test_a_gateway_that_took_a_refused_socket_cannot_use_it,
        test_a_client_that_goes_away_during_the_check_does_no_harm,
        test_other_websocket_paths_are_the_application_s,
        test_fifty_upgrades_leak_no_descriptor,
    ],
)
def test_the_same_on_uvloop(scenario: Callable[[], Coroutine[None, None, None]]) -> None:
    """The front runs on it, and its transports are its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())
