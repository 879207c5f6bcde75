"""How a carrier's side of the conversation is played, one module for each name in ``NAMES``.

An adapter writes what the carrier would write, and reads what it would read, with as little of our
own code as possible: from captures and with the carrier's official SDK. A test asks an adapter for
what it needs; what a carrier does not have the adapter refuses with ``NotImplementedError``, and
only after the carrier's ``features`` say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from trunkline.telephony.carrier import CarrierAccount, StreamConnect
from trunkline.telephony.webhook import Document, UpgradeRequest, WebhookRequest

Message = bytes | str

STREAM_ID = "MZ00000000000000000000000000000001"
CALL_ID = "CA00000000000000000000000000000001"
OTHER_STREAM_ID = "MZ00000000000000000000000000000002"
FROM_NUMBER = "+14155550100"
TO_NUMBER = "+15005550006"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What the carrier understood of the messages it was sent, in their order."""

    audio: bytes = b""
    marks: Sequence[str] = ()
    clears: int = 0


class Adapter(Protocol):
    """The carrier's side of everything that the suite tries."""

    account: CarrierAccount
    """Credentials that the adapter signs with."""

    def start(
        self, *, stream_id: str = STREAM_ID, parameters: Mapping[str, str] | None = None
    ) -> Sequence[Message]:
        """All messages up to and with the one that starts the stream of ``CALL_ID``."""
        ...

    def media(self, audio: bytes) -> Message:
        """Audio of the caller, in the stream's encoding."""
        ...

    def dtmf(self, digit: str) -> Message: ...

    def mark_echo(self, name: str) -> Message:
        """The carrier's word that a mark has been played."""
        ...

    def stop(self) -> Message: ...

    def understand(self, messages: Sequence[Message]) -> Sent:
        """Read what we sent; raises for anything that the carrier would not accept."""
        ...

    def incoming(self, url: str) -> WebhookRequest:
        """The signed webhook of a call from ``FROM_NUMBER`` to ``TO_NUMBER``."""
        ...

    def ended(self, url: str) -> WebhookRequest:
        """The signed callback that says that the call was completed."""
        ...

    def tamper(self, request: WebhookRequest) -> WebhookRequest:
        """The same request with one thing changed after it was signed."""
        ...

    def strip_proof(self, request: WebhookRequest) -> WebhookRequest:
        """The same request without its signature."""
        ...

    def upgrade(self, url: str) -> UpgradeRequest:
        """The signed WebSocket upgrade for a media URL."""
        ...

    def read_connect(self, document: Document) -> StreamConnect:
        """What the carrier does with our markup."""
        ...


def load(name: str) -> Adapter:
    """Return an adapter of a carrier with counters of its own; one without fails the suite."""
    adapter: Adapter = copy(import_module(f"{__name__}.{name}").ADAPTER)
    return adapter
