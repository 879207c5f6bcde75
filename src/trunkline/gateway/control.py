"""The gateway's two doors: sockets come in by one; commands come and the journal goes by the other.

Both are Unix sockets in the 0700 run folder, and a peer of another user is turned away. A hand-over
is one SEQPACKET packet, framed as on a channel (``channel.pack``), with one descriptor; the answer
goes back on the same connection in the same form. Several fronts may be connected at once, since a
new one is ready before the old one stops.
"""

from __future__ import annotations

import array
import asyncio
import os
import select
import socket
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import Protocol, cast

import structlog

from trunkline.dispatch.channel import Channel, FrameReader, pack
from trunkline.dispatch.messages import (
    CHANNEL_VERSION,
    ControlRefused,
    GatewayCommand,
    Handover,
    HandoverAnswer,
    Hello,
    JournalAck,
    JournalEntry,
    LookedUp,
    LookUp,
    Message,
    decode,
)
from trunkline.dispatch.unix_socket import listen, peer_pid, unlink
from trunkline.errors import ChannelError, TrunklineError

__all__ = ["MAX_PACKET_BYTES", "ControlServer", "Controlled", "HandoverServer"]

log = structlog.get_logger(__name__)

MAX_PACKET_BYTES = 256 * 1024
"""Longest hand-over: a head of 32 kB and the call's facts."""
_MAX_DESCRIPTORS = 4
_MAX_FRONTS = 16
_LOOK_UP_WITHIN_S = 2.0
_UNREAD_LIMIT_BYTES = 8 << 20  # a front so far behind is cut off; the journal keeps everything


class Controlled(Protocol):
    """What the doors need of the gateway."""

    name: str

    def take_over(
        self, handover: Handover, sock: socket.socket, answer: Callable[[HandoverAnswer], None]
    ) -> None:
        """Make a session of the socket, which is the gateway's now, and answer."""
        ...

    def command(self, command: GatewayCommand) -> str:
        """Carry out a command; returns an error code, or nothing."""
        ...

    def live_calls(self) -> Sequence[str]:
        """Calls whose stream is here."""
        ...

    def unacknowledged(self) -> Iterable[JournalEntry]:
        """Entries that a front may not have."""
        ...

    def acknowledge(self, ack: JournalAck) -> None:
        """A front has entries."""
        ...


class HandoverServer:
    """Takes over carriers' sockets. Must be closed.

    Raises:
        OSError: the socket cannot be bound.
    """

    def __init__(self, path: Path, gateway: Controlled) -> None:
        self._path = path
        self._gateway = gateway
        self._loop = asyncio.get_running_loop()
        self._fronts: set[socket.socket] = set()
        unlink(path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self._listener.setblocking(False)
        self._listener.bind(str(path))
        self._listener.listen(_MAX_FRONTS)
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        try:
            front, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        if peer_pid(front) is None or len(self._fronts) >= _MAX_FRONTS:
            log.warning("hand-over connection refused")
            front.close()
            return
        front.setblocking(False)
        self._fronts.add(front)
        self._loop.add_reader(front, self._receive, front)

    def _receive(self, front: socket.socket) -> None:
        try:
            packet, descriptors, flags = _receive_packet(front)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._forget(front)
            return
        if not packet and not descriptors:
            self._forget(front)
            return
        try:
            handover = _parse(packet, descriptors, flags)
        except ChannelError as error:
            for descriptor in descriptors:
                os.close(descriptor)
            log.warning("hand-over refused", reason=error.reason)
            self._answer(front, HandoverAnswer(handover_id=0, error="invalid_handover"))
            return
        sock = socket.socket(fileno=descriptors[0])
        if _is_gone(front):
            # We were stopped, and the front has given up on us: its caller was refused long ago.
            log.warning("stale hand-over dropped", call_id=handover.facts.call_id)
            sock.close()
            return
        self._gateway.take_over(handover, sock, lambda answer: self._answer(front, answer))

    def _answer(self, front: socket.socket, answer: HandoverAnswer) -> None:
        if front not in self._fronts:
            return
        try:
            front.send(pack(answer))
        except OSError as error:
            # The front counts a missing answer as a refusal after a second; nothing else can be
            # done here.
            log.warning("hand-over answer not sent", error=error.strerror)

    def _forget(self, front: socket.socket) -> None:
        self._loop.remove_reader(front)
        self._fronts.discard(front)
        front.close()

    def close(self) -> None:
        """Take no more sockets."""
        self._loop.remove_reader(self._listener)
        self._listener.close()
        unlink(self._path)
        for front in list(self._fronts):
            self._forget(front)


def _is_gone(front: socket.socket) -> bool:
    """Whether the other end was closed, although packets of it are still to be read."""
    poll = select.poll()
    poll.register(front, select.POLLRDHUP | select.POLLHUP)
    return bool(poll.poll(0))


def _receive_packet(front: socket.socket) -> tuple[bytes, list[int], int]:
    room = socket.CMSG_SPACE(_MAX_DESCRIPTORS * array.array("i").itemsize)
    packet, ancillary, flags, _ = front.recvmsg(MAX_PACKET_BYTES, room, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return packet, list(descriptors), flags


def _parse(packet: bytes, descriptors: list[int], flags: int) -> Handover:
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        raise ChannelError("the packet was cut off")
    if len(descriptors) != 1:
        raise ChannelError(f"{len(descriptors)} descriptors instead of one")
    frames = list(FrameReader().feed(packet))
    if len(frames) != 1:
        raise ChannelError("not one whole frame")
    message = decode(*frames[0])
    if not isinstance(message, Handover):
        raise ChannelError("not a hand-over")
    if message.version != CHANNEL_VERSION:
        raise ChannelError(f"hand-over version {message.version}")
    return message


class ControlServer:
    """Takes the fronts' commands and tells them the journal. Must be started and closed."""

    def __init__(self, path: Path, gateway: Controlled) -> None:
        self._path = path
        self._gateway = gateway
        self._channels: set[Channel] = set()
        self._server: asyncio.Server | None = None
        self._request_ids = count(1)
        self._look_ups: dict[int, asyncio.Future[LookedUp]] = {}

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the socket cannot be bound.
        """
        sock = listen(self._path)
        self._server = await asyncio.get_running_loop().create_unix_server(
            self._new_channel, sock=sock
        )

    def _new_channel(self) -> asyncio.Protocol:
        return _FrontChannel(self._gateway, self._channels, self._looked_up)

    def push(self, entry: JournalEntry) -> None:
        """Tell every front that is connected."""
        for channel in list(self._channels):
            channel.send(entry)
            if channel.unsent_bytes > _UNREAD_LIMIT_BYTES:
                self._channels.discard(channel)
                channel.abort()
                log.warning("front does not read its control channel")

    async def look_up(self, call_id: str, carrier_call_id: str) -> tuple[str, str]:
        """Ask a front who is on a call; empty numbers when none answers within 2 s."""
        request_id = next(self._request_ids)
        answer: asyncio.Future[LookedUp] = asyncio.get_running_loop().create_future()
        self._look_ups[request_id] = answer
        asked = LookUp(request_id=request_id, call_id=call_id, carrier_call_id=carrier_call_id)
        try:
            for channel in self._channels:
                channel.send(asked)
            async with asyncio.timeout(_LOOK_UP_WITHIN_S):
                found = await answer
        except TimeoutError:
            log.warning("caller look-up not answered", call_id=call_id)
            return "", ""
        finally:
            del self._look_ups[request_id]
        return found.from_number, found.to_number

    def _looked_up(self, message: LookedUp) -> None:
        answer = self._look_ups.get(message.request_id)
        if answer is not None and not answer.done():
            answer.set_result(message)

    async def close(self) -> None:
        """Close the listener and all channels."""
        if self._server is not None:
            self._server.close()
        for channel in list(self._channels):
            channel.close()
        self._channels.clear()
        unlink(self._path)


class _FrontChannel(Channel):
    """One front: told everything unacknowledged after its ``Hello``, then every new entry."""

    def __init__(
        self,
        gateway: Controlled,
        channels: set[Channel],
        looked_up: Callable[[LookedUp], None],
    ) -> None:
        super().__init__(
            on_message=self._receive,
            on_closed=self._lost,
            hello=Hello(sender=gateway.name, calls=list(gateway.live_calls())),
        )
        self._gateway = gateway
        self._channels = channels
        self._looked_up = looked_up

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        sock = transport.get_extra_info("socket")
        if peer_pid(sock) is None or len(self._channels) >= _MAX_FRONTS:
            log.warning("control connection refused")
            cast("asyncio.Transport", transport).abort()
            return
        super().connection_made(transport)

    def _receive(self, message: Message) -> None:
        match message:
            case Hello():
                for entry in self._gateway.unacknowledged():
                    self.send(entry)
                self._channels.add(self)
            case LookedUp():
                self._looked_up(message)
            case JournalAck():
                self._gateway.acknowledge(message)
            case GatewayCommand():
                self.send(ControlRefused(request_id=message.request_id, error=self._obey(message)))
            case _:
                self.fail(ChannelError(f"{type(message).__name__} on a control channel"))

    def _obey(self, command: GatewayCommand) -> str:
        try:
            return self._gateway.command(command)
        except TrunklineError as error:
            return error.code

    def _lost(self, error: Exception | None) -> None:
        self._channels.discard(self)
        if isinstance(error, ChannelError):
            log.warning("control channel broken", reason=error.reason)
