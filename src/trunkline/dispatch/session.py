"""What an agent sees of its call inside a worker: facts, what arrives, what it may send.

``trunkline.bots`` imports this module; ``worker.py`` makes the one ``WorkerSession`` of a worker
and runs the agent with it. All of it happens on the worker's event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from trunkline.dispatch.channel import Channel
from trunkline.dispatch.messages import AgentSpec, CallStarted, Message

__all__ = ["BACKLOG_FRAMES", "AgentLoader", "LoadedAgent", "WorkerSession"]

BACKLOG_FRAMES = 500
"""Audio frames kept while no handler is registered (10 s at 20 ms); then the oldest are dropped."""


class WorkerSession:
    """One call in a worker.

    Register both handlers in one step, without an ``await`` between: what arrived before is then
    delivered on the loop's next turn, in the order of arrival, and everything later as it arrives.
    Once anything is registered, what has no handler is dropped. A ``SessionEnding`` always comes,
    also when the channel was lost without one (reason ``lost``); the agent then has a few seconds
    to return from ``run`` before it is cancelled.
    """

    def __init__(self, call: CallStarted, channel: Channel) -> None:
        self.call = call
        """Facts, formats, ids; ``history`` when this worker replaces a failed one."""
        self.channel = channel
        self._on_message: Callable[[Message], None] | None = None
        self._on_audio: Callable[[bytes], None] | None = None
        self._backlog: deque[Message | bytes] | None = deque(maxlen=BACKLOG_FRAMES)

    @property
    def call_id(self) -> str:
        """Ours, a UUID4."""
        return self.call.facts.call_id

    @property
    def is_closed(self) -> bool:
        """The channel is gone: nothing that is sent will arrive."""
        return self.channel.is_closed

    def on_message(self, handler: Callable[[Message], None]) -> None:
        """``handler`` gets speech, DTMF, playback and ``SessionEnding`` messages."""
        self._schedule_backlog()
        self._on_message = handler

    def on_audio(self, handler: Callable[[bytes], None]) -> None:
        """``handler`` gets caller audio in ``call.received_format``, one frame at a time."""
        self._schedule_backlog()
        self._on_audio = handler

    def send(self, message: Message) -> None:
        """Send one message; dropped when the channel is closed."""
        self.channel.send(message)

    def send_audio_out(self, utterance: int, offset_ms: int, audio: bytes) -> None:
        """Send audio in ``call.sent_format`` that starts ``offset_ms`` into ``utterance``."""
        self.channel.send_audio_out(utterance, offset_ms, audio)

    # the worker's side

    def deliver(self, arrived: Message | bytes) -> None:
        """Called by the worker for everything that arrives; ``bytes`` are audio."""
        if self._backlog is not None:
            self._backlog.append(arrived)
        elif isinstance(arrived, bytes):
            if self._on_audio is not None:
                self._on_audio(arrived)
        elif self._on_message is not None:
            self._on_message(arrived)

    def _schedule_backlog(self) -> None:
        if self._on_message is None and self._on_audio is None:
            asyncio.get_running_loop().call_soon(self._deliver_backlog)

    def _deliver_backlog(self) -> None:
        backlog, self._backlog = self._backlog, None
        for arrived in backlog or ():
            self.deliver(arrived)


class LoadedAgent(Protocol):
    """An agent whose module is imported and whose services have been built once."""

    async def run(self, call: WorkerSession, /) -> None:
        """Run the agent for one call; return when the bot has finished."""
        ...


class AgentLoader(Protocol):
    """``trunkline.bots.load``, and what tests give in its place."""

    def __call__(self, agent: AgentSpec, /) -> LoadedAgent:
        """Import and build everything that the agent names, once.

        Raises:
            ConfigError: it cannot run; the sentence says what to change and holds no secret.
        """
        ...
