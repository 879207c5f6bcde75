"""A carrier's WebSocket, adopted from the front. The only module that knows picows.

picows has no call for "this descriptor is a connection, and these bytes were read from it". Its
public ``ws_create_server`` passes unknown keywords on to ``loop.create_server``; ``GatewayLoop``
answers that call by handing the protocol factory back. The head is fed inside ``connection_made``,
before the loop can read: under uvloop bytes that arrive early would be parsed before the head
otherwise.

picows delivers frames and keeps few limits, so messages are joined and checked here.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Protocol, cast

import uvloop
from picows import (
    WSAutoPingStrategy,
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,  # pyright: ignore[reportUnknownVariableType] - its kwargs are not typed
)

from trunkline.errors import RemoteProtocolError

__all__ = [
    "CLOSE_ABNORMAL",
    "MAX_MESSAGE_BYTES",
    "GatewayLoop",
    "WebSocket",
    "WebSocketUser",
    "adopt",
]

MAX_MESSAGE_BYTES = 256 * 1024
"""Longest message, whole or joined from fragments; a carrier's longest is about 4 kB."""
CLOSE_ABNORMAL = 1006
"""The socket ended without a close frame (RFC 6455 §7.4.1); never sent."""

_UNSENT_LIMIT_BYTES = 64 * 1024  # until the session knows what two seconds of its audio are
_HANDSHAKE_TIMEOUT_S = 5.0
_PING_AFTER_IDLE_S = 10.0
_PONG_WITHIN_S = 5.0
_TCP_USER_TIMEOUT_MS = 10_000
_CLOSE_REPLY_WITHIN_S = 1.0
_READ_BUFFER_BYTES = 4096

# picows logs two lines at ERROR for each attack; what happened is in our own close code and one
# line of ours.
_SILENT = logging.getLogger("trunkline.gateway.picows")
_SILENT.setLevel(logging.CRITICAL + 1)

_TEXT, _BINARY, _CONTINUATION = WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION
_CLOSE, _PONG = WSMsgType.CLOSE, WSMsgType.PONG


class GatewayLoop(uvloop.Loop):
    """uvloop whose ``create_server(hand_back=True)`` returns the protocol factory, no server."""

    async def create_server(  # pyright: ignore[reportIncompatibleMethodOverride] - one more keyword
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        *args: object,
        hand_back: bool = False,
        **kwargs: object,
    ) -> object:
        """As uvloop's, unless ``hand_back`` is set."""
        if hand_back:
            return protocol_factory
        create = cast("Callable[..., Awaitable[object]]", super().create_server)
        return await create(protocol_factory, *args, **kwargs)


class WebSocketUser(Protocol):
    """Who gets a WebSocket's messages. Plain calls on the loop; none of them may block or raise."""

    def on_open(self, websocket: WebSocket) -> None:
        """The handshake is done."""
        ...

    def on_message(self, data: bytes | str) -> None:
        """One whole message: text as ``str``, binary as ``bytes``."""
        ...

    def on_closed(self, code: int, clean: bool) -> None:
        """Once, at the end: the peer's close code or 1006, and whether it sent a close frame."""
        ...


class WebSocket(WSListener):
    """One adopted connection. Owns the descriptor through its transport.

    Sending after the end is silently dropped: the peer may go at any moment, and ``on_closed``
    tells.
    """

    def __init__(self, user: WebSocketUser, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._user = user
        self._loop = loop
        self._transport: WSTransport | None = None
        self._fragments: list[bytes] = []
        self._fragments_type: WSMsgType | None = None
        self._fragments_bytes = 0
        self._closing = False
        self._closed = False
        self._peer_code: int | None = None
        self.was_opened = False
        """The handshake was done."""
        self.failure = ""
        """Why we ended the connection ourselves, for the log; empty otherwise."""

    @property
    def write_buffer_bytes(self) -> int:
        """Bytes that the kernel has not taken yet."""
        transport = self._transport
        return 0 if transport is None else transport.underlying_transport.get_write_buffer_size()

    def limit_unsent(self, limit_bytes: int) -> None:
        """Drop the connection once more than ``limit_bytes`` are unsent: the peer is gone."""
        if self._transport is not None:
            self._transport.underlying_transport.set_write_buffer_limits(high=limit_bytes)

    def send(self, message: bytes | str) -> None:
        """Send one message: ``str`` as text, ``bytes`` as binary."""
        if self._transport is not None and not self._closing:
            self._transport.send(_TEXT if isinstance(message, str) else _BINARY, message)

    def close(self, code: int) -> None:
        """Say goodbye with ``code``; the socket goes when the peer answers, or after a second."""
        if self._closing or self._transport is None:
            return
        self._closing = True
        self._transport.send_close(_close_code(code))
        self._loop.call_later(_CLOSE_REPLY_WITHIN_S, self.abort)

    def abort(self) -> None:
        """Drop the connection at once, with whatever is unsent."""
        self._closing = True
        if self._transport is not None and not self._closed:
            # A graceful disconnect waits for ever for a peer that does not read.
            self._transport.disconnect(graceful=False)

    # picows' callbacks

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The upgrade was answered."""
        self._transport = transport
        self.was_opened = True
        self.limit_unsent(_UNSENT_LIMIT_BYTES)
        self._user.on_open(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """One frame; picows has unmasked it and answered pings."""
        kind = frame.msg_type
        if self._closing and kind != _CLOSE:
            return
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            self._fail(1002, "reserved bits")  # no extension was negotiated (RFC 6455 §5.2)
        elif kind == _TEXT and frame.fin and self._fragments_type is None:
            self._deliver_text(frame)
        elif kind == _CLOSE:
            self._receive_close(transport, frame)
        elif kind in (_TEXT, _BINARY, _CONTINUATION):
            self._join(kind, frame)

    def _deliver_text(self, frame: WSFrame) -> None:
        try:
            text = frame.get_payload_as_utf8_text()
        except UnicodeDecodeError:
            self._fail(1007, "text that is not UTF-8")
            return
        self._user.on_message(text)

    def _join(self, kind: WSMsgType, frame: WSFrame) -> None:
        if (kind == _CONTINUATION) != (self._fragments_type is not None):
            self._fail(1002, "fragments out of order")
            return
        self._fragments_bytes += frame.payload_size
        if self._fragments_bytes > MAX_MESSAGE_BYTES:
            self._fail(1009, "message too long")
            return
        if self._fragments_type is None:
            self._fragments_type = kind
        self._fragments.append(frame.get_payload_as_bytes())
        if frame.fin:
            message, is_text = b"".join(self._fragments), self._fragments_type == _TEXT
            self._forget_fragments()
            self._deliver_joined(message, is_text)

    def _deliver_joined(self, message: bytes, is_text: bool) -> None:
        if not is_text:
            self._user.on_message(message)
            return
        try:
            text = message.decode()
        except UnicodeDecodeError:
            self._fail(1007, "text that is not UTF-8")
            return
        self._user.on_message(text)

    def _forget_fragments(self) -> None:
        self._fragments.clear()
        self._fragments_type = None
        self._fragments_bytes = 0

    def _receive_close(self, transport: WSTransport, frame: WSFrame) -> None:
        code = int(frame.get_close_code().value)
        self._peer_code = code or 1005
        if not self._closing:
            self._closing = True
            transport.send_close(_close_code(code or 1000))
        transport.disconnect()
        # disconnect() waits for the kernel to take what is unsent; a peer that does not read never
        # lets it.
        self._loop.call_later(_CLOSE_REPLY_WITHIN_S, self.abort)

    def _fail(self, code: int, reason: str) -> None:
        self.failure = reason
        self._forget_fragments()
        self.close(code)

    def pause_writing(self) -> None:
        """The peer has left more unsent than it may."""
        # The transport's high-water mark is our limit.
        self.failure = "peer does not read"
        self._loop.call_soon(self.abort)

    def resume_writing(self) -> None:
        """Too late: the connection is being dropped."""

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The socket is closed."""
        self._closed = self._closing = True
        self._transport = None
        self._forget_fragments()
        if self._peer_code is None:
            self._user.on_closed(CLOSE_ABNORMAL, False)
        else:
            self._user.on_closed(self._peer_code, True)


class _Adoption(asyncio.BufferedProtocol):
    """First protocol of an adopted connection: gives picows the bytes that the front had read."""

    def __init__(self, protocol: asyncio.BufferedProtocol, head: bytes) -> None:
        self._protocol = protocol
        self._head = head

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's are no subclasses of asyncio's
        protocol, rest = self._protocol, memoryview(self._head)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        while rest and not transport.is_closing():
            buffer = memoryview(protocol.get_buffer(-1)).cast("B")
            n_bytes = min(len(buffer), len(rest))
            buffer[:n_bytes] = rest[:n_bytes]
            protocol.buffer_updated(n_bytes)
            rest = rest[n_bytes:]


def _close_code(code: int) -> WSCloseCode:
    """Picows takes any int in C but is typed with its enum, which lacks private codes."""
    return code  # pyright: ignore[reportReturnType] - WSCloseCode is an IntEnum-like C enum


async def adopt(sock: socket.socket, head: bytes, user: WebSocketUser) -> None:
    """Make ``sock`` a WebSocket of ``user``, whose ``on_open`` is called before this returns.

    Takes the socket over: it is closed in the end, also on errors.

    Args:
        sock: An accepted TCP connection.
        head: The canonical upgrade head, then whatever came after it.
        user: Gets the messages.

    Raises:
        OSError: the connection is already gone.
        RemoteProtocolError: the head is no upgrade, or not whole; the peer has been answered.
    """
    loop = asyncio.get_running_loop()
    websocket = WebSocket(user, loop)
    try:
        sock.setblocking(False)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _TCP_USER_TIMEOUT_MS)
        factory = await _protocol_factory(websocket)
        transport, _ = await loop.connect_accepted_socket(lambda: _Adoption(factory(), head), sock)
    except BaseException:
        sock.close()
        raise
    if not websocket.was_opened:
        transport.close()
        raise RemoteProtocolError("the upgrade head was refused")


async def _protocol_factory(websocket: WebSocket) -> Callable[[], asyncio.BufferedProtocol]:
    def listener(request: WSUpgradeRequest) -> WSListener:
        return websocket

    loop = asyncio.get_running_loop()
    if not isinstance(loop, GatewayLoop):
        raise TypeError("adopting a connection needs a GatewayLoop")
    handed_back: object = await ws_create_server(
        listener,
        logger_name=_SILENT,
        websocket_handshake_timeout=_HANDSHAKE_TIMEOUT_S,
        enable_auto_ping=True,
        auto_ping_idle_timeout=_PING_AFTER_IDLE_S,
        auto_ping_reply_timeout=_PONG_WITHIN_S,
        auto_ping_strategy=WSAutoPingStrategy.PING_WHEN_IDLE,
        max_frame_size=MAX_MESSAGE_BYTES,
        read_buffer_init_size=_READ_BUFFER_BYTES,
        use_aiofastnet=False,
        hand_back=True,
    )
    return cast("Callable[[], asyncio.BufferedProtocol]", handed_back)
