"""A small server as a carrier sees it: webhooks that answer with markup, and a media socket.

For tests of what calls a server; it checks nothing itself, and keeps what came for tests to check.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

Answer = Callable[["Received"], Awaitable[Response] | Response]
Talk = Callable[["Stream"], Awaitable[None]]


@dataclass(frozen=True)
class Received:
    """One HTTP request as it came."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def fields(self) -> dict[str, str]:
        text = self.query if self.method == "GET" else self.body.decode()
        return dict(parse_qsl(text, keep_blank_values=True))


@dataclass
class Stream:
    """One media socket."""

    socket: WebSocket
    headers: dict[str, str]
    path: str
    messages: list[dict[str, object]] = field(default_factory=list)
    raw: list[str | bytes] = field(default_factory=list)
    close_code: int | None = None

    async def receive(self) -> dict[str, object] | None:
        """Return the next message that is a JSON object; None when the socket is closed."""
        while True:
            try:
                event = await self.socket.receive()
            except (WebSocketDisconnect, RuntimeError):
                return None
            if event["type"] == "websocket.disconnect":
                self.close_code = event.get("code")
                return None
            data = event.get("text") if event.get("text") is not None else event.get("bytes")
            self.raw.append(data)
            with contextlib.suppress(ValueError, TypeError):
                message = json.loads(data)
                if isinstance(message, dict):
                    self.messages.append(message)
                    return message

    async def receive_until(self, event: str) -> dict[str, object]:
        """Read until a message of that kind has come."""
        while (message := await self.receive()) is not None:
            if message.get("event") == event:
                return message
        raise AssertionError(f"the socket was closed before {event!r} came")

    @property
    def stream_id(self) -> str:
        return next(str(each["streamSid"]) for each in self.messages if each["event"] == "start")

    async def send(self, message: dict[str, object]) -> None:
        await self.socket.send_text(json.dumps(message))

    def events(self) -> list[object]:
        return [message["event"] for message in self.messages]


@dataclass
class BotServer:
    """The running server. ``answer`` and ``talk`` may be replaced at any time."""

    url: str
    answer: Answer
    talk: Talk
    received: list[Received] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    refuse_upgrade: bool = False

    def of(self, path: str) -> list[Received]:
        return [each for each in self.received if each.path == path]


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def read_to_the_end(stream: Stream) -> None:
    """Take everything, say nothing."""
    while await stream.receive() is not None:
        pass


def markup(text: str) -> Response:
    return Response(text, media_type="application/xml")


@asynccontextmanager
async def bot_server(answer: Answer, talk: Talk = read_to_the_end) -> AsyncIterator[BotServer]:
    """Serve on a free loopback port until the context is left."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        served = BotServer(f"http://127.0.0.1:{listener.getsockname()[1]}", answer, talk)

        async def respond(request: Request) -> Response:
            received = Received(
                request.method,
                request.url.path,
                request.url.query,
                dict(request.headers),
                await request.body(),
            )
            served.received.append(received)
            answered = served.answer(received)
            return answered if isinstance(answered, Response) else await answered

        async def stream(socket: WebSocket) -> None:
            if served.refuse_upgrade:
                await socket.close()  # before accept: HTTP 403
                return
            await socket.accept()
            opened = Stream(socket, dict(socket.headers), socket.url.path)
            served.streams.append(opened)
            await served.talk(opened)
            with contextlib.suppress(RuntimeError):
                await socket.close()

        app = Starlette(
            routes=[
                WebSocketRoute("/{path:path}", stream),
                Route("/{path:path}", respond, methods=["GET", "POST", "PUT", "DELETE"]),
            ]
        )
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            ws="websockets-sansio",
            timeout_graceful_shutdown=1,
        )
        server = _Server(config)
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(server.serve(sockets=[listener]))
            try:
                yield served
            finally:
                server.should_exit = True
                await serving
