"""Twilio-shaped callers by the hundred: a 20 ms frame every 20 ms, and when it came back.

Frames are numbered in the audio itself, so the same load can be put on anything that echoes.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import time
from dataclasses import dataclass, field
from typing import cast

FRAME_BYTES = 160
DIGITS = 6  # of a frame's number; two base64 groups
SLOTS = 10  # callers begin spread over the 20 ms
SLOT_S = 0.002
_MEDIA = (
    b'{"event":"media","sequenceNumber":"%d","streamSid":"%s","media":{"track":"inbound",'
    b'"chunk":"%d","timestamp":"%d","payload":"%s%s'
)
_MARKER = b'"payload":'
_MARK_EVENT = b'"mark"'


@dataclass
class Result:
    """What one load saw."""

    sent: int = 0
    received_bytes: int = 0
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Frames that did not come back."""
        return self.sent - self.received_bytes // FRAME_BYTES

    def percentile(self, share: float) -> float:
        """Latency in milliseconds that ``share`` of the frames did not exceed."""
        ordered = sorted(self.latencies_ms)
        return (
            ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("inf")
        )


def masked_text(payload: bytes) -> bytes:
    """One client frame. The mask is zero, so that masking costs the load nothing."""
    if len(payload) < 126:
        head = bytes((0x81, 0x80 | len(payload)))
    else:
        head = bytes((0x81, 0xFE)) + len(payload).to_bytes(2, "big")
    return head + b"\0\0\0\0" + payload


class EchoCaller(asyncio.Protocol):
    """One caller on a connected socket, speaking WebSocket by hand."""

    def __init__(self, number: int, result: Result, path: str) -> None:
        self._result = result
        self._path = path
        self._buffer = b""
        self._is_open = False
        self.opened = asyncio.get_running_loop().create_future()
        self._sent_at: list[float] = []
        self._transport: asyncio.Transport | None = None
        self._stream = f"MZ{number:032d}"
        self._name = self._stream.encode()
        self._tail = (
            base64.b64encode(bytes(range(0x80, 0x80 + FRAME_BYTES - DIGITS - 32)) + bytes(32))
            + b'"}}'
        )

    def request(self) -> bytes:
        """The upgrade."""
        key = base64.b64encode(os.urandom(16)).decode()
        lines = (
            f"GET {self._path} HTTP/1.1",
            "Host: localhost",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        )
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is there."""
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send_request(self) -> None:
        """Ask for the upgrade."""
        self._transport.write(self.request())

    def start(self) -> None:
        """Send ``connected`` and ``start``."""
        details = {
            "accountSid": "AC1",
            "streamSid": self._stream,
            "callSid": "CA" + self._stream[2:],
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {},
        }
        start = {
            "event": "start",
            "sequenceNumber": "1",
            "streamSid": self._stream,
            "start": details,
        }
        self._transport.write(
            masked_text(b'{"event":"connected","protocol":"Call","version":"1.0.0"}')
        )
        self._transport.write(masked_text(json.dumps(start).encode()))

    def say(self) -> None:
        """Send the next frame."""
        number = len(self._sent_at)
        audio = base64.b64encode(b"%06d" % number)
        message = _MEDIA % (number + 2, self._name, number + 1, number * 20, audio, self._tail)
        self._sent_at.append(time.perf_counter())
        self._transport.write(masked_text(message))
        self._result.sent += 1

    def data_received(self, data: bytes) -> None:
        """Frames come back, alone or joined."""
        now_s = time.perf_counter()
        buffer = self._buffer + data
        if not self._is_open:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                self._buffer = buffer
                return
            assert b" 101 " in buffer[:end], buffer[:end]
            self._is_open = True
            buffer = buffer[end + 4 :]
            self.opened.set_result(None)
        at = 0
        while (frame := _frame(buffer, at)) is not None:
            payload, at = frame
            self._take(payload, now_s)
        self._buffer = buffer[at:]

    def _take(self, message: bytes, now_s: float) -> None:
        found = message.find(_MARKER)
        if found < 0:
            if _MARK_EVENT in message:  # echoed at once: our buffer is always empty
                self._transport.write(masked_text(message))
            return
        begin = message.index(b'"', found + len(_MARKER)) + 1
        audio = base64.b64decode(message[begin : message.index(b'"', begin)])
        self._result.received_bytes += len(audio)
        for offset in range(0, len(audio), FRAME_BYTES):
            digits = audio[offset : offset + DIGITS]
            if digits.isdigit() and int(digits) < len(self._sent_at):
                self._result.latencies_ms.append((now_s - self._sent_at[int(digits)]) * 1000)

    def stop(self) -> None:
        """Say ``stop`` and go."""
        self._transport.write(
            masked_text(b'{"event":"stop","streamSid":"%s","stop":{}}' % self._stream.encode())
        )
        self._transport.close()


def _frame(buffer: bytes, at: int) -> tuple[bytes, int] | None:
    """Payload of a server's frame and where it ends."""
    if len(buffer) - at < 2:
        return None
    length, begin = buffer[at + 1], at + 2
    if length == 126:
        length, begin = int.from_bytes(buffer[at + 2 : at + 4], "big"), at + 4
    if len(buffer) < begin + length:
        return None
    return buffer[begin : begin + length], begin + length


async def talk(callers: list[EchoCaller], seconds: float) -> None:
    """All callers talk in real time."""
    loop = asyncio.get_running_loop()
    begin_s = loop.time()
    for slot in range(int(seconds / SLOT_S)):
        for caller in callers[slot % SLOTS :: SLOTS]:
            caller.say()
        await asyncio.sleep(max(0.0, begin_s + (slot + 1) * SLOT_S - loop.time()))
