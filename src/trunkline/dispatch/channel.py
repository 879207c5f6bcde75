"""Framing of messages on a stream socket.

4-byte big-endian length, 1-byte kind, payload; at most 1 MiB.

The length counts kind and payload. Both sides speak first with ``Hello`` (protocol version);
anything that makes no sense ends the channel with a ``ChannelError``. ``FrameReader`` is sans-IO;
``Channel`` is the asyncio shell around it and ``BlockingChannel`` the one for a zygote, which runs
no event loop.

Hot path: a channel carries 50 audio frames a second in each direction for each call, so a frame
costs one slice and one callback, and writes go straight to the transport.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from typing import cast

from trunkline.dispatch.messages import (
    CHANNEL_VERSION,
    KIND_AUDIO_IN,
    KIND_AUDIO_OUT,
    Hello,
    Message,
    decode,
    encode,
)
from trunkline.errors import ChannelError

__all__ = [
    "MAX_FRAME_BYTES",
    "BlockingChannel",
    "Channel",
    "FrameReader",
    "frame",
    "pack",
    "split_audio_out",
]

MAX_FRAME_BYTES = 1 << 20
"""Length field at most; a longer frame ends the channel."""

_HEAD = struct.Struct(">IB")
_AUDIO_OUT = struct.Struct(">IBII")


def frame(kind: int, payload: bytes) -> bytes:
    """One frame of raw payload.

    Raises:
        ChannelError: the payload is longer than a frame may be.
    """
    length = len(payload) + 1
    if length > MAX_FRAME_BYTES:
        raise ChannelError(f"a frame of {length} bytes is longer than {MAX_FRAME_BYTES}")
    return _HEAD.pack(length, kind) + payload


def pack(message: Message) -> bytes:
    """One frame of a message."""
    return frame(message.KIND, encode(message))


class FrameReader:
    """Turns received bytes into frames."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield ``(kind, payload)`` of each frame that is complete.

        Raises:
            ChannelError: a length of zero or above ``MAX_FRAME_BYTES``.
        """
        buffer = self._buffer + data if self._buffer else data
        position, end = 0, len(buffer)
        try:
            while end - position >= 5:
                length = int.from_bytes(buffer[position : position + 4], "big")
                if not 1 <= length <= MAX_FRAME_BYTES:
                    raise ChannelError(f"a frame of {length} bytes was announced")
                following = position + 4 + length
                if following > end:
                    break
                kind, payload = buffer[position + 4], buffer[position + 5 : following]
                position = following
                yield kind, payload
        finally:
            self._buffer = buffer[position:]


class Channel(asyncio.Protocol):
    """One end of a channel on an event loop.

    ``on_message`` gets every message after the peer's ``Hello`` (and the ``Hello`` itself),
    ``on_audio`` the payload of audio frames, ``on_closed`` is called once with the reason: None
    for an orderly end, else the exception. All three are plain functions, called in order on the
    loop. Closing is idempotent; writing to a closed channel is silently dropped, because the peer
    may die at any moment and ``on_closed`` already tells.

    Args:
        sender: Our name in our ``Hello``.
        hello: A whole ``Hello`` to send instead.
    """

    def __init__(
        self,
        *,
        on_message: Callable[[Message], None],
        on_closed: Callable[[Exception | None], None],
        on_audio: Callable[[bytes], None] | None = None,
        sender: str = "",
        hello: Hello | None = None,
    ) -> None:
        self._on_message = on_message
        self._on_closed = on_closed
        self._on_audio = on_audio
        self._hello = hello or Hello(sender=sender)
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._greeted = False
        self._closed = False
        self._failure: Exception | None = None

    @property
    def is_closed(self) -> bool:
        """Whether either side has closed it."""
        return self._closed

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the peer has not taken yet; a peer that never reads makes this grow."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        # A cast and no check: uvloop's transports are not subclasses of asyncio's.
        transport = cast("asyncio.Transport", transport)
        if self._closed:  # given up while the connection was being made
            transport.abort()
            return
        self._transport = transport
        transport.write(pack(self._hello))

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        try:
            for kind, payload in self._reader.feed(data):
                if kind in (KIND_AUDIO_IN, KIND_AUDIO_OUT):
                    self._receive_audio(payload)
                else:
                    self._receive_message(kind, payload)
                if self._closed:
                    return
        except ChannelError as error:
            self.fail(error)

    def _receive_audio(self, payload: bytes) -> None:
        if self._on_audio is None or not self._greeted:
            raise ChannelError("audio came where none is expected")
        self._on_audio(payload)

    def _receive_message(self, kind: int, payload: bytes) -> None:
        message = decode(kind, payload)
        if isinstance(message, Hello):
            if message.version != CHANNEL_VERSION:
                raise ChannelError(
                    f"peer speaks channel version {message.version}, not {CHANNEL_VERSION}"
                )
            self._greeted = True
        elif not self._greeted:
            raise ChannelError("the first message was not hello")
        self._on_message(message)

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        already = self._closed
        self._closed = True
        self._transport = None
        if not already or self._failure is not None:
            failure, self._failure = self._failure or exc, None
            self._on_closed(failure)

    # verbs

    def send(self, message: Message) -> None:
        """Send one message."""
        if self._transport is not None and not self._closed:
            self._transport.write(pack(message))

    def send_audio_in(self, payload: bytes) -> None:
        """Gateway → worker: one frame of caller audio."""
        if self._transport is not None and not self._closed:
            self._transport.write(_HEAD.pack(len(payload) + 1, KIND_AUDIO_IN) + payload)

    def send_audio_out(self, utterance: int, offset_ms: int, audio: bytes) -> None:
        """Worker → gateway: bot audio of ``utterance`` that starts ``offset_ms`` into it.

        Raises:
            ChannelError: more audio than a frame may carry.
        """
        transport = self._transport
        if transport is None or self._closed:
            return
        length = len(audio) + 9
        if length > MAX_FRAME_BYTES:
            raise ChannelError(f"{len(audio)} bytes of audio in one frame")
        transport.write(_AUDIO_OUT.pack(length, KIND_AUDIO_OUT, utterance, offset_ms) + audio)

    def fail(self, error: Exception) -> None:
        """End the channel at once because of ``error``; ``on_closed`` gets it."""
        if self._closed:
            return
        self._closed = True
        self._failure = error
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Send what is queued, then close.

        ``on_closed`` is not called for our own close.
        """
        if self._closed:
            return
        self._closed = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once and drop what is queued.

        ``on_closed`` is not called.
        """
        self._closed = True
        if self._transport is not None:
            self._transport.abort()


def split_audio_out(payload: bytes) -> tuple[int, int, bytes]:
    """``(utterance, offset_ms, audio)`` of an audio-out payload.

    Raises:
        ChannelError: shorter than its header.
    """
    if len(payload) < 8:
        raise ChannelError("audio frame without a header")
    return int.from_bytes(payload[:4], "big"), int.from_bytes(payload[4:8], "big"), payload[8:]


class BlockingChannel:
    """A channel for a process without an event loop.

    Sends block; ``receive`` is called when the socket is readable.

    Owns the socket.
    """

    def __init__(self, sock: socket.socket, *, sender: str) -> None:
        self._socket = sock
        self._reader = FrameReader()
        sock.sendall(pack(Hello(sender=sender)))

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._socket.fileno()

    def send(self, message: Message) -> None:
        """Send one message, however long that takes."""
        self._socket.sendall(pack(message))

    def receive(self) -> list[Message] | None:
        """Messages that one ``recv`` brings, or None at the end of the stream.

        Raises:
            ChannelError: the peer speaks another version, or nonsense.
        """
        data = self._socket.recv(65536)
        if not data:
            return None
        messages = [decode(kind, payload) for kind, payload in self._reader.feed(data)]
        for message in messages:
            if isinstance(message, Hello) and message.version != CHANNEL_VERSION:
                raise ChannelError(f"peer speaks channel version {message.version}")
        return messages

    def finish(self) -> None:
        """Close once the peer has closed, so that our last messages are read.

        A peer whose own write meets a closed socket may never read what we sent before. The
        socket's timeout bounds the wait.
        """
        with self._socket, contextlib.suppress(OSError):  # gone already, or too slow
            self._socket.shutdown(socket.SHUT_WR)
            while self._socket.recv(65536):
                continue

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
