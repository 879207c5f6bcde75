"""The two doors in one process; hand-overs that are none are in ``tests/integration/gateway``."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.support.waiting import eventually
from trunkline.dispatch.channel import Channel, pack
from trunkline.dispatch.messages import (
    AgentSpec,
    CallFacts,
    ControlRefused,
    GatewayCommand,
    Handover,
    HandoverAnswer,
    Heartbeat,
    Hello,
    JournalAck,
    JournalEntry,
    LookedUp,
    LookUp,
    Message,
)
from trunkline.errors import UnknownCall
from trunkline.gateway.control import ControlServer, HandoverServer

FACTS = CallFacts(
    call_id="call-1",
    carrier="twilio",
    direction="inbound",
    agent=AgentSpec(name="front-desk", kind="pipeline"),
)


def entry(number: int) -> JournalEntry:
    return JournalEntry(
        gateway="gateway-0", segment=1, number=number, call_id="call-1", kind="dtmf", at=0.0
    )


class Gateway:
    """What the doors lead to."""

    name = "gateway-0"

    def __init__(self) -> None:
        self.taken: list[Handover] = []
        self.acknowledged: list[JournalAck] = []
        self.pending = [entry(1), entry(2)]

    def take_over(
        self, handover: Handover, sock: socket.socket, answer: Callable[[HandoverAnswer], None]
    ) -> None:
        self.taken.append(handover)
        sock.sendall(b"taken")
        sock.close()
        answer(HandoverAnswer(handover_id=handover.handover_id, calls=1))

    def command(self, command: GatewayCommand) -> str:
        if command.call_id != "call-1":
            raise UnknownCall(command.call_id)
        return "" if command.action == "end" else "invalid_request"

    def live_calls(self) -> list[str]:
        return ["call-1"]

    def unacknowledged(self) -> list[JournalEntry]:
        return self.pending

    def acknowledge(self, ack: JournalAck) -> None:
        self.acknowledged.append(ack)


class Front:
    def __init__(self) -> None:
        self.got: list[Message] = []
        self.is_lost = False
        self.channel = Channel(on_message=self.got.append, on_closed=self._closed, sender="front")

    def _closed(self, error: Exception | None) -> None:
        self.is_lost = True


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
async def server(tmp_path: Path, gateway: Gateway) -> AsyncIterator[ControlServer]:
    server = ControlServer(tmp_path / "control", gateway)
    await server.start()
    yield server
    await server.close()
    assert not (tmp_path / "control").exists()


async def connect(tmp_path: Path) -> Front:
    front = Front()
    loop = asyncio.get_running_loop()
    await loop.create_unix_connection(lambda: front.channel, str(tmp_path / "control"))
    return front


async def test_a_front_is_told_the_calls_then_what_it_missed_then_what_is_new(
    tmp_path: Path, gateway: Gateway, server: ControlServer
) -> None:
    front = await connect(tmp_path)
    await eventually(lambda: len(front.got) == 3, what="hello and two entries")
    server.push(entry(3))
    await eventually(lambda: len(front.got) == 4, what="the new one")
    assert front.got == [Hello(sender="gateway-0", calls=["call-1"]), entry(1), entry(2), entry(3)]
    ack = JournalAck(gateway="gateway-0", segment=1, number=3)
    front.channel.send(ack)
    await eventually(lambda: gateway.acknowledged == [ack], what="the acknowledgement")
    front.channel.close()


async def test_commands_are_answered(tmp_path: Path, server: ControlServer) -> None:
    front = await connect(tmp_path)
    for request_id, (call_id, action) in enumerate(
        [("call-1", "end"), ("call-1", "sing"), ("call-2", "end")]
    ):
        front.channel.send(GatewayCommand(request_id=request_id, call_id=call_id, action=action))
    await eventually(
        lambda: len([m for m in front.got if isinstance(m, ControlRefused)]) == 3, what="answers"
    )
    answers = [message.error for message in front.got if isinstance(message, ControlRefused)]
    assert answers == ["", "invalid_request", "unknown_call"]
    front.channel.close()


async def test_a_message_that_no_front_sends_ends_that_channel(
    tmp_path: Path, server: ControlServer
) -> None:
    front, other = await connect(tmp_path), await connect(tmp_path)
    front.channel.send(Heartbeat())
    await eventually(lambda: front.is_lost, what="the end")
    server.push(entry(3))
    await eventually(lambda: entry(3) in other.got, what="the other front's entry")
    other.channel.close()


async def test_a_front_that_does_not_read_is_cut_off(tmp_path: Path, server: ControlServer) -> None:
    front = await connect(tmp_path)
    await eventually(lambda: len(front.got) == 3, what="the greeting")
    front.channel._transport.pause_reading()  # noqa: SLF001 - a peer that does not read
    large = JournalEntry(
        gateway="gateway-0",
        segment=1,
        number=9,
        call_id="call-1",
        kind="turn",
        at=0.0,
        data={"text": "x" * 500_000},
    )
    for _ in range(40):
        server.push(large)
    front.channel._transport.resume_reading()  # noqa: SLF001
    await eventually(lambda: front.is_lost, what="the end")
    assert front.got.count(large) < 40


async def test_a_socket_is_handed_over(tmp_path: Path, gateway: Gateway) -> None:
    server = HandoverServer(tmp_path / "handover", gateway)
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as front:
        front.connect(str(tmp_path / "handover"))
        front.setblocking(False)
        handover = Handover(handover_id=7, head=b"GET /", facts=FACTS)
        socket.send_fds(front, [pack(handover)], [theirs.fileno()])
        async with asyncio.timeout(5):
            answer = await asyncio.get_running_loop().sock_recv(front, 65536)
        assert answer == pack(HandoverAnswer(handover_id=7, calls=1))
        assert ours.recv(100) == b"taken"
    assert gateway.taken == [handover]
    server.close()
    assert not (tmp_path / "handover").exists()


async def test_a_hand_over_that_its_front_has_given_up_is_dropped(
    tmp_path: Path, gateway: Gateway
) -> None:
    server = HandoverServer(tmp_path / "handover", gateway)
    ours, theirs = socket.socketpair()
    with ours:
        # The loop does not turn before the front is gone: the gateway was stopped.
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as front:
            front.connect(str(tmp_path / "handover"))
            handover = Handover(handover_id=7, head=b"GET /", facts=FACTS)
            socket.send_fds(front, [pack(handover)], [theirs.fileno()])
        theirs.close()
        ours.setblocking(False)
        async with asyncio.timeout(5):
            assert await asyncio.get_running_loop().sock_recv(ours, 100) == b""
    assert gateway.taken == []
    server.close()


async def test_a_front_tells_who_is_on_a_call(tmp_path: Path, server: ControlServer) -> None:
    front = await connect(tmp_path)
    await eventually(lambda: len(front.got) == 3, what="the greeting")
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(server.look_up("call-1", "CA1"))
        await eventually(lambda: isinstance(front.got[-1], LookUp), what="the question")
        front.channel.send(
            LookedUp(
                request_id=front.got[-1].request_id,
                from_number="+14155550100",
                to_number="+15005550006",
            )
        )
    assert asking.result() == ("+14155550100", "+15005550006")
    front.channel.close()
