"""The media socket from the carrier's side: audio and marks in real time, faults on request."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypedDict
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from trunkline.simulator.contract import StreamReport, Violation
from trunkline.simulator.faults import Fault, Faults
from trunkline.simulator.line import Line, LineTick

__all__ = [
    "ClearSent",
    "Dialing",
    "KeysSent",
    "MarkSent",
    "MediaConnection",
    "MediaSent",
    "MediaTalk",
    "ServerMessage",
    "StopSent",
    "Words",
]

_OPEN_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 2.0
_OUTBOX_MESSAGES = 150  # three seconds of audio: what a server may lag before audio is thrown away
_LONGEST_MESSAGE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaSent:
    """The server wants audio played."""

    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkSent:
    """The server wants to know when everything before has been played."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearSent:
    """The server wants what has not been played dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysSent:
    """The server presses keys."""

    digits: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopSent:
    """The server ends the stream by a message, where the carrier has one for it."""


ServerMessage: TypeAlias = MediaSent | MarkSent | ClearSent | KeysSent | StopSent


class MediaTalk(Protocol):
    """A carrier's end of one stream, without its socket: messages out, strict reading in."""

    stream_id: str
    violations: list[Violation]

    def opening(self) -> Sequence[str]:
        """Return the messages before ``start``."""
        ...

    def start(self) -> str:
        """Return ``start``."""
        ...

    def media(self, payload: bytes) -> str | bytes:
        """Return the caller's next audio."""
        ...

    def skip(self, payload_bytes: int) -> None:
        """Count audio that was thrown away: its time has passed."""
        ...

    def dtmf(self, digit: str) -> str | None:
        """Return the message for a key, if there is one."""
        ...

    def mark(self, name: str) -> str:
        """Return the word that a mark has been played."""
        ...

    def cleared(self, marks: Sequence[str]) -> Sequence[str]:
        """Return the answer to a clear that has dropped ``marks``."""
        ...

    def ending(self) -> Sequence[str]:
        """Return the messages before the carrier closes the socket."""
        ...

    def receive(self, data: str | bytes) -> ServerMessage | None:
        """Read one message of the server; None, and a violation, for what is ignored."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialing:
    """How a socket is opened."""

    url: str
    headers: Mapping[str, str]
    """Of the upgrade: what proves it, and ``User-Agent``."""
    via: str | None = None
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The carrier's words for what goes wrong with a socket, and what nonsense it may send."""

    refused: str
    lost: str
    slow: str
    garbage: Sequence[str | bytes]


class _Where(TypedDict, total=False):
    host: str
    port: int


class MediaConnection:
    """One media stream. ``run`` lasts as long as it; the call's clock calls ``tick``.

    Args:
        media: The stream's messages.
        line: The call's audio.
        dialing: How to open the socket.
        words: What the carrier calls what goes wrong.
        parameters: What the markup gives the stream, for the report.
        faults: What shall go wrong.
    """

    def __init__(
        self,
        *,
        media: MediaTalk,
        line: Line,
        dialing: Dialing,
        words: Words,
        parameters: Mapping[str, str],
        faults: Faults,
    ) -> None:
        self.violations = media.violations
        self.pressed: list[str] = []
        """Keys that the server has pressed."""
        self._words = words
        self._parameters = dict(parameters)
        self._media = media
        self._line = line
        self._dialing = dialing
        self._faults = faults
        self._outbox: asyncio.Queue[str | bytes | None] = asyncio.Queue(_OUTBOX_MESSAGES)
        self._socket: ClientConnection | None = None
        self._is_started = False
        self._is_deaf = asyncio.Event()
        self._was_dropped = False
        self._stream_ms = 0
        self._sent_frames = 0
        self._discarded_frames = 0

    async def run(self, stopping: asyncio.Event) -> StreamReport:
        """Open the socket and talk until either side ends the stream.

        Args:
            stopping: Set when the call ends or gets another document: the stream is then stopped.
        """
        try:
            socket = await self._open()
        except InvalidStatus as error:
            status = error.response.status_code
            self._violate(self._words.refused, f"the upgrade was answered with HTTP {status}")
            return self._report(refused_status=status)
        except (InvalidHandshake, OSError, TimeoutError) as error:
            self._violate(self._words.refused, f"no media socket: {type(error).__name__}")
            return self._report(refused_status=0)
        try:
            ended_by = await self._talk(socket, stopping)
        finally:
            self._socket = None
            self._line.playout.drop()
            await socket.close()
        if socket.close_code == 1006 and ended_by == "server":
            self._violate(self._words.lost, "the media socket was lost without a close frame")
        return self._report(close_code=socket.close_code, ended_by=ended_by)

    def tick(self, tick: LineTick) -> None:
        """Send what one frame of time brought about."""
        if self._socket is None or not self._is_started:
            return
        self._stream_ms += self._line.frame_ms
        for name in tick.marks:
            self._post(self._media.mark(name))
        for message in map(self._media.dtmf, tick.digits):
            if message is not None:
                self._post(message)
        self._send_audio(tick.said)
        if self._stream_ms - self._line.frame_ms < self._faults.after_ms <= self._stream_ms:
            self._break()

    def _send_audio(self, said: bytes) -> None:
        if self._outbox.full():
            if not self._discarded_frames:
                self._violate(self._words.slow, "the server reads too slowly; audio is thrown away")
            self._discarded_frames += 1
            self._media.skip(len(said))
            return
        self._sent_frames += 1
        odd = self._faults.has(Fault.ODD_FRAMES) and self._stream_ms > self._faults.after_ms
        # 7 bytes are no whole number of milliseconds; cut elsewhere in each frame.
        at = 7 + self._sent_frames % 50 if odd else 0
        for payload in filter(None, (said[:at], said[at:])):
            self._post(self._media.media(payload))

    def _break(self) -> None:
        """Do what was asked for in mid-stream."""
        if self._faults.has(Fault.GARBAGE_FRAMES):
            for message in self._words.garbage:
                self._post(message)
        if self._faults.has(Fault.STOP_READING):
            self._is_deaf.set()
        if self._faults.has(Fault.DROP_SOCKET) and self._socket is not None:
            self._was_dropped = True
            self._socket.transport.abort()

    def _post(self, message: str | bytes) -> None:
        if not self._outbox.full():
            self._outbox.put_nowait(message)

    async def _open(self) -> ClientConnection:
        url = self._dialing.url
        parts = urlsplit(url)
        where: _Where = {}
        if self._dialing.via is not None:
            via = urlsplit(self._dialing.via)
            scheme = "wss" if via.scheme == "https" else "ws"
            url = parts._replace(scheme=scheme).geturl()
            where = {
                "host": via.hostname or "",
                "port": via.port or (443 if scheme == "wss" else 80),
            }
        is_local = bool(where) or parts.hostname in ("localhost", "127.0.0.1", "::1")
        return await connect(
            url,
            additional_headers=self._dialing.headers,
            user_agent_header=None,
            compression=None,
            proxy=None if is_local else True,
            open_timeout=_OPEN_TIMEOUT_S,
            close_timeout=_CLOSE_TIMEOUT_S,
            ping_interval=None,
            max_size=_LONGEST_MESSAGE_BYTES,
            ssl=self._dialing.tls if url.startswith("wss://") else None,
            **where,
        )

    async def _talk(self, socket: ClientConnection, stopping: asyncio.Event) -> str:
        """Return who ended the stream."""
        for message in self._media.opening():
            self._outbox.put_nowait(message)
        self._socket = socket
        if not self._faults.has(Fault.NO_START):
            self._outbox.put_nowait(self._media.start())
            self._is_started = True
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self._read(socket))
            writing = tasks.create_task(self._write(socket))
            waiting = tasks.create_task(stopping.wait())
            await asyncio.wait({reading, waiting}, return_when=asyncio.FIRST_COMPLETED)
            ended_by = "server"
            if not reading.done():
                ended_by = "carrier"
                await self._stop(writing)
            for task in (reading, writing, waiting):
                task.cancel()
        return "fault" if self._was_dropped else ended_by

    async def _stop(self, writing: asyncio.Task[None]) -> None:
        """Say what ends a stream, after everything that waits to be sent, then close."""
        self._is_started = False
        if not self._faults.has(Fault.NO_STOP):
            for message in self._media.ending():
                self._post(message)
        if self._outbox.full():
            return  # a peer that does not read will not read this either
        self._outbox.put_nowait(None)
        await asyncio.wait({writing}, timeout=_CLOSE_TIMEOUT_S)

    async def _write(self, socket: ClientConnection) -> None:
        try:
            while (message := await self._outbox.get()) is not None:
                await socket.send(message)
        except ConnectionClosed:
            return

    async def _read(self, socket: ClientConnection) -> None:
        """Read until the socket closes or the server says stop; when deaf, await the end."""
        while True:
            if self._is_deaf.is_set():
                await socket.wait_closed()
                return
            try:
                data = await socket.recv()
            except ConnectionClosed:
                return
            message = self._media.receive(data)
            if isinstance(message, StopSent):
                return
            if message is not None:
                self._take(message)

    def _take(self, message: MediaSent | MarkSent | ClearSent | KeysSent) -> None:
        match message:
            case MediaSent(payload=payload):
                self._line.playout.append(payload)
            case MarkSent(name=name):
                self._line.playout.mark(name)
                for reached in self._line.playout.reached_marks():
                    self._post(self._media.mark(reached))
            case ClearSent():
                for answer in self._media.cleared(self._line.clear()):
                    self._post(answer)
            case KeysSent(digits=digits):
                self.pressed.append(digits)

    def _violate(self, code: str, detail: str) -> None:
        self.violations.append(Violation(code=code, detail=detail))

    def _report(
        self,
        *,
        refused_status: int | None = None,
        close_code: int | None = None,
        ended_by: str = "server",
    ) -> StreamReport:
        return StreamReport(
            stream_id=self._media.stream_id,
            url=self._dialing.url,
            parameters=self._parameters,
            refused_status=refused_status,
            close_code=close_code,
            ended_by=ended_by,
            sent_frames=self._sent_frames,
            discarded_frames=self._discarded_frames,
        )
