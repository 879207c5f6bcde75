from __future__ import annotations

import array
import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.descriptors import open_descriptors
from tests.support.waiting import eventually
from trunkline.calls.background import Background
from trunkline.dispatch.channel import Channel, FrameReader, pack
from trunkline.dispatch.gateway_client import GatewayClient
from trunkline.dispatch.messages import (
    AgentSpec,
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
from trunkline.errors import DispatchError

HEAD = b"GET / HTTP/1.1\r\n\r\n"


def facts(call_id: str = "call-1", **changes: object) -> CallFacts:
    values = {
        "call_id": call_id,
        "carrier": "acme",
        "direction": "inbound",
        "agent": AgentSpec(name="desk", kind="module"),
        **changes,
    }
    return CallFacts(**values)  # type: ignore[arg-type]


class FakeGateway:
    """A gateway's two sockets: takes hand-overs, answers commands, tells a journal."""

    def __init__(self, folder: Path) -> None:
        self.handover_path, self.control_path = folder / "g.handover", folder / "g.control"
        self.calls: list[str] = []
        self.taken: list[tuple[Handover, list[int]]] = []
        self.received: list[Message] = []
        self.answers_handovers = True
        self.error = ""
        self.channels: list[Channel] = []
        self._server: asyncio.Server | None = None
        self._listener: socket.socket | None = None
        self._connections: list[socket.socket] = []

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self.control_path.unlink(missing_ok=True)
        self.handover_path.unlink(missing_ok=True)
        self._server = await loop.create_unix_server(self._new_channel, str(self.control_path))
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.setblocking(False)
        self._listener.bind(str(self.handover_path))
        self._listener.listen()
        loop.add_reader(self._listener, self._accept)

    def _new_channel(self) -> Channel:
        channel = Channel(
            on_message=self._on_message,
            on_closed=lambda _: None,
            hello=Hello(sender="gateway", calls=list(self.calls)),
        )
        self.channels.append(channel)
        return channel

    def _on_message(self, message: Message) -> None:
        self.received.append(message)
        if isinstance(message, GatewayCommand) and self.answers_handovers:
            self.channels[-1].send(ControlRefused(request_id=message.request_id, error=self.error))

    def _accept(self) -> None:
        assert self._listener is not None
        sock, _ = self._listener.accept()
        sock.setblocking(False)
        self._connections.append(sock)
        asyncio.get_running_loop().add_reader(sock, self._handover, sock)

    def _handover(self, sock: socket.socket) -> None:
        data, ancillary, flags, _ = sock.recvmsg(1 << 20, socket.CMSG_SPACE(4))
        if not data:
            asyncio.get_running_loop().remove_reader(sock)
            return
        assert not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
        descriptors = array.array("i")
        for _level, _type, received in ancillary:
            descriptors.frombytes(received)
        [(kind, payload)] = FrameReader().feed(data)
        message = decode(kind, payload)
        assert isinstance(message, Handover)
        self.taken.append((message, list(descriptors)))
        if self.answers_handovers:
            answer = HandoverAnswer(handover_id=message.handover_id, error=self.error)
            sock.send(pack(answer))

    def tell(
        self, number: int, kind: str = "turn", call_id: str = "call-1", **data: object
    ) -> None:
        self.channels[-1].send(
            JournalEntry(
                gateway="g", segment=1, number=number, call_id=call_id, kind=kind, at=0.0, data=data
            )
        )

    @property
    def acknowledged(self) -> list[int]:
        return [message.number for message in self.received if isinstance(message, JournalAck)]

    def close_descriptors(self) -> None:
        for _, descriptors in self.taken:
            for descriptor in descriptors:
                os.close(descriptor)
        self.taken.clear()

    async def stop(self) -> None:
        loop = asyncio.get_running_loop()
        for channel in self.channels:
            channel.abort()
        for sock in self._connections:
            loop.remove_reader(sock)
            sock.close()
        self._connections.clear()
        if self._server is not None and self._listener is not None:
            self._server.close()
            loop.remove_reader(self._listener)
            self._listener.close()
        self.close_descriptors()


class Sink:
    """Takes entries in once ``is_open``."""

    def __init__(self) -> None:
        self.entries: list[JournalEntry] = []
        self.tries = 0
        self.is_open = True

    async def __call__(self, entry: JournalEntry) -> bool:
        self.tries += 1
        if self.is_open:
            self.entries.append(entry)
        return self.is_open


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[FakeGateway]:
    made = FakeGateway(tmp_path)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
async def client(gateway: FakeGateway, sink: Sink) -> AsyncIterator[GatewayClient]:
    async def look_up(call_id: str, carrier_call_id: str) -> tuple[str, str]:
        return f"from {call_id}", f"to {carrier_call_id}"

    async with Background() as background:
        made = GatewayClient(
            index=0,
            handover_path=gateway.handover_path,
            control_path=gateway.control_path,
            sink=sink,
            look_up=look_up,
            background=background,
        )
        background.start(made.run(), name="gateway 0")
        yield made


async def test_it_is_connected_once_the_gateway_has_said_what_it_has(
    gateway: FakeGateway, client: GatewayClient
) -> None:
    assert not client.is_connected
    await eventually(lambda: client.is_connected, what="connected")
    assert client.calls == set()


async def test_a_socket_is_handed_over(gateway: FakeGateway, client: GatewayClient) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        await client.hand_over(theirs.fileno(), HEAD, facts(body={"prompt": "x" * 100_000}))
        [(message, [descriptor])] = gateway.taken
        assert message.head == HEAD
        assert message.facts.call_id == "call-1"
        with socket.socket(fileno=os.dup(descriptor)) as copy:
            copy.send(b"hello")
        assert ours.recv(10) == b"hello"
    assert client.calls == {"call-1"}
    assert client.load == 1


async def test_a_refusal_names_its_reason(gateway: FakeGateway, client: GatewayClient) -> None:
    gateway.error = "full"
    with socket.socket() as sock, pytest.raises(DispatchError, match="full"):
        await client.hand_over(sock.fileno(), HEAD, facts())
    assert client.calls == set()


async def test_a_gateway_that_does_not_answer_is_given_up_and_tried_anew(
    gateway: FakeGateway, client: GatewayClient
) -> None:
    gateway.answers_handovers = False
    with socket.socket() as sock:
        with pytest.raises(DispatchError, match="did not answer"):
            await client.hand_over(sock.fileno(), HEAD, facts())
        gateway.answers_handovers = True
        await client.hand_over(sock.fileno(), HEAD, facts("call-2"))
    assert client.calls == {"call-2"}


async def test_a_gateway_that_is_not_there(tmp_path: Path, sink: Sink) -> None:
    async def look_up(_call_id: str, _carrier_call_id: str) -> tuple[str, str]:
        return "", ""

    async with Background() as background:
        client = GatewayClient(
            index=3,
            handover_path=tmp_path / "no.handover",
            control_path=tmp_path / "no.control",
            sink=sink,
            look_up=look_up,
            background=background,
        )
        background.start(client.run(), name="gateway 3")
        with pytest.raises(DispatchError, match="gateway 3 is not connected"):
            await client.hand_over(0, HEAD, facts())
        assert not await client.command("call-1", "end", by="api", reason="completed")


async def test_hand_overs_leak_no_descriptor(gateway: FakeGateway, client: GatewayClient) -> None:
    with socket.socket() as sock:
        await client.hand_over(sock.fileno(), HEAD, facts())
        gateway.close_descriptors()
        before = open_descriptors()
        for number in range(50):
            gateway.error = "full" if number % 2 else ""
            if gateway.error:
                with pytest.raises(DispatchError):
                    await client.hand_over(sock.fileno(), HEAD, facts())
            else:
                await client.hand_over(sock.fileno(), HEAD, facts())
            gateway.close_descriptors()
        assert open_descriptors() <= before


async def test_commands_are_carried_out_or_not(gateway: FakeGateway, client: GatewayClient) -> None:
    await eventually(lambda: client.is_connected, what="connected")
    assert await client.command("call-1", "end", by="api", reason="completed")
    [command] = [one for one in gateway.received if isinstance(one, GatewayCommand)]
    assert (command.call_id, command.action, command.by, command.reason) == (
        "call-1",
        "end",
        "api",
        "completed",
    )
    gateway.error = "no such call"
    assert not await client.command("call-2", "end", by="api", reason="completed")


async def test_a_command_ends_with_the_connection(
    gateway: FakeGateway, client: GatewayClient
) -> None:
    await eventually(lambda: client.is_connected, what="connected")
    gateway.answers_handovers = False
    asking = asyncio.get_running_loop().create_task(
        client.command("call-1", "end", by="api", reason="completed")
    )
    await eventually(
        lambda: any(isinstance(one, GatewayCommand) for one in gateway.received), what="the command"
    )
    gateway.channels[-1].abort()
    assert not await asking


async def test_entries_are_acknowledged_in_order_once_they_are_safe(
    gateway: FakeGateway, client: GatewayClient, sink: Sink
) -> None:
    await eventually(lambda: client.is_connected, what="connected")
    sink.is_open = False
    gateway.tell(1)
    gateway.tell(2)
    await eventually(lambda: sink.tries >= 2, what="a second try")
    assert gateway.acknowledged == []
    sink.is_open = True
    await eventually(lambda: gateway.acknowledged == [1, 2], what="both acknowledged")
    assert [entry.number for entry in sink.entries] == [1, 2]


async def test_an_ended_stream_is_no_live_call_but_a_replaced_one_is(
    gateway: FakeGateway, client: GatewayClient
) -> None:
    with socket.socket() as sock:
        await client.hand_over(sock.fileno(), HEAD, facts())
    gateway.tell(1, "stream_ended", how="replaced")
    await eventually(lambda: gateway.acknowledged == [1], what="acknowledged")
    assert client.calls == {"call-1"}
    gateway.tell(2, "stream_ended", how="stop")
    await eventually(lambda: client.calls == set(), what="the call gone")


async def test_a_look_up_is_answered(gateway: FakeGateway, client: GatewayClient) -> None:
    await eventually(lambda: client.is_connected, what="connected")
    gateway.channels[-1].send(LookUp(request_id=7, call_id="call-1", carrier_call_id="CA1"))
    await eventually(
        lambda: any(isinstance(one, LookedUp) for one in gateway.received), what="the answer"
    )
    [answer] = [one for one in gateway.received if isinstance(one, LookedUp)]
    assert (answer.request_id, answer.from_number, answer.to_number) == (7, "from call-1", "to CA1")


async def test_a_gateway_that_was_restarted_is_found_again(
    gateway: FakeGateway, client: GatewayClient
) -> None:
    with socket.socket() as sock:
        await client.hand_over(sock.fileno(), HEAD, facts())
        await gateway.stop()
        await eventually(lambda: not client.is_connected, what="lost")
        gateway.calls = ["call-9"]
        await gateway.start()
        await eventually(lambda: client.is_connected, what="connected again")
        assert client.calls == {"call-9"}
        await client.hand_over(sock.fileno(), HEAD, facts("call-2"))
    assert client.calls == {"call-9", "call-2"}


async def test_nonsense_from_a_gateway_ends_the_connection_and_it_is_made_again(
    gateway: FakeGateway, client: GatewayClient
) -> None:
    await eventually(lambda: client.is_connected, what="connected")
    gateway.channels[-1].send(JournalAck(gateway="g", segment=1, number=1))
    await eventually(lambda: len(gateway.channels) == 2 and client.is_connected, what="a new one")
