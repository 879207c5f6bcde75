"""The picows edge on real TCP pairs; hostile frames are in the integration tests."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from tests.support.descriptors import open_descriptors
from tests.support.waiting import eventually
from trunkline.errors import RemoteProtocolError
from trunkline.gateway.websocket import GatewayLoop, WebSocket, adopt

HEAD = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class User:
    def __init__(self) -> None:
        self.websocket: WebSocket | None = None
        self.messages: list[bytes | str] = []
        self.closed: list[tuple[int, bool]] = []

    def on_open(self, websocket: WebSocket) -> None:
        self.websocket = websocket

    def on_message(self, data: bytes | str) -> None:
        self.messages.append(data)

    def on_closed(self, code: int, clean: bool) -> None:
        self.closed.append((code, clean))


def frame(first: int, payload: bytes) -> bytes:
    return bytes([first, 0x80 | len(payload)]) + bytes(4) + payload


def pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    return peer, server


def run(test: Callable[[User, socket.socket], Awaitable[None]], extra: bytes = b"") -> User:
    """Run ``test`` with an adopted socket on a loop of the gateway's kind."""
    user = User()

    async def adopted() -> None:
        peer, server = pair()
        with peer:
            await adopt(server, HEAD + extra, user)
            await test(user, peer)
            await eventually(lambda: user.closed, what="the end")

    with asyncio.Runner(loop_factory=GatewayLoop) as runner:
        runner.get_loop()  # the first loop of a process keeps descriptors of its own
    before = open_descriptors()
    with asyncio.Runner(loop_factory=GatewayLoop) as runner:
        runner.run(adopted())
    assert open_descriptors() == before
    return user


def test_messages_arrive_whole_and_typed() -> None:
    async def test(user: User, peer: socket.socket) -> None:
        peer.sendall(frame(0x82, b"\xff\x00"))
        peer.sendall(frame(0x01, b"gr") + frame(0x89, b"ping"))
        peer.sendall(frame(0x00, b"\xc3") + frame(0x80, b"\xbc\xc3\x9f"))
        await eventually(lambda: len(user.messages) == 3, what="three messages")
        peer.sendall(frame(0x88, (1001).to_bytes(2, "big")))

    user = run(test, extra=frame(0x81, b"early"))
    assert user.messages == ["early", b"\xff\x00", "gr\u00fc\u00df"]
    assert user.closed == [(1001, True)]


def test_sending_and_closing() -> None:
    received = bytearray()

    async def test(user: User, peer: socket.socket) -> None:
        assert user.websocket is not None
        user.websocket.send("text")
        user.websocket.send(b"bytes")
        user.websocket.close(1012)
        user.websocket.send("too late")
        peer.setblocking(False)
        loop = asyncio.get_running_loop()
        while chunk := await loop.sock_recv(peer, 65536):
            received.extend(chunk)
            if received.endswith(b"\x88\x02" + (1012).to_bytes(2, "big")):
                peer.send(frame(0x88, (1012).to_bytes(2, "big")))

    user = run(test)
    assert received.startswith(b"HTTP/1.1 101 ")
    frames = received.partition(b"\r\n\r\n")[2]
    assert frames == b"\x81\x04text" + b"\x82\x05bytes" + b"\x88\x02" + (1012).to_bytes(2, "big")
    assert user.closed == [(1012, True)]


def test_a_peer_that_never_answers_a_close_is_dropped() -> None:
    async def test(user: User, peer: socket.socket) -> None:
        assert user.websocket is not None
        user.websocket.close(1000)

    assert run(test).closed == [(1006, False)]


def test_a_peer_that_does_not_read_is_dropped() -> None:
    async def test(user: User, peer: socket.socket) -> None:
        assert user.websocket is not None
        user.websocket.limit_unsent(10_000)
        for _ in range(400):
            user.websocket.send(bytes(60_000))
        assert user.websocket.write_buffer_bytes > 10_000

    user = run(test)
    assert user.closed == [(1006, False)]
    assert user.websocket is not None
    assert user.websocket.failure == "peer does not read"


@pytest.mark.parametrize("head", [b"GET / HTTP/1.1\r\n\r\n", HEAD[:40], b"\x00\xff" * 20])
def test_a_head_that_is_no_upgrade_is_refused(head: bytes) -> None:
    async def refused() -> None:
        peer, server = pair()
        with peer, pytest.raises(RemoteProtocolError):
            await adopt(server, head, User())

    with asyncio.Runner(loop_factory=GatewayLoop) as runner:
        runner.run(refused())


async def test_another_loop_cannot_adopt() -> None:
    peer, server = pair()
    with peer, pytest.raises(TypeError, match="GatewayLoop"):
        await adopt(server, HEAD, User())
    assert server.fileno() == -1
