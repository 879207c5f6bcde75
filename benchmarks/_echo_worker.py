"""A worker that sends audio back, for all calls of a measurement.

``python -m benchmarks._echo_worker ADDRESS``
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from trunkline.dispatch.channel import Channel
from trunkline.dispatch.messages import (
    BotFinished,
    BotStarted,
    CallStarted,
    Heartbeat,
    Message,
    SessionEnding,
)


class EchoWorker:
    """One call's."""

    def __init__(self) -> None:
        self.channel = Channel(
            on_message=self._receive,
            on_audio=self._echo,
            on_closed=lambda error: None,
            sender="echo",
        )
        self._sent_bytes = 0

    def _receive(self, message: Message) -> None:
        if isinstance(message, CallStarted):
            self.channel.send(BotStarted())
            self._beat()
        elif isinstance(message, SessionEnding):
            self.channel.send(BotFinished())

    def _beat(self) -> None:
        if not self.channel.is_closed:
            self.channel.send(Heartbeat())
            asyncio.get_running_loop().call_later(1.0, self._beat)

    def _echo(self, payload: bytes) -> None:
        self.channel.send_audio_out(1, self._sent_bytes // 8, payload)
        self._sent_bytes += len(payload)


async def serve(address: str) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_unix_server(
        lambda: EchoWorker().channel, address
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
