"""The media socket from Twilio's side: signed upgrade, audio and marks, faults on request."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from trunkline.simulator.contract import StreamReport, Violation
from trunkline.simulator.faults import Fault, Faults
from trunkline.simulator.line import Line, LineTick
from trunkline.simulator.twilio.signing import sign_upgrade
from trunkline.simulator.twilio.stream import (
    GARBAGE,
    ClearSent,
    MarkSent,
    MediaSent,
    TwilioMedia,
)
from trunkline.simulator.twilio.twiml import Connect

__all__ = ["Dialing", "MediaConnection"]

_OPEN_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 2.0
_OUTBOX_MESSAGES = (
    150  # three seconds of audio: what a server may lag before Twilio throws audio away
)
_LONGEST_MESSAGE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialing:
    """How sockets are opened."""

    auth_token: str
    via: str | None = None
    tls: ssl.SSLContext | None = None


class _Where(TypedDict, total=False):
    host: str
    port: int


class MediaConnection:
    """One ``<Connect><Stream>``. ``run`` lasts as long as it; the call's clock calls ``tick``.

    Args:
        verb: What the markup says.
        media: The stream's messages.
        line: The call's audio.
        dialing: How to open the socket.
        faults: What shall go wrong.
    """

    def __init__(
        self, *, verb: Connect, media: TwilioMedia, line: Line, dialing: Dialing, faults: Faults
    ) -> None:
        self.violations = media.violations
        self._verb = verb
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
            self._violate("31920", f"the upgrade was answered with HTTP {status}")
            return self._report(refused_status=status)
        except (InvalidHandshake, OSError, TimeoutError) as error:
            self._violate("31920", f"no media socket: {type(error).__name__}")
            return self._report(refused_status=0)
        try:
            ended_by = await self._talk(socket, stopping)
        finally:
            self._socket = None
            self._line.playout.drop()
            await socket.close()
        if socket.close_code == 1006 and ended_by == "server":
            self._violate("31921", "the media socket was lost without a close frame")
        return self._report(close_code=socket.close_code, ended_by=ended_by)

    def tick(self, tick: LineTick) -> None:
        """Send what one frame of time brought about."""
        if self._socket is None or not self._is_started:
            return
        self._stream_ms += self._line.frame_ms
        for name in tick.marks:
            self._post(self._media.mark(name))
        for digit in tick.digits:
            self._post(self._media.dtmf(digit))
        self._send_audio(tick.said)
        if self._stream_ms - self._line.frame_ms < self._faults.after_ms <= self._stream_ms:
            self._break()

    def _send_audio(self, said: bytes) -> None:
        if self._outbox.full():
            if not self._discarded_frames:
                self._violate("31930", "the server reads too slowly; audio is thrown away")
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
            for message in GARBAGE:
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
        url = self._verb.url
        parts = urlsplit(url)
        token = self._dialing.auth_token
        if self._faults.has(Fault.BAD_UPGRADE_SIGNATURE):
            token += "?"
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
            additional_headers={"x-twilio-signature": sign_upgrade(token, self._verb.url)},
            user_agent_header="TwilioMediaStreams/1.0",
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
        self._outbox.put_nowait(self._media.connected())
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
        """Say ``stop`` after everything that waits to be sent, then close from our side."""
        self._is_started = False
        if not self._faults.has(Fault.NO_STOP):
            self._post(self._media.stop())
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
        """Read until the socket closes; when deaf, wait for that without reading."""
        while True:
            if self._is_deaf.is_set():
                await socket.wait_closed()
                return
            try:
                data = await socket.recv()
            except ConnectionClosed:
                return
            self._take(data)

    def _take(self, data: str | bytes) -> None:
        match self._media.receive(data):
            case MediaSent(payload=payload):
                self._line.playout.append(payload)
            case MarkSent(name=name):
                self._line.playout.mark(name)
                self._echo(self._line.playout.reached_marks())
            case ClearSent():
                self._echo(self._line.clear())
            case None:
                pass

    def _echo(self, marks: Sequence[str]) -> None:
        for name in marks:
            self._post(self._media.mark(name))

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
            url=self._verb.url,
            parameters=self._verb.parameters,
            refused_status=refused_status,
            close_code=close_code,
            ended_by=ended_by,
            sent_frames=self._sent_frames,
            discarded_frames=self._discarded_frames,
        )
