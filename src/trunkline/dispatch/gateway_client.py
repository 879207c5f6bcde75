"""The front's end of one gateway: hands sockets over, sends commands, receives the journal.

Both connections are made again when either side was restarted. The
hand-over never blocks the front: one SEQPACKET message with one descriptor, answered within a
second, or the next gateway is tried.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from trunkline.calls.background import Background
from trunkline.dispatch.channel import Channel, FrameReader, pack
from trunkline.dispatch.messages import (
    CallFacts,
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
from trunkline.errors import ChannelError, DispatchError

__all__ = ["HANDOVER_TIMEOUT_S", "GatewayClient", "JournalSink", "NumberLookUp"]

log = structlog.get_logger(__name__)

HANDOVER_TIMEOUT_S = 1.0
COMMAND_TIMEOUT_S = 2.0
CONNECT_TIMEOUT_S = 5.0
RECONNECT_S = 0.2  # between attempts to reach a gateway that is restarting
RETRY_INTAKE_S = 0.5  # between attempts to store an entry while the database is away
MAX_ANSWER_BYTES = 4096
SEND_BUFFER_BYTES = 1 << 20  # facts with a long prompt must fit one datagram

JournalSink = Callable[[JournalEntry], Awaitable[bool]]
"""Takes one entry in; True once it is safe, False to try again later."""

NumberLookUp = Callable[[str, str], Awaitable[tuple[str, str]]]
"""(call_id, carrier_call_id) → (from_number, to_number)."""


class GatewayClient:
    """One gateway, as the front sees it.

    ``run`` keeps it connected until cancelled.

    Args:
        index: The gateway's number.
        handover_path: Its Unix socket for hand-overs.
        control_path: Its Unix socket for commands and journal.
        sink: Where journal entries go, one at a time and in order.
        look_up: Answers ``LookUp``.
        background: Runs look-ups beside the journal.
    """

    def __init__(
        self,
        *,
        index: int,
        handover_path: Path,
        control_path: Path,
        sink: JournalSink,
        look_up: NumberLookUp,
        background: Background,
    ) -> None:
        self.index = index
        self._handover_path = handover_path
        self._control_path = control_path
        self._sink = sink
        self._look_up = look_up
        self._background = background
        self._channel: Channel | None = None
        self._handover_socket: socket.socket | None = None
        self._ids = itertools.count(1)
        self._handovers: dict[int, asyncio.Future[HandoverAnswer]] = {}
        self._commands: dict[int, asyncio.Future[ControlRefused]] = {}
        self._arrived: asyncio.Queue[JournalEntry | None] = asyncio.Queue()
        self.calls: set[str] = set()
        """Calls with a live stream here."""
        self._connected = asyncio.Event()

    @property
    def is_connected(self) -> bool:
        """True once the gateway has said which calls it has."""
        return self._connected.is_set()

    @property
    def load(self) -> int:
        """Calls on it."""
        return len(self.calls)

    async def run(self) -> None:
        """Connect, serve, connect again."""
        while True:
            try:
                await self._serve_once()
            except (OSError, ChannelError) as error:
                log.debug("gateway not reachable", gateway=self.index, error=type(error).__name__)
            finally:
                self._disconnect()
            await asyncio.sleep(RECONNECT_S)

    async def _serve_once(self) -> None:
        loop = asyncio.get_running_loop()
        self._arrived = asyncio.Queue()
        channel = Channel(
            sender="front",
            on_message=self._received,
            on_closed=lambda _: self._arrived.put_nowait(None),
        )
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await loop.create_unix_connection(lambda: channel, str(self._control_path))
        self._channel = channel
        while (arrived := await self._arrived.get()) is not None:
            while not await self._sink(arrived):  # noqa: ASYNC110 - the database comes back unasked
                await asyncio.sleep(RETRY_INTAKE_S)
            if arrived.kind == "stream_ended" and arrived.data.get("how") != "replaced":
                self.calls.discard(arrived.call_id)
            channel.send(
                JournalAck(gateway=arrived.gateway, segment=arrived.segment, number=arrived.number)
            )

    def _received(self, message: Message) -> None:
        match message:
            case Hello():
                self.calls = set(message.calls)
                self._connected.set()
                log.info("gateway connected", gateway=self.index, calls=len(self.calls))
            case JournalEntry():
                self._arrived.put_nowait(message)
            case LookUp():
                self._background.start(self._answer_look_up(message), name="look-up")
            case ControlRefused():
                answer = self._commands.get(message.request_id)
                if answer is not None and not answer.done():
                    answer.set_result(message)
            case _:
                raise ChannelError(f"a gateway does not send {type(message).__name__}")

    async def _answer_look_up(self, asked: LookUp) -> None:
        """Beside the journal: a slow carrier must not hold up other calls' facts."""
        numbers = await self._look_up(asked.call_id, asked.carrier_call_id)
        if self._channel is not None:
            self._channel.send(
                LookedUp(request_id=asked.request_id, from_number=numbers[0], to_number=numbers[1])
            )

    def _disconnect(self) -> None:
        if self.is_connected:
            log.warning("gateway lost", gateway=self.index)
        self._connected.clear()
        if self._channel is not None:
            self._channel.abort()
            self._channel = None
        self._close_handover()
        for waiting in self._commands.values():
            if not waiting.done():
                waiting.set_exception(DispatchError("the gateway went away"))

    # commands

    async def command(self, call_id: str, action: str, *, by: str, reason: str) -> bool:
        """Do something to a live call; False when the gateway does not have it (any more)."""
        if self._channel is None or self._channel.is_closed:
            return False
        request_id = next(self._ids)
        answer: asyncio.Future[ControlRefused] = asyncio.get_running_loop().create_future()
        self._commands[request_id] = answer
        try:
            self._channel.send(
                GatewayCommand(
                    request_id=request_id, call_id=call_id, action=action, by=by, reason=reason
                )
            )
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                return not (await answer).error
        except (TimeoutError, DispatchError):
            return False
        finally:
            del self._commands[request_id]

    # hand-over

    async def hand_over(self, descriptor: int, head: bytes, facts: CallFacts) -> None:
        """Give the gateway an open socket; the caller still owns and closes its own descriptor.

        Raises:
            DispatchError: the gateway is away, full, or did not answer within a second.
        """
        # A gateway that has not said which calls it has would overwrite what we note of this one. A
        # front that has just started waits for that; its callers' sockets are worth a moment.
        try:
            async with asyncio.timeout(HANDOVER_TIMEOUT_S):
                await self._connected.wait()
        except TimeoutError:
            raise DispatchError(f"gateway {self.index} is not connected") from None
        sock = self._handover_connection()
        handover_id = next(self._ids)
        message = Handover(handover_id=handover_id, head=head, facts=facts)
        answer: asyncio.Future[HandoverAnswer] = asyncio.get_running_loop().create_future()
        self._handovers[handover_id] = answer
        try:
            socket.send_fds(sock, [pack(message)], [descriptor])
            async with asyncio.timeout(HANDOVER_TIMEOUT_S):
                answered = await answer
        except BlockingIOError:
            raise DispatchError("the gateway does not take hand-overs at the moment") from None
        except TimeoutError:
            self._close_handover()
            raise DispatchError("the gateway did not answer a hand-over") from None
        except OSError as error:
            answer.cancel()  # nobody waits for it any more
            self._close_handover()
            raise DispatchError(f"hand-over failed: {type(error).__name__}") from error
        finally:
            del self._handovers[handover_id]
        if answered.error:
            raise DispatchError(f"the gateway refused: {answered.error}")
        self.calls.add(facts.call_id)

    def _handover_connection(self) -> socket.socket:
        if self._handover_socket is not None:
            return self._handover_socket
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            sock.connect(str(self._handover_path))
        except OSError as error:
            sock.close()
            raise DispatchError(f"gateway {self.index} is not there") from error
        asyncio.get_running_loop().add_reader(sock, self._handover_readable)
        self._handover_socket = sock
        return sock

    def _handover_readable(self) -> None:
        sock = self._handover_socket
        if sock is None:
            return
        try:
            data = sock.recv(MAX_ANSWER_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close_handover()
            return
        try:
            ((kind, payload),) = FrameReader().feed(data)
            answer = decode(kind, payload)
        except (ChannelError, ValueError):
            answer = None
        if not isinstance(answer, HandoverAnswer):
            log.error("hand-over answer cannot be read", gateway=self.index)
            self._close_handover()
            return
        waiting = self._handovers.get(answer.handover_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def _close_handover(self) -> None:
        sock, self._handover_socket = self._handover_socket, None
        if sock is not None:
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()
        for waiting in self._handovers.values():
            if not waiting.done():
                waiting.set_exception(DispatchError("the gateway went away during a hand-over"))
