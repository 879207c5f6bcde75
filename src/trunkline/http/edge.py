"""The two protocol classes that uvicorn gets: a guarded request head, and the media upgrade.

``GuardedHttp`` is uvicorn's own HTTP protocol with a deadline and a size limit for the request
head, which uvicorn has neither of with httptools. ``media_edge`` makes the
``ws=`` class: paths under ``/ws/`` are checked while reading is paused and either refused with
plain HTTP or handed to a gateway with their open socket; every other path goes to uvicorn's own
WebSocket protocol.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import ClassVar, Protocol, cast

import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.auto import AutoWebSocketsProtocol
from uvicorn.server import ServerState

__all__ = ["GuardedHttp", "Refusal", "Upgrade", "UpgradeCheck", "media_edge"]

log = structlog.get_logger(__name__)

HEAD_DEADLINE_S = 5.0
HEAD_LIMIT_BYTES = 32 * 1024
MAX_CHECKS = 200  # upgrades being checked at once
CHECK_TIMEOUT_S = 2.0
MEDIA_PREFIX = "/ws/"


class GuardedHttp(HttpToolsProtocol):
    """Uvicorn's protocol; a head that is too slow or too large ends the connection."""

    head_deadline_s: ClassVar[float] = HEAD_DEADLINE_S

    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _head_tail = b""

    def connection_made(  # pyright: ignore[reportIncompatibleMethodOverride] - as uvicorn has it
        self, transport: asyncio.Transport
    ) -> None:
        """See ``asyncio.Protocol``."""
        super().connection_made(transport)
        self._expect_head()

    def _expect_head(self) -> None:
        self._head_bytes, self._head_tail = 0, b""
        self._head_timer = self.loop.call_later(self.head_deadline_s, self._head_is_late)

    def _head_is_complete(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._head_bytes == 0:  # a browser that opened a connection ahead; nothing was asked
            self.transport.close()
            return
        self._refuse_head(Refusal(408, "request_timeout", "the request head did not come in time"))

    def data_received(self, data: bytes) -> None:
        """Count the bytes of the head, then do as uvicorn does."""
        if self._head_timer is not None:
            # The head's end may lie across two segments, and a body may follow it in this one.
            end = (self._head_tail + data).find(b"\r\n\r\n")
            self._head_bytes += len(data) if end < 0 else end
            self._head_tail = data[-3:]
            if self._head_bytes > HEAD_LIMIT_BYTES:
                self._head_is_complete()
                self._refuse_head(Refusal(431, "head_too_large", "the request head is too large"))
                return
        super().data_received(data)

    def _refuse_head(self, refusal: Refusal) -> None:
        log.warning("request refused", status=refusal.status, code=refusal.code)
        if not self.transport.is_closing():
            self.transport.write(plain_response(refusal))
            self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins: from now on its head is expected."""
        super().on_message_begin()
        if self._head_timer is None:
            self._expect_head()
            self._head_bytes = 1  # of the segment that is being parsed

    def on_headers_complete(self) -> None:
        """The head is here."""
        self._head_is_complete()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self._head_is_complete()
        super().connection_lost(exc)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an upgrade is not accepted: an HTTP status and the API's error shape."""

    status: int
    code: str
    message: str
    log_fields: Mapping[str, object] = field(default_factory=dict[str, object])
    """For our log only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """A WebSocket upgrade before it is accepted."""

    path: str
    """Raw path without query."""

    query: str
    headers: list[tuple[str, str]]
    client_host: str
    take_descriptor: Callable[[], int]
    """A duplicate of the open socket's descriptor; the caller closes it.

    Raises ``OSError`` once the peer has gone.
    """

    def canonical_head(self) -> bytes:
        """What the gateway's WebSocket server reads instead of the peer's own head.

         picows wants exactly ``Connection: Upgrade``, where browsers and proxies send lists
        , and neither the token in the path nor any header of the carrier is the
         gateway's business.
        """
        key = self._header("sec-websocket-key")
        return (
            "GET / HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        ).encode("latin-1")

    def _header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")

    def problem(self) -> Refusal | None:
        """What RFC 6455 §4.2.1 demands of the head and this one lacks."""
        if self._header("sec-websocket-version") != "13":
            return Refusal(426, "invalid_request", "only WebSocket version 13 is spoken here")
        if len(self._header("sec-websocket-key")) != 24:
            return Refusal(400, "invalid_request", "the WebSocket key is missing or malformed")
        return None


class UpgradeCheck(Protocol):
    """Checks an upgrade and hands its socket to a gateway; None when that was done."""

    def __call__(self, upgrade: Upgrade) -> Awaitable[Refusal | None]:
        """Check one upgrade."""
        ...


def plain_response(refusal: Refusal) -> bytes:
    """A whole HTTP response in the API's error shape."""
    body = (
        f'{{"error":{{"code":"{refusal.code}","message":"{refusal.message}","details":{{}}}}}}'
    ).encode()
    phrase = HTTPStatus(refusal.status).phrase
    head = (
        f"HTTP/1.1 {refusal.status} {phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


def media_edge(
    check: UpgradeCheck, *, check_timeout_s: float = CHECK_TIMEOUT_S
) -> type[asyncio.Protocol]:
    """The class to give uvicorn as ``ws=``.

    Args:
        check: Asked for every upgrade under ``/ws/``.
        check_timeout_s: Seconds that it may take.
    """

    class MediaEdge(_MediaEdge):
        _check = staticmethod(check)
        _check_timeout_s = check_timeout_s

    return MediaEdge


class _WebSocketProtocol(Protocol):
    """How uvicorn makes its own WebSocket protocols."""

    def __call__(
        self, *, config: Config, server_state: ServerState, app_state: dict[str, object]
    ) -> asyncio.Protocol: ...


class _MediaEdge(asyncio.Protocol):
    _check: UpgradeCheck
    _check_timeout_s: float
    _checks_running = 0

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._config = config
        self._server_state = server_state
        self._app_state = app_state
        self._inner: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._is_checking = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast and no check: uvloop's transports are not subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        if self._inner is not None:
            self._inner.data_received(data)
            return
        if self._is_checking or transport is None:
            return
        target, headers = _parse_head(data)
        if not target.startswith(MEDIA_PREFIX):
            self._delegate(transport, data)
            return
        self._is_checking = True
        transport.pause_reading()
        # uvicorn's own set keeps the task: its shutdown waits for what is in it.
        task = asyncio.get_running_loop().create_task(self._admit(transport, target, headers))
        self._server_state.tasks.add(task)
        task.add_done_callback(self._server_state.tasks.discard)

    def _delegate(self, transport: asyncio.Transport, data: bytes) -> None:
        new_protocol = cast("_WebSocketProtocol", AutoWebSocketsProtocol)
        inner = new_protocol(
            config=self._config, server_state=self._server_state, app_state=self._app_state
        )
        self._inner = inner
        inner.connection_made(transport)
        # uvicorn makes us the transport's protocol after this call returns.
        asyncio.get_running_loop().call_soon(transport.set_protocol, inner)
        inner.data_received(data)

    async def _admit(
        self, transport: asyncio.Transport, target: str, headers: list[tuple[str, str]]
    ) -> None:
        peer = transport.get_extra_info("peername")
        path, _, query = target.partition("?")
        upgrade = Upgrade(
            path=path,
            query=query,
            headers=headers,
            client_host=str(peer[0]) if peer else "",
            take_descriptor=lambda: os.dup(transport.get_extra_info("socket").fileno()),
        )
        refusal = upgrade.problem() or await self._check_bounded(upgrade)
        if refusal is None:
            # The gateway owns a duplicate: abort closes ours without shutting the connection down.
            transport.abort()
            return
        log.info(
            "media upgrade refused",
            status=refusal.status,
            code=refusal.code,
            **refusal.log_fields,
        )
        if not transport.is_closing():
            transport.write(plain_response(refusal))
            # A gateway that was slow to answer may hold a duplicate: only a shutdown ends it, too.
            transport.write_eof()
            transport.close()

    async def _check_bounded(self, upgrade: Upgrade) -> Refusal | None:
        if _MediaEdge._checks_running >= MAX_CHECKS:
            return Refusal(503, "overloaded", "too many upgrades are being checked")
        _MediaEdge._checks_running += 1
        try:
            async with asyncio.timeout(self._check_timeout_s):
                return await self._check(upgrade)
        except TimeoutError:
            return Refusal(503, "overloaded", "the upgrade could not be checked in time")
        except Exception:
            log.exception("media upgrade check failed")
            return Refusal(500, "internal_error", "the upgrade could not be checked")
        finally:
            _MediaEdge._checks_running -= 1

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._inner is not None else None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._inner is not None:
            self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()


def _parse_head(data: bytes) -> tuple[str, list[tuple[str, str]]]:
    """Target and headers; uvicorn has parsed the head and written it out again in this shape."""
    lines = data.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    target = lines[0].split(" ", 2)[1]
    pairs = (line.partition(":") for line in lines[1:])
    return target, [(name.strip().lower(), value.strip()) for name, _, value in pairs]
