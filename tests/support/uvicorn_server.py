"""An application on a real uvicorn with our two protocol classes, on a loopback port."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from tests.support.waiting import eventually
from trunkline.http.edge import CHECK_TIMEOUT_S, GuardedHttp, UpgradeCheck, media_edge

READ_WITHIN_S = 10.0


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@asynccontextmanager
async def serving(
    app: ASGIApp,
    check: UpgradeCheck,
    *,
    http: type[GuardedHttp] = GuardedHttp,
    check_timeout_s: float = CHECK_TIMEOUT_S,
) -> AsyncIterator[int]:
    """Serve until the context is left; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            app, http=http, ws=media_edge(check, check_timeout_s=check_timeout_s), log_config=None,
            lifespan="off", ws_per_message_deflate=False, timeout_graceful_shutdown=2,
        )  # fmt: skip
        server = _Server(config)
        running = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))
        await eventually(lambda: server.started or running.done(), what="uvicorn started")
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await running


@dataclass(slots=True)
class Peer:
    """The other end of a connection, byte by byte."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read_to_end(self) -> bytes:
        """Everything until the other side closes; a reset ends it, too."""
        found = b""
        async with asyncio.timeout(READ_WITHIN_S):
            with contextlib.suppress(ConnectionError):
                while part := await self.reader.read(65536):
                    found += part
        return found

    async def read_head(self) -> bytes:
        async with asyncio.timeout(READ_WITHIN_S):
            return await self.reader.readuntil(b"\r\n\r\n")


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Peer]:
    """A connection to a port of this machine."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def upgrade_head(path: str, *lines: str, host: str = "localhost") -> bytes:
    """The head of a WebSocket upgrade."""
    head = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        *(lines or ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")),
    ]
    return ("\r\n".join(head) + "\r\n\r\n").encode()
