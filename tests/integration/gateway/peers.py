"""Everyone a gateway talks to, as real sockets: front, pool, workers, a Twilio-shaped caller."""

from __future__ import annotations

import array
import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.waiting import eventually
from trunkline.dispatch.channel import Channel, FrameReader, pack
from trunkline.dispatch.messages import (
    AgentSpec,
    BotFinished,
    BotStarted,
    CallFacts,
    CallStarted,
    Claim,
    ControlRefused,
    GatewayCommand,
    Handover,
    HandoverAnswer,
    Heartbeat,
    Hello,
    JournalAck,
    JournalEntry,
    Message,
    Refused,
    Reserved,
    SessionEnding,
    decode,
)
from trunkline.settings import Settings

M = TypeVar("M", bound=Message)

AGENT = AgentSpec(name="front-desk", kind="pipeline", pipeline={})
FRAME_BYTES = 160
LONGEST_START_S = 30.0

HEAD = (
    b"GET /ws/twilio/front-desk/token HTTP/1.1\r\n"
    b"Host: voice.example.test\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: %s\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)


def facts(call_id: str, **changes: object) -> CallFacts:
    """Facts of an inbound call."""
    return CallFacts(
        **{
            "call_id": call_id,
            "carrier": "twilio",
            "direction": "inbound",
            "agent": AGENT,
            **changes,
        }
    )


class Front:
    """A front: hands sockets over, listens to the journal, gives commands."""

    def __init__(self, settings: Settings, index: int = 0) -> None:
        self._settings = settings
        self._index = index
        self._ids = count(1)
        self._handover: socket.socket | None = None
        self._channel: Channel | None = None
        self._reader = FrameReader()
        self.entries: list[JournalEntry] = []
        self.answers: dict[int, ControlRefused] = {}
        self.hello: Hello | None = None
        self.is_lost = False
        self.acknowledges = True

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._handover = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._handover.setblocking(False)
        address = str(self._settings.handover_socket(self._index))
        async with asyncio.timeout(10):
            while self._handover.connect_ex(address):  # bound, and not listening yet
                await asyncio.sleep(0.01)
        _, self._channel = await loop.create_unix_connection(
            lambda: Channel(on_message=self._receive, on_closed=self._closed, sender="front"),
            str(self._settings.control_socket(self._index)),
        )
        await eventually(lambda: self.hello is not None, what="the gateway's hello")

    def _receive(self, message: Message) -> None:
        match message:
            case Hello():
                self.hello = message
            case JournalEntry():
                self.entries.append(message)
                if self.acknowledges:
                    self.acknowledge(message)
            case ControlRefused():
                self.answers[message.request_id] = message
            case _:
                raise AssertionError(message)

    def _closed(self, error: Exception | None) -> None:
        self.is_lost = True

    def acknowledge(self, entry: JournalEntry) -> None:
        assert self._channel is not None
        self._channel.send(
            JournalAck(gateway=entry.gateway, segment=entry.segment, number=entry.number)
        )

    async def hand_over(self, call: CallFacts, sock: socket.socket, head: bytes) -> HandoverAnswer:
        handover = Handover(handover_id=next(self._ids), head=head, facts=call)
        return await self.send_packet(pack(handover), [sock.fileno()])

    async def send_packet(self, packet: bytes, descriptors: list[int]) -> HandoverAnswer:
        assert self._handover is not None
        ancillary = (
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
            if descriptors
            else []
        )
        self._handover.sendmsg([packet], ancillary)
        async with asyncio.timeout(5):
            answer = await asyncio.get_running_loop().sock_recv(self._handover, 65536)
        ((kind, payload),) = FrameReader().feed(answer)
        message = decode(kind, payload)
        assert isinstance(message, HandoverAnswer)
        return message

    async def command(self, call_id: str, action: str, **fields: str) -> str:
        assert self._channel is not None
        request_id = next(self._ids)
        self._channel.send(
            GatewayCommand(request_id=request_id, call_id=call_id, action=action, **fields)
        )
        await eventually(lambda: request_id in self.answers, what="the command's answer")
        return self.answers[request_id].error

    def of(self, call_id: str, kind: str) -> list[JournalEntry]:
        return [entry for entry in self.entries if entry.call_id == call_id and entry.kind == kind]

    async def ended(self, call_id: str, within_s: float = 15.0) -> dict[str, object]:
        await eventually(
            lambda: self.of(call_id, "stream_ended"), within_s=within_s, what="stream_ended"
        )
        return self.of(call_id, "stream_ended")[0].data

    async def wait_for(self, call_id: str, kind: str, within_s: float = 15.0) -> JournalEntry:
        await eventually(lambda: self.of(call_id, kind), within_s=within_s, what=kind)
        return self.of(call_id, kind)[0]

    def close(self) -> None:
        if self._handover is not None:
            self._handover.close()
        if self._channel is not None:
            self._channel.close()


class Worker:
    """One worker in the test's own process. Echoes audio unless told not to."""

    def __init__(self, *, echoes: bool = True, beats: bool = True) -> None:
        self.echoes = echoes
        self.beats = beats
        self.channel: Channel | None = None
        self.call: CallStarted | None = None
        self.heard = bytearray()
        self.messages: list[Message] = []
        self.is_closed = False
        self.finishes = True
        self._offset_bytes = 0
        self._beat: asyncio.TimerHandle | None = None

    def connect(self) -> Channel:
        self.channel = Channel(
            on_message=self._receive,
            on_audio=self._receive_audio,
            on_closed=self._closed,
            sender="worker",
        )
        return self.channel

    def send(self, message: Message) -> None:
        assert self.channel is not None
        self.channel.send(message)

    def say(self, utterance: int, audio: bytes, offset_ms: int = 0) -> None:
        assert self.channel is not None
        self.channel.send_audio_out(utterance, offset_ms, audio)

    def _heartbeat(self) -> None:
        if self.beats and not self.is_closed:
            self.send(Heartbeat())
            self._beat = asyncio.get_running_loop().call_later(0.5, self._heartbeat)

    def _receive(self, message: Message) -> None:
        self.messages.append(message)
        if isinstance(message, CallStarted):
            self.call = message
            self.send(BotStarted())
            self._heartbeat()
        elif isinstance(message, SessionEnding) and self.finishes:
            self.send(BotFinished())

    def _receive_audio(self, payload: bytes) -> None:
        self.heard += payload
        if self.echoes:
            self.say(1, payload, self._offset_bytes // 8)
            self._offset_bytes += len(payload)

    def _closed(self, error: Exception | None) -> None:
        self.is_closed = True

    def of(self, kind: type[M]) -> list[M]:
        return [message for message in self.messages if isinstance(message, kind)]


class Pool:
    """The supervisor's pool, as the gateway sees it: answers claims with workers."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._servers: list[asyncio.Server] = []
        self._channels: list[Channel] = []
        self._numbers = count(1)
        self.workers: dict[str, Worker] = {}
        self.new_worker: Callable[[], Worker] = Worker
        self.claims: list[Claim] = []
        self.refuses = False
        self.address: str | None = None
        self.gate: asyncio.Event | None = None

    async def open(self) -> None:
        path = self._settings.pool_socket
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_unix_server(self._connect, str(path)))

    def _connect(self) -> Channel:
        channel = Channel(
            on_message=lambda message: self._receive(channel, message),
            on_closed=lambda error: None,
            sender="pool",
        )
        self._channels.append(channel)
        return channel

    def _receive(self, channel: Channel, message: Message) -> None:
        if not isinstance(message, Claim):
            return
        self.claims.append(message)
        if self.refuses:
            channel.send(
                Refused(request_id=message.request_id, code="no_worker", reason="none is left")
            )
        elif self.address is not None:
            channel.send(self._reserved(message, self.address))
        else:
            asyncio.get_running_loop().create_task(self._reserve(channel, message))

    async def _reserve(self, channel: Channel, claim: Claim) -> None:
        if self.gate is not None:
            await self.gate.wait()
        worker = self.workers[claim.call_id] = self.new_worker()
        address = str(self._settings.run_dir / f"worker-{next(self._numbers)}.sock")
        server = await asyncio.get_running_loop().create_unix_server(worker.connect, address)
        self._servers.append(server)
        channel.send(self._reserved(claim, address))

    @staticmethod
    def _reserved(claim: Claim, address: str) -> Reserved:
        return Reserved(
            request_id=claim.request_id,
            call_id=claim.call_id,
            worker_id="worker-1",
            address=address,
        )

    async def worker(self, call_id: str) -> Worker:
        """The call's worker, once it has been told of the call."""
        await eventually(
            lambda: call_id in self.workers and self.workers[call_id].call is not None,
            what="a started worker",
        )
        return self.workers[call_id]

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        for channel in self._channels:
            channel.close()
        for worker in self.workers.values():
            if worker.channel is not None:
                worker.channel.close()


class Caller:
    """A Twilio-shaped caller: plays at the pace of a telephone, echoes marks when due."""

    def __init__(self, websocket: ClientConnection, call_id: str) -> None:
        self.websocket = websocket
        self.stream_id = f"MZ{call_id}"
        self.call_id = call_id
        self.heard = bytearray()
        self.marks: list[str] = []
        self.clears = 0
        self.close_code: int | None = None
        self.echoes_marks = True
        self._free_at_s = 0.0
        self._pending: list[tuple[asyncio.TimerHandle, str]] = []
        self._chunk = 0

    async def start(self) -> None:
        await self.send({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        await self.send(
            {
                "event": "start",
                "sequenceNumber": "1",
                "streamSid": self.stream_id,
                "start": {
                    "accountSid": "AC1",
                    "streamSid": self.stream_id,
                    "callSid": f"CA{self.call_id}",
                    "tracks": ["inbound"],
                    "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                    "customParameters": {"agent_name": "front-desk"},
                },
            }
        )

    async def send(self, message: dict[str, object]) -> None:
        await self.websocket.send(json.dumps(message))

    async def send_audio(self, payload: bytes, timestamp_ms: int | None = None) -> None:
        if timestamp_ms is None:
            timestamp_ms = self._chunk * 20
        self._chunk += 1
        media = {
            "track": "inbound",
            "timestamp": str(timestamp_ms),
            "payload": base64.b64encode(payload).decode(),
        }
        await self.send({"event": "media", "streamSid": self.stream_id, "media": media})

    async def talk(self, audio: bytes) -> None:
        """Say ``audio`` in real time, 20 ms a message."""
        loop = asyncio.get_running_loop()
        begin_s = loop.time()
        for index, start in enumerate(range(0, len(audio), FRAME_BYTES)):
            await self.send_audio(audio[start : start + FRAME_BYTES])
            await asyncio.sleep(max(0.0, begin_s + (index + 1) * 0.02 - loop.time()))

    async def stop(self) -> None:
        await self.send(
            {"event": "stop", "streamSid": self.stream_id, "stop": {"callSid": f"CA{self.call_id}"}}
        )

    async def listen(self) -> None:
        """Take what the gateway sends until the socket closes, in whatever way."""
        with contextlib.suppress(ConnectionClosed):
            await self._listen()
        self.close_code = self.websocket.close_code

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        async for text in self.websocket:
            message = json.loads(text)
            match message["event"]:
                case "media":
                    payload = base64.b64decode(message["media"]["payload"])
                    self.heard += payload
                    self._free_at_s = max(self._free_at_s, loop.time()) + len(payload) / 8000
                case "mark":
                    name = message["mark"]["name"]
                    self.marks.append(name)
                    # One microsecond each, so that marks of one moment come back in order.
                    self._free_at_s = due_s = max(self._free_at_s, loop.time()) + 1e-6
                    self._pending.append((loop.call_at(due_s, self._echo, name), name))
                case "clear":
                    self.clears += 1
                    self._free_at_s = loop.time()
                    pending, self._pending = self._pending, []
                    for timer, name in pending:
                        if not timer.cancelled() and timer.when() > loop.time():
                            timer.cancel()
                            self._echo(name)

    def _echo(self, name: str) -> None:
        self._pending = [entry for entry in self._pending if entry[1] != name]
        if self.echoes_marks:
            mark = {"event": "mark", "streamSid": self.stream_id, "mark": {"name": name}}
            self._sending = asyncio.get_running_loop().create_task(self._send_quietly(mark))

    async def _send_quietly(self, message: dict[str, object]) -> None:
        try:
            await self.send(message)
        except Exception:  # noqa: BLE001 - the call may just have ended
            return


class GatewayProcess:
    """``python -m trunkline.gateway`` in a home of its own."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self._arguments = arguments
        self.settings = Settings(_env_file=None, trunkline_home=home)
        self._process: subprocess.Popen[bytes] | None = None
        self.log_path = home / "gateway.log"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it takes calls."""
        self.settings.trunkline_home.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "TRUNKLINE_HOME": str(self.settings.trunkline_home)}
        control = self.settings.control_socket(0)
        handover = self.settings.handover_socket(0)
        control.unlink(missing_ok=True)
        handover.unlink(missing_ok=True)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "trunkline.gateway", "--index", "0", *self._arguments],
                env=environment,
                stdout=log,
                stderr=log,
            )
        deadline_s = time.monotonic() + LONGEST_START_S
        while not self._is_up(handover):
            assert time.monotonic() < deadline_s, "no gateway that listens"
            time.sleep(0.02)

    def _is_up(self, path: Path) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log_path.read_text()
        return path.exists()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    @property
    def status(self) -> int | None:
        assert self._process is not None
        return self._process.poll()

    def log(self) -> str:
        return self.log_path.read_text()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


async def accept_pair() -> tuple[socket.socket, socket.socket]:
    """A connected TCP pair on loopback: the caller's end and the server's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        caller = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    return caller, server


def read_head(sock: socket.socket) -> bytes:
    """What the front has read of an upgrade: up to the empty line."""
    head = b""
    while b"\r\n\r\n" not in head:
        chunk = sock.recv(65536)
        assert chunk
        head += chunk
    return head


@asynccontextmanager
async def call(front: Front, facts_of_call: CallFacts) -> AsyncIterator[Caller]:
    """A caller whose socket the gateway has; it listens until the gateway closes."""
    caller_end, server_end = await accept_pair()
    loop = asyncio.get_running_loop()
    caller_end.setblocking(False)
    connecting = loop.create_task(
        connect(
            "ws://voice.example.test/ws",
            sock=caller_end,
            compression=None,
            ping_interval=None,
            close_timeout=2,
        ).__aenter__()
    )
    head = await loop.run_in_executor(None, read_head, server_end)
    answer = await front.hand_over(facts_of_call, server_end, canonical(head))
    server_end.close()
    assert answer.error == "", answer
    websocket = await connecting
    caller = Caller(websocket, facts_of_call.call_id)
    listening = loop.create_task(caller.listen())
    try:
        yield caller
    finally:
        await websocket.close()
        async with asyncio.timeout(10):
            await listening


def canonical(head: bytes) -> bytes:
    """The head that a front writes: one spelling of everything that matters."""
    lines = head.split(b"\r\n")
    key = next(
        line.split(b":", 1)[1].strip()
        for line in lines
        if line.lower().startswith(b"sec-websocket-key:")
    )
    return HEAD % key
