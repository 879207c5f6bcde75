"""What a presented protocol consists of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from trunkline.dispatch.messages import CallStarted

__all__ = ["BotCommand", "Clear", "Dialect", "Mark", "PresentedStream", "Speak"]


@dataclass(frozen=True, slots=True)
class Speak:
    """The bot sends audio, in the call's sent format."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Mark:
    """The bot wants to know when what it sent so far has been played."""

    name: str


@dataclass(frozen=True, slots=True)
class Clear:
    """The bot takes back what has not been played."""


BotCommand = Speak | Mark | Clear


class PresentedStream(Protocol):
    """One call in the carrier's protocol, seen from the bot. Pure: no clock and no socket."""

    def opening(self) -> list[str]:
        """Messages that a carrier sends first, before any media."""
        ...

    def audio(self, payload: bytes) -> str:
        """The message for caller audio in the call's received format."""
        ...

    def dtmf(self, digit: str) -> str:
        """The message for a key."""
        ...

    def mark(self, name: str) -> str:
        """The message that says that a mark was reached."""
        ...

    def closing(self) -> list[str]:
        """Messages that a carrier sends at the end of a call."""
        ...

    def read(self, text: str) -> BotCommand | None:
        """What the bot's message means; None if nothing.

        Raises:
            RemoteProtocolError: it is not a message of this protocol.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """A carrier's protocol for bots."""

    name: str
    new_stream: Callable[[CallStarted], PresentedStream]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """Set in a bot's process where it has no value: stand-ins for credentials without which Pipecat
    does not build its serializer. They open nothing."""
    prepare: Callable[[], None] = lambda: None
    """Called before the bot's module is imported."""
