"""The WebSocket that an unchanged bot is given: to it an accepted one, to us the channel.

What Pipecat's transport and ``parse_telephony_websocket`` use of a WebSocket, and what bots of
their own use besides, is here; messages are those of a presented carrier (``bots/presented``). The
bot paces its audio by itself and sends no boundaries, so an utterance is a stretch of media without
a pause.

At its end a Pipecat transport sends two seconds of silence. Silence in the middle of speech is
speech, so only what is longer than a pause is held back until the bot goes on; when it does not, it
is dropped, and the call ends sooner.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from typing import cast

import structlog
from starlette.datastructures import URL, Headers, QueryParams, State
from starlette.websockets import WebSocketDisconnect, WebSocketState

from trunkline.bots.presented.dialect import Clear, Mark, PresentedStream, Speak
from trunkline.dispatch.messages import (
    ClearAudio,
    DtmfPressed,
    EndCall,
    MarkReached,
    Message,
    PlayMark,
    SessionEnding,
    UtteranceEnd,
)
from trunkline.dispatch.session import WorkerSession
from trunkline.errors import RemoteProtocolError

__all__ = ["BotWebSocket"]

log = structlog.get_logger(__name__)

MAX_WAITING_FRAMES = 500
"""Caller audio that the bot has not read (10 s of 20 ms); then the oldest is dropped."""
MAX_WAITING_EVENTS = 1_000
"""Other messages that the bot has not read; then new ones are dropped."""
PAUSE_S = 0.5
"""No media for so long ends an utterance."""
LONGEST_SILENCE_MS = 400
"""Silence that goes out as it comes; more of it waits for what follows."""
MOST_HELD_MS = 10_000
"""Silence kept for what follows; a bot that sends silence for ever is quiet."""


class _Disconnect:
    """The carrier's side is gone."""


class BotWebSocket:
    """An accepted WebSocket in the eyes of a bot. Pipecat sets attributes on it.

    Args:
        session: The call.
        stream: The call in the protocol that the bot is shown.
    """

    def __init__(self, session: WorkerSession, stream: PresentedStream) -> None:
        self.client_state = WebSocketState.CONNECTED
        self.application_state = WebSocketState.CONNECTED
        self.headers = Headers({})
        self.query_params = QueryParams("")
        self.path_params: dict[str, object] = {}
        self.cookies: dict[str, str] = {}
        self.url = URL("wss://localhost/ws")
        self.client = None
        self.state = State()
        self.scope: dict[str, object] = {"type": "websocket", "path": "/ws", "headers": []}
        self._stream = stream
        self._waiting: deque[str | bytes | _Disconnect] = deque(stream.opening())
        self._waiting_frames = 0
        self._dropped = 0
        self._arrived = asyncio.Event()
        self._arrived.set()
        self._speech = _MediaSpeech(session)
        self._session = session
        self._is_over = False
        self._has_ended_call = False

    # from the channel

    def audio(self, payload: bytes) -> None:
        """One frame of caller audio."""
        if self._is_over:
            return
        if self._waiting_frames >= MAX_WAITING_FRAMES:
            self._drop_oldest()
        self._waiting.append(payload)
        self._waiting_frames += 1
        self._arrived.set()

    def _drop_oldest(self) -> None:
        oldest = next(item for item in self._waiting if isinstance(item, bytes))
        self._waiting.remove(oldest)
        self._waiting_frames -= 1
        if not self._dropped:
            log.warning("caller audio dropped: the bot does not read it")
        self._dropped += 1

    def message(self, message: Message) -> None:
        """Anything else that the gateway says."""
        match message:
            case DtmfPressed(digit=digit):
                self._put(self._stream.dtmf(digit))
            case MarkReached(name=name):
                self._put(self._stream.mark(name))
            case SessionEnding():
                self._disconnect()
            case _:  # speech and playing: a bot of this kind listens and keeps time by itself
                pass

    def _put(self, text: str) -> None:
        if self._is_over or len(self._waiting) - self._waiting_frames >= MAX_WAITING_EVENTS:
            return
        self._waiting.append(text)
        self._arrived.set()

    def _disconnect(self) -> None:
        if self._is_over:
            return
        for text in self._stream.closing():
            self._put(text)
        self._is_over = True
        self._waiting.append(_Disconnect())
        self._arrived.set()

    # what a bot reads

    async def accept(self, *_: object, **__: object) -> None:
        """Nothing to do: the call was accepted before the bot was started."""

    async def receive(self) -> dict[str, object]:
        """The next ASGI message: ``websocket.receive`` with text, or ``websocket.disconnect``."""
        while not self._waiting:
            if self.client_state is WebSocketState.DISCONNECTED:
                return {"type": "websocket.disconnect", "code": 1000, "reason": ""}
            self._arrived.clear()
            await self._arrived.wait()
        item = self._waiting.popleft()
        if isinstance(item, _Disconnect):
            self.client_state = WebSocketState.DISCONNECTED
            return {"type": "websocket.disconnect", "code": 1000, "reason": ""}
        if isinstance(item, bytes):
            # Made when it is read: bots that read nothing cost nothing.
            self._waiting_frames -= 1
            item = self._stream.audio(item)
        return {"type": "websocket.receive", "text": item}

    async def receive_text(self) -> str:
        """The next message.

        Raises:
            WebSocketDisconnect: the call is over.
        """
        message = await self.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(code=1000)
        return cast("str", message["text"])

    async def receive_bytes(self) -> bytes:
        """The next message, in UTF-8; carriers' protocols are text."""
        return (await self.receive_text()).encode()

    async def receive_json(self, mode: str = "text") -> object:
        """The next message, parsed."""
        return cast("object", json.loads(await self.receive_text()))

    async def iter_text(self) -> AsyncIterator[str]:
        """Messages until the call is over."""
        try:
            while True:
                yield await self.receive_text()
        except WebSocketDisconnect:
            return

    async def iter_bytes(self) -> AsyncIterator[bytes]:
        """Messages in UTF-8 until the call is over."""
        async for text in self.iter_text():
            yield text.encode()

    async def iter_json(self) -> AsyncIterator[object]:
        """Parsed messages until the call is over."""
        async for text in self.iter_text():
            yield cast("object", json.loads(text))

    # what a bot writes

    async def send(self, message: dict[str, object]) -> None:
        """An ASGI message: ``websocket.send`` or ``websocket.close``."""
        if message["type"] == "websocket.close":
            await self.close()
        elif message["type"] == "websocket.send":
            text = message.get("text")
            data = cast("bytes | None", message.get("bytes"))
            await self.send_text(cast("str", text) if text is not None else (data or b"").decode())

    async def send_text(self, data: str) -> None:
        """A message of the presented protocol; one that makes no sense is logged and dropped.

        Raises:
            RuntimeError: the bot has closed the socket.
        """
        if self.application_state is WebSocketState.DISCONNECTED:
            raise RuntimeError('Cannot call "send" once a close message has been sent.')
        try:
            command = self._stream.read(data)
        except RemoteProtocolError as error:
            log.warning("message of the bot dropped", reason=error.reason)
            return
        match command:
            case Speak(payload=payload):
                self._speech.say(payload)
            case Mark(name=name):
                self._speech.mark(name)
            case Clear():
                self._speech.clear()
            case None:
                pass

    async def send_bytes(self, data: bytes) -> None:
        """A message in UTF-8."""
        await self.send_text(data.decode("utf-8", "replace"))

    async def send_json(self, data: object, mode: str = "text") -> None:
        """A message, to be written as JSON."""
        await self.send_text(json.dumps(data))

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        """The bot hangs up: the call ends when what it said has been played."""
        self.application_state = WebSocketState.DISCONNECTED
        self.client_state = WebSocketState.DISCONNECTED
        self._arrived.set()
        self.end_call()

    def end_call(self) -> None:
        """End the call, once, unless it is over already."""
        self._speech.end()
        if not self._is_over and not self._has_ended_call:
            self._has_ended_call = True
            self._session.send(EndCall())


class _MediaSpeech:
    """A bot's media as utterances on the channel."""

    def __init__(self, session: WorkerSession) -> None:
        self._session = session
        self._format = session.call.sent_format
        self._utterance = 0
        self._sent_ms = 0
        self._is_speaking = False
        self._held = b""
        self._silence_ms = 0
        self._pause: asyncio.TimerHandle | None = None

    def say(self, payload: bytes) -> None:
        """The next piece of audio."""
        if payload.strip(bytes([self._format.silence_byte])):
            self._silence_ms = 0
            self._flush()
        else:
            self._silence_ms += self._format.duration_ms(len(payload))
            if self._silence_ms > LONGEST_SILENCE_MS:
                self._held += payload
                self._held = self._held[-self._format.n_bytes(MOST_HELD_MS) :]
                return
        self._send(payload)

    def mark(self, name: str) -> None:
        """A mark stands behind all audio so far, silence too."""
        self._flush()
        self._session.send(PlayMark(name=name))

    def clear(self) -> None:
        """Nothing of what was said and not played is to be heard."""
        self._drop_held()
        self._stop_pause()
        self._is_speaking = False
        self._session.send(ClearAudio())

    def end(self) -> None:
        """The bot says no more."""
        self._drop_held()
        self._stop_pause()
        self._end_utterance()

    def _send(self, payload: bytes) -> None:
        whole = len(payload) - len(payload) % self._format.bytes_per_ms
        if not whole:
            return
        if not self._is_speaking:
            self._is_speaking = True
            self._utterance += 1
            self._sent_ms = 0
        self._session.send_audio_out(self._utterance, self._sent_ms, payload[:whole])
        self._sent_ms += self._format.duration_ms(whole)
        self._stop_pause()
        self._pause = asyncio.get_running_loop().call_later(PAUSE_S, self._end_utterance)

    def _flush(self) -> None:
        held, self._held = self._held, b""
        self._send(held)

    def _drop_held(self) -> None:
        self._held = b""
        self._silence_ms = 0

    def _stop_pause(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    def _end_utterance(self) -> None:
        if self._is_speaking:
            self._is_speaking = False
            self._session.send(UtteranceEnd(utterance=self._utterance))
